import { Aws, Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type { Construct } from 'constructs';

/** Starts the function each minute; nothing is repeated or kept for later, since the next tick makes up for one that failed. */
export function schedule(scope: Construct, target: lambda.IFunction, enabled: boolean): scheduler.CfnSchedule {
  // A group of its own gives the trust below a name to hold on to, and keeps two forwarders apart.
  const group = new scheduler.CfnScheduleGroup(scope, 'ScheduleGroup');
  const role = new iam.Role(scope, 'ScheduleRole', {
    description: 'Starts amp-forwarder',
    assumedBy: new iam.ServicePrincipal('scheduler.amazonaws.com', {
      conditions: {
        StringEquals: { 'aws:SourceAccount': Aws.ACCOUNT_ID },
        ArnEquals: { 'aws:SourceArn': Stack.of(scope).formatArn({ service: 'scheduler', resource: 'schedule-group', resourceName: group.ref }) },
      },
    }),
  });
  const policy = new iam.Policy(scope, 'SchedulePolicy', {
    policyName: 'invoke',
    roles: [role],
    statements: [new iam.PolicyStatement({ sid: 'Invoke', actions: ['lambda:InvokeFunction'], resources: [target.functionArn] })],
  });
  const made = new scheduler.CfnSchedule(scope, 'Schedule', {
    description: 'Each minute; the function itself keeps to its slots',
    groupName: group.ref,
    scheduleExpression: 'rate(1 minute)',
    state: enabled ? 'ENABLED' : 'DISABLED',
    flexibleTimeWindow: { mode: 'OFF' },
    target: {
      arn: target.functionArn,
      roleArn: role.roleArn,
      retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: 60 },
    },
  });
  made.node.addDependency(policy);
  return made;
}
