import { Aws, CfnCondition, type CfnParameter, Fn, Stack, Token } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type { Construct } from 'constructs';

/** Whether the schedule runs, and what follows from it. */
export interface Switch {
  readonly state: string;
  /** How an alarm treats a minute without a tick: a schedule that the stack itself has off misses none. */
  readonly missingTick: string;
}

/** The switch of a schedule that is on or off, or that a parameter of the stack switches. */
export function scheduleSwitch(scope: Construct, enabled: boolean | CfnParameter): Switch {
  if (typeof enabled === 'boolean') {
    return enabled ? { state: 'ENABLED', missingTick: 'breaching' } : { state: 'DISABLED', missingTick: 'notBreaching' };
  }
  const isOn = new CfnCondition(scope, 'IsScheduled', { expression: Fn.conditionEquals(enabled, 'ENABLED') });
  return { state: enabled.valueAsString, missingTick: Token.asString(Fn.conditionIf(isOn.logicalId, 'breaching', 'notBreaching')) };
}

/** What schedules need: a group, and a role that starts the function. */
export interface Scheduling {
  /** The group. */
  readonly group: scheduler.CfnScheduleGroup;
  /** The role of all schedules. */
  readonly role: iam.Role;
  /** What it may do. */
  readonly policy: iam.Policy;
}

/** The group of the schedules, and the role that starts the function. */
export function scheduling(scope: Construct, target: lambda.IFunction): Scheduling {
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
  return { group, role, policy };
}

/** Starts the function each minute; nothing is repeated or kept for later, since the next tick makes up for one that failed. */
export function schedule(
  scope: Construct,
  { group, role, policy }: Scheduling,
  target: lambda.IFunction,
  site: Partial<scheduler.CfnScheduleProps> & { state: string; input?: string },
): scheduler.CfnSchedule {
  const { input, ...own } = site;
  const made = new scheduler.CfnSchedule(scope, 'Schedule', {
    description: 'Each minute; the function itself keeps to its slots',
    groupName: group.ref,
    scheduleExpression: 'rate(1 minute)',
    flexibleTimeWindow: { mode: 'OFF' },
    target: {
      arn: target.functionArn,
      roleArn: role.roleArn,
      input,
      retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: 60 },
    },
    ...own,
  });
  made.node.addDependency(policy);
  return made;
}
