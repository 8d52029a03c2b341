import { ArnFormat, Aws, Duration, Stack } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as actions from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as events from 'aws-cdk-lib/aws-events';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as sns from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

import { metric } from './metrics';

/** When there is an alarm. */
export interface AlarmThresholds {
  /**
   * Age of the newest sample in AMP.
   *
   * @default 5 minutes
   */
  readonly lag?: Duration;
  /**
   * Age of the oldest sample in the spool. AMP refuses samples after an hour.
   *
   * @default 30 minutes
   */
  readonly backlog?: Duration;
}

export const DEFAULT_LAG = Duration.minutes(5);
export const DEFAULT_BACKLOG = Duration.minutes(30);

/** A topic of our own that sends to an address, which has to confirm the subscription. */
export function emailTopic(scope: Construct, email: string): sns.Topic {
  const topic = new sns.Topic(scope, 'AlarmTopic', { displayName: 'amp-forwarder' });
  new sns.Subscription(scope, 'AlarmSubscription', { topic, protocol: sns.SubscriptionProtocol.EMAIL, endpoint: email });
  return topic;
}

/** Who may publish to {@link emailTopic}: this account's alarms and rules, and the workspace's Alertmanager. */
export function emailTopicPolicy(topic: sns.Topic, workspaceArn: string): void {
  const ofAccount = { 'aws:SourceAccount': Aws.ACCOUNT_ID };
  const statements = [
    new iam.PolicyStatement({
      sid: 'Alarms',
      principals: [new iam.ServicePrincipal('cloudwatch.amazonaws.com')],
      actions: ['sns:Publish'],
      resources: [topic.topicArn],
      conditions: { StringEquals: ofAccount },
    }),
    new iam.PolicyStatement({
      sid: 'Recovery',
      principals: [new iam.ServicePrincipal('events.amazonaws.com')],
      actions: ['sns:Publish'],
      resources: [topic.topicArn],
      conditions: { StringEquals: ofAccount },
    }),
    new iam.PolicyStatement({
      sid: 'Alertmanager',
      principals: [new iam.ServicePrincipal('aps.amazonaws.com')],
      actions: ['sns:GetTopicAttributes', 'sns:Publish'],
      resources: [topic.topicArn],
      conditions: { StringEquals: ofAccount, ArnEquals: { 'aws:SourceArn': workspaceArn } },
    }),
    new iam.PolicyStatement({
      sid: 'OnlyTls',
      effect: iam.Effect.DENY,
      principals: [new iam.StarPrincipal()],
      actions: ['sns:Publish'],
      resources: [topic.topicArn],
      conditions: { Bool: { 'aws:SecureTransport': 'false' } },
    }),
  ];
  for (const statement of statements) topic.addToResourcePolicy(statement);
}

/** What the alarms watch. */
export interface Watched {
  readonly function: lambda.IFunction;
  /** The workspace, if its metrics are in this account. */
  readonly workspaceId: string | undefined;
  /** What NoSuccess takes a minute without a tick for: see `Switch`. */
  readonly missingTick: string;
  readonly topic: sns.ITopic | undefined;
  readonly thresholds: AlarmThresholds;
  /** Days that `expired/` is kept, for the text. */
  readonly expiredDays: number;
}

interface Rule {
  readonly metric: cloudwatch.IMetric;
  readonly threshold: number;
  readonly evaluationPeriods: number;
  readonly datapointsToAlarm?: number;
  readonly comparisonOperator: cloudwatch.ComparisonOperator;
  readonly text: string;
}

const { GREATER_THAN_THRESHOLD, GREATER_THAN_OR_EQUAL_TO_THRESHOLD } = cloudwatch.ComparisonOperator;

/** The alarms, each with a text that says what to do. */
export function alarms(scope: Construct, watched: Watched): cloudwatch.Alarm[] {
  const name = watched.function.functionName;
  const lag = (watched.thresholds.lag ?? DEFAULT_LAG).toSeconds();
  const backlog = (watched.thresholds.backlog ?? DEFAULT_BACKLOG).toSeconds();
  if (backlog >= 3600) throw new Error('alarms.backlog: AMP refuses samples after an hour, so an alarm then is too late');
  const ofLambda = (metricName: string): cloudwatch.Metric =>
    new cloudwatch.Metric({
      namespace: 'AWS/Lambda',
      metricName,
      dimensionsMap: { FunctionName: name },
      statistic: 'Sum',
      period: Duration.minutes(1),
    });
  const any = { threshold: 0, evaluationPeriods: 1, comparisonOperator: GREATER_THAN_THRESHOLD };
  const within = { period: Duration.minutes(5) };
  const rules: Record<string, Rule> = {
    NoSuccessAlarm: {
      metric: metric(name, 'Failures', { statistic: 'Minimum' }),
      threshold: 1,
      evaluationPeriods: 5,
      datapointsToAlarm: 5,
      comparisonOperator: GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      text: `no tick without a failure for five minutes, or none at all. Samples will be missing unless it works again soon. 1. Is the schedule enabled? 2. Invoke the function with {"action":"check"}: it names what fails (home, AMP, spool) and the next step. 3. No answer: look at its log group, and at its time-out and memory.`,
    },
    LagAlarm: {
      metric: metric(name, 'Lag'),
      threshold: lag,
      evaluationPeriods: 5,
      datapointsToAlarm: 5,
      comparisonOperator: GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      text: `the newest sample in AMP is ${lag} s old. Either a backlog is draining (BacklogAge falls: wait), or AMP throttles (429 in the logs: ask for a higher quota), or the home's clock is behind: {"action":"check"} compares it.`,
    },
    BacklogAlarm: {
      metric: metric(name, 'BacklogAge'),
      threshold: backlog,
      evaluationPeriods: 3,
      datapointsToAlarm: 3,
      comparisonOperator: GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      text: `the oldest sample in the spool is ${backlog} s old; AMP refuses it after an hour, and it moves to expired/. Invoke with {"action":"check"} to see why AMP does not take it, fix that, then drain: {"action":"drain"} or forwardctl spool drain.`,
    },
    RejectedAlarm: {
      metric: metric(name, 'Rejected', within),
      ...any,
      text: `AMP refused samples for good. The batches are in rejected/ with AMP's message: forwardctl spool ls --folder rejected, then spool show NAME. Usual causes: two senders of the same series, a clock, label or series limits.`,
    },
    ExpiredAlarm: {
      metric: metric(name, 'Expired', within),
      ...any,
      text: `samples got too old for AMP and moved to expired/, where they stay for ${watched.expiredDays} days. AMP no longer takes them; forwardctl spool export --folder expired makes a file of them that promtool turns into blocks for any Prometheus.`,
    },
    LostAlarm: {
      metric: metric(name, 'Lost', within),
      ...any,
      text: `samples were lost: they could neither be sent nor spooled, or the spool was full. The log line names the cause. Look at the S3 endpoint, the bucket's policy and key, and forwarder.spool.max_bytes.`,
    },
    AtHomeOnlyAlarm: {
      metric: metric(name, 'AtHomeOnly', within),
      ...any,
      text: `samples that were missed are too old for AMP, or could not be read, and stay in the home Prometheus. The warning in the function's log names job and range; forwardctl verify counts them. A longer outage than sample_age_limit does this, or a home that refuses remote read: {"action":"check"} says which.`,
    },
    ErrorsAlarm: {
      // Three in a quarter of an hour: with a scrape_interval of minutes, the ticks between the slots do not fail.
      metric: ofLambda('Errors'),
      ...any,
      evaluationPeriods: 15,
      datapointsToAlarm: 3,
      text: `the function ends in errors. TickFailed has the tick's report as its message; ConfigurationError lists each error with its line; a time-out or an end without a report means too little time or memory: raise Timeout or MemorySize.`,
    },
    ThrottlesAlarm: {
      metric: ofLambda('Throttles'),
      ...any,
      evaluationPeriods: 5,
      datapointsToAlarm: 3,
      text: `Lambda does not start the function, because its concurrency is used up. Raise the account's quota, or take the concurrency that another function holds; with ReservedConcurrency 1 a tick that overruns throttles the next one.`,
    },
  };
  if (watched.workspaceId !== undefined) {
    rules['DiscardedAlarm'] = {
      // A query finds each reason there is; a metric would need them listed beforehand.
      metric: new cloudwatch.MathExpression({
        expression: `SELECT SUM(DiscardedSamples) FROM "AWS/Prometheus" WHERE Workspace = '${watched.workspaceId}' GROUP BY Reason ORDER BY SUM() DESC`,
        usingMetrics: {},
        period: Duration.minutes(5),
      }),
      ...any,
      text: `AMP took requests and discarded samples of them; the reason is the name of the series in alarm. out-of-order or new-value-for-timestamp: two senders of the same series, stop one. greater_than_max_sample_age: see the backlog alarm. per_user_series_limit: too many series, drop some or ask for a higher quota.`,
    };
  }
  const made = Object.entries(rules).map(([id, { text, ...rule }]) => {
    const alarm = new cloudwatch.Alarm(scope, id, {
      alarmDescription: `amp-forwarder ${Aws.STACK_NAME}: ${text}`,
      treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
      ...rule,
    });
    if (rule.metric instanceof cloudwatch.MathExpression) {
      (alarm.node.defaultChild as cloudwatch.CfnAlarm).addPropertyOverride('Metrics.0.Id', 'discarded');
    }
    if (id === 'NoSuccessAlarm') (alarm.node.defaultChild as cloudwatch.CfnAlarm).treatMissingData = watched.missingTick;
    if (watched.topic !== undefined) alarm.addAlarmAction(new actions.SnsAction(watched.topic));
    return alarm;
  });
  return made;
}

/**
 * A rule that tells when one of these alarms is over. An OK action of the alarms would also tell of each alarm's first evaluation, ten times in a
 * new stack.
 */
export function recovery(scope: Construct, made: cloudwatch.Alarm[], topic: sns.ITopic): void {
  new events.CfnRule(scope, 'Recovery', {
    description: 'Tells when an alarm of amp-forwarder is over',
    eventPattern: {
      source: ['aws.cloudwatch'],
      'detail-type': ['CloudWatch Alarm State Change'],
      resources: made.map(({ alarmName: resourceName }) =>
        Stack.of(scope).formatArn({ service: 'cloudwatch', resource: 'alarm', resourceName, arnFormat: ArnFormat.COLON_RESOURCE_NAME }),
      ),
      detail: { state: { value: ['OK'] }, previousState: { value: ['ALARM'] } },
    },
    targets: [
      {
        id: 'topic',
        arn: topic.topicArn,
        inputTransformer: {
          inputPathsMap: { alarm: '$.detail.alarmName', reason: '$.detail.state.reason', time: '$.time' },
          inputTemplate: `"amp-forwarder ${Aws.STACK_NAME}: <alarm> is OK again since <time>. <reason>"`,
        },
      },
    ],
  });
}
