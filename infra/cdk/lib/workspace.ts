import { Arn, ArnFormat, Aws, Lazy, Names, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as aps from 'aws-cdk-lib/aws-aps';
import type * as sns from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

/** What {@link Workspace.create} makes. */
export interface NewWorkspace {
  /**
   * How long it keeps its data, in days.
   *
   * @default 150
   */
  readonly retentionDays?: number;
}

/** The AMP workspace that the samples go to. */
export class Workspace {
  /** One that exists, in this account and region (`ws-…`). */
  static fromId(workspaceId: string): Workspace {
    return new Workspace(workspaceId, undefined);
  }

  /** A new one, with an out-of-order window of 600 s. It stays when the stack is deleted. */
  static create(options: NewWorkspace = {}): Workspace {
    return new Workspace(undefined, options);
  }

  /** One of another account. `remoteWriteRoleArn` of the forwarder is the role there that may write to it. */
  static fromArn(workspaceArn: string): Workspace {
    return new Workspace(undefined, undefined, workspaceArn);
  }

  private constructor(
    /** `ws-…` of one that exists here. */
    readonly workspaceId: string | undefined,
    /** What a new one is made of. */
    readonly make: NewWorkspace | undefined,
    /** The ARN of one of another account. */
    readonly workspaceArn?: string,
  ) {}
}

/** Rules in the workspace that tell when the home stops reporting. */
export interface HomeAlerts {
  /**
   * The scrape job whose `up` they watch.
   *
   * @default federate
   */
  readonly job?: string;
  /**
   * Label matchers of the `up` that they watch (`job="federate",site="attic"`), in the place of {@link job}. Where several homes write to one
   * workspace, each forwarder names its own.
   *
   * @default - the job's
   */
  readonly selector?: string;
}

/** A workspace as the other parts need it. */
export interface ResolvedWorkspace {
  readonly id: string;
  readonly arn: string;
  readonly region: string;
  /** Its metrics and rules are in that account. */
  readonly ofAnotherAccount: boolean;
  /** The limits of a new one, to which sites add theirs. */
  readonly limits?: Limits;
}

/** Limits of active series by label set. */
export type Limits = aps.CfnWorkspace.LimitsPerLabelSetProperty[];

export function resolveWorkspace(scope: Construct, workspace: Workspace, alertTopic: sns.ITopic | undefined): ResolvedWorkspace {
  const arnOf = (id: string): string =>
    Stack.of(scope).formatArn({ service: 'aps', resource: 'workspace', resourceName: id, arnFormat: ArnFormat.SLASH_RESOURCE_NAME });
  const here = { region: Aws.REGION, ofAnotherAccount: false };
  if (workspace.workspaceArn !== undefined) {
    const { region, resourceName } = Arn.split(workspace.workspaceArn, ArnFormat.SLASH_RESOURCE_NAME);
    return { id: resourceName ?? '', arn: workspace.workspaceArn, region: region ?? Aws.REGION, ofAnotherAccount: true };
  }
  if (workspace.workspaceId !== undefined) return { id: workspace.workspaceId, arn: arnOf(workspace.workspaceId), ...here };
  const limits: Limits = [];
  const made = new aps.CfnWorkspace(scope, 'Workspace', {
    alias: Aws.STACK_NAME,
    workspaceConfiguration: {
      retentionPeriodInDays: workspace.make?.retentionDays ?? 150,
      // The most that AMP takes: a backfill and a live scrape may then meet.
      outOfOrderTimeWindowInSeconds: 600,
      limitsPerLabelSets: Lazy.any({ produce: () => (limits.length > 0 ? limits : undefined) }),
    },
    alertManagerDefinition: alertTopic && alertmanager(alertTopic),
  });
  made.applyRemovalPolicy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE);
  return { id: made.attrWorkspaceId, arn: arnOf(made.attrWorkspaceId), limits, ...here };
}

function alertmanager(topic: sns.ITopic): string {
  return `alertmanager_config: |
  route:
    receiver: home
    group_by: [alertname, job, instance]
    repeat_interval: 12h
  receivers:
    - name: home
      sns_configs:
        - topic_arn: ${topic.topicArn}
          sigv4:
            region: ${Aws.REGION}
          send_resolved: true
`;
}

/** Label matchers, without braces and escapes. */
const SELECTOR = /^[a-zA-Z_][a-zA-Z0-9_]*=~?"[^"\\{}]*"(, ?[a-zA-Z_][a-zA-Z0-9_]*=~?"[^"\\{}]*")*$/;

export function homeRules(scope: Construct, workspace: ResolvedWorkspace, alerts: HomeAlerts): aps.CfnRuleGroupsNamespace {
  const job = alerts.job ?? 'federate';
  if (!/^[a-zA-Z0-9_.:/ -]+$/.test(job)) throw new Error(`homeAlerts.job: ${JSON.stringify(job)} has characters that the rules cannot quote`);
  if (alerts.selector !== undefined && !SELECTOR.test(alerts.selector)) {
    throw new Error(`homeAlerts.selector: ${JSON.stringify(alerts.selector)} is no list of label matchers, such as job="federate",site="attic"`);
  }
  if (workspace.ofAnotherAccount) throw new Error('homeAlerts: rules of another account are made there; see infra/alarms/home.rules.yml');
  const home = alerts.selector ?? `job="${job}"`;
  return new aps.CfnRuleGroupsNamespace(scope, 'HomeRules', {
    // A namespace belongs to a workspace, and another forwarder may write to the same one.
    name: Names.uniqueResourceName(scope, { maxLength: 64, separator: '-' }),
    workspace: workspace.arn,
    data: `groups:
  - name: home
    rules:
      - alert: HomeNotReporting
        expr: absent_over_time(up{${home}}[5m])
        for: 5m
        labels:
          severity: critical
        annotations:
          summary: nothing has come from the home Prometheus for ten minutes
          description: The forwarder does not run, or cannot write. See the CloudWatch alarms of the stack ${Aws.STACK_NAME}, then invoke it with {"action":"check"}.
      - alert: OneHomeNotReporting
        expr: (count_over_time(up{${home}}[6h]) unless count_over_time(up{${home}}[5m])) and on() (count(count_over_time(up{${home}}[5m])) > 0)
        for: 5m
        labels:
          severity: critical
        annotations:
          summary: nothing has come from one of several home Prometheus servers for ten minutes
          description: Others still report, so the workspace takes samples. Look at the forwarder that scrapes {{ $labels.instance }}, and invoke it with {"action":"check"}.
      - alert: HomeDown
        expr: max_over_time(up{${home}}[5m]) == 0
        for: 5m
        labels:
          severity: critical
        annotations:
          summary: the home Prometheus cannot be scraped
          description: The forwarder runs, and no scrape has succeeded for five minutes. Look at the VPN, the firewall and the home Prometheus; {"action":"check"} names the phase that fails.
`,
  });
}
