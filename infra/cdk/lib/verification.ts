import { Aws, Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as actions from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type * as sns from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

import { NAMESPACE } from './metrics';

/** The permission that a verification needs, and a tick does not. */
export function verifyPolicy(scope: Construct, role: iam.IRole, workspaceArn: string): iam.Policy {
  return new iam.Policy(scope, 'VerifyPolicy', {
    policyName: 'verify',
    roles: [role],
    statements: [new iam.PolicyStatement({ sid: 'Verify', actions: ['aps:QueryMetrics'], resources: [workspaceArn] })],
  });
}

/**
 * Compares the last day at home with the workspace, in the group and under the role of the schedule of the ticks. A verification that fails
 * is not repeated: the next one looks at the same samples for hours to come. Those of sites are spread over two hours: a thousand comparisons
 * at once would want a thousand processes.
 */
export function verificationSchedule(
  scope: Construct,
  target: lambda.IFunction,
  ticks: scheduler.CfnSchedule,
  expression: string,
  site?: string,
): void {
  const { roleArn } = ticks.target as scheduler.CfnSchedule.TargetProperty;
  const event = { action: 'verify', last: '24h' };
  const made = new scheduler.CfnSchedule(scope, 'VerificationSchedule', {
    description: 'Compares the home with the workspace',
    groupName: ticks.groupName,
    scheduleExpression: expression,
    state: ticks.state,
    flexibleTimeWindow: site === undefined ? { mode: 'OFF' } : { mode: 'FLEXIBLE', maximumWindowInMinutes: 120 },
    target: {
      arn: target.functionArn,
      roleArn,
      input: JSON.stringify(site === undefined ? event : { site, ...event }),
      retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: 60 },
    },
  });
  made.node.addDependency(...ticks.node.dependencies);
}

/** Tells of samples that the workspace lacks. */
export function completenessAlarm(scope: Construct, target: lambda.IFunction, topic: sns.ITopic | undefined): cloudwatch.Alarm {
  const alarm = new cloudwatch.Alarm(scope, 'CompletenessAlarm', {
    alarmDescription: `amp-forwarder ${Aws.STACK_NAME}: the workspace lacks samples that the home has, or has other values. The warning in the function's log has the metrics and the likely reason; forwardctl verify --last 24h shows single samples. What is younger than sample_age_limit may still be read from the home (forwarder.remote_read); older samples are at home only.`,
    metric: new cloudwatch.Metric({
      namespace: NAMESPACE,
      metricName: 'Completeness',
      dimensionsMap: { FunctionName: target.functionName },
      statistic: 'Minimum',
      period: Duration.hours(1),
    }),
    threshold: 100,
    evaluationPeriods: 1,
    comparisonOperator: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
    treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
  });
  if (topic !== undefined) alarm.addAlarmAction(new actions.SnsAction(topic));
  return alarm;
}
