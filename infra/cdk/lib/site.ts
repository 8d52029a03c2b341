import { Stack, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { Construct } from 'constructs';

import { allow, keyCalls, SITE_ROLE_PATH, siteRoleName, spoolCalls } from './permissions';
import { schedule, type Scheduling } from './schedule';
import { SITES_PREFIX, SPOOL_PREFIX } from './spool';
import { verificationSchedule } from './verification';

/** What all homes of a function that serves many have in common. */
export interface SitesProps {
  /**
   * Whether each site has a role of its own, which the function assumes for it: to read its configuration, to use its prefix of the spool, and to
   * write to its workspace. The function's own role may then do none of these. It needs a way to STS ({@link EndpointService.STS}, or a NAT gateway).
   *
   * @default false
   */
  readonly roles?: boolean;
  /**
   * The external label by which AMP knows a site, for {@link SiteProps.maxSeries}.
   *
   * @default site
   */
  readonly label?: string;
  /**
   * The most addresses in the prefix list of the homes, when there is no `home.cidr`. All of them count as rules of the security group, used or
   * not (60 by default).
   *
   * @default 40
   */
  readonly homeEntries?: number;
  /**
   * Number of failing sites from which there is an alarm.
   *
   * @default 1
   */
  readonly failing?: number;
}

/** One of many homes. */
export interface SiteProps {
  /**
   * Address of its home, for the prefix list.
   *
   * @default - it is in `home.cidr` of the forwarder
   */
  readonly home?: string;
  /**
   * Whether its schedule starts the function each minute. Leave it off until `{"site":"NAME","action":"check"}` is content.
   *
   * @default false
   */
  readonly enabled?: boolean;
  /**
   * A moment to come, from which on the site has its ticks, at its own second of each minute (see {@link Site.secondOf}). EventBridge Scheduler takes
   * none that is over, so it has to be moved with each change of the site.
   *
   * @default - from when the schedule is made, at the second that this was
   */
  readonly start?: Date;
  /**
   * With {@link SitesProps.roles}, the only workspace that the site may write to.
   *
   * @default - the forwarder's
   */
  readonly writeWorkspaceArn?: string;
  /**
   * The most active series that the site may have in a workspace that {@link Workspace.create} makes. AMP refuses further ones of this site alone.
   *
   * @default - no limit
   */
  readonly maxSeries?: number;
}

/** What a site needs of the forwarder. */
export interface SiteParts {
  /** The forwarder's function. */
  readonly function: lambda.IFunction;
  /** Its role, which a role of the site's own admits. */
  readonly role: iam.IRole;
  /** What a role of the site's own may do; without it, the site has none. */
  readonly own: SiteOwn | undefined;
  /** When the home is compared with the workspace. */
  readonly verifySchedule: string | undefined;
  /** Where the site's schedule belongs. */
  readonly scheduling: Scheduling;
}

/** What a role of a site's own is made of. */
export interface SiteOwn {
  /** The workspace that it writes to. */
  readonly workspaceArn: string;
  /** The bucket of the spool. */
  readonly bucket: s3.IBucket;
  /** The bucket's key. */
  readonly key: kms.IKey | undefined;
}

/** A site: its schedules, and its role if it has one. Its configuration is uploaded to {@link Site.configurationKey}. The same as `site.yaml`. */
export class Site extends Construct {
  /** The second of each minute at which a site has its tick, from its name: infra/sam/lambda_json.py has the same. */
  static secondOf(name: string): number {
    // FNV-1a, whose high bits vary more than the low ones.
    let hashed = 2166136261;
    for (const byte of Buffer.from(name)) hashed = Math.imul(hashed ^ byte, 16777619) >>> 0;
    return ((hashed ^ (hashed >>> 16)) >>> 0) % 60;
  }

  /** What starts the function for this site each minute. */
  readonly schedule: scheduler.CfnSchedule;
  /** The role under which the function serves it. */
  readonly role: iam.Role | undefined;

  /** Where its configuration is in the spool's bucket. */
  readonly configurationKey: string;

  /** Made by {@link AmpForwarder.addSite}. */
  constructor(scope: Construct, name: string, parts: SiteParts, props: SiteProps) {
    super(scope, `Site-${name}`);
    if (!/^[a-z0-9-]{1,63}$/.test(name)) throw new Error(`site ${JSON.stringify(name)}: write 1 to 63 lower-case letters, digits and dashes`);
    this.configurationKey = `${SITES_PREFIX}/${name}/forwarder.yml`;
    const start = props.start === undefined ? undefined : new Date(props.start);
    start?.setUTCSeconds(Site.secondOf(name), 0);
    this.schedule = schedule(this, parts.scheduling, parts.function, {
      name,
      startDate: start?.toISOString().replace('.000Z', 'Z'),
      state: props.enabled === true ? 'ENABLED' : 'DISABLED',
      input: JSON.stringify({ site: name }),
    });
    if (parts.verifySchedule !== undefined) verificationSchedule(this, parts.function, this.schedule, parts.verifySchedule, name);
    if (parts.own !== undefined) {
      this.role = new iam.Role(this, 'Role', {
        description: 'What amp-forwarder may do for a site',
        path: `/${SITE_ROLE_PATH}`,
        roleName: siteRoleName(name),
        assumedBy: new iam.ArnPrincipal(parts.role.roleArn),
      });
      this.#permit(this.role, name, parts.own, parts.verifySchedule !== undefined);
    }
  }

  #permit(role: iam.IRole, name: string, { workspaceArn, bucket, key }: SiteOwn, queries: boolean): void {
    const [objects, list] = spoolCalls(bucket, ['s3:GetObject', 's3:PutObject', 's3:DeleteObject'], name);
    const policy = new iam.Policy(this, 'Policy', {
      policyName: 'site',
      roles: [role],
      statements: [
        allow('Write', { actions: queries ? ['aps:RemoteWrite', 'aps:QueryMetrics'] : ['aps:RemoteWrite'], resourceArns: [workspaceArn] }),
        allow('Config', { actions: ['s3:GetObject'], resourceArns: [bucket.arnForObjects(this.configurationKey)] }),
        allow('Spool', objects),
        allow('SpoolList', list),
      ],
    });
    if (key !== undefined) new iam.Policy(this, 'KeyPolicy', { policyName: 'key', roles: [role], statements: [allow('Key', keyCalls(key))] });
    const bucketId = Stack.of(this).getLogicalId(bucket.node.defaultChild as s3.CfnBucket);
    Validations.of(policy).acknowledge({
      id: `AwsSolutions-IAM5[Resource::<${bucketId}.Arn>/${SITES_PREFIX}/${name}/${SPOOL_PREFIX}/*]`,
      reason: "The spool's objects: their names are made as they come, under the site's prefix.",
    });
  }
}
