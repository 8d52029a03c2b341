import { Aws, Duration, Lazy } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as actions from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import type * as sns from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

import { metric } from './metrics';
import type { SitesProps } from './site';

/** A prefix list, and its entries as far as sites have been added. */
export interface Homes {
  readonly list: ec2.CfnPrefixList;
  readonly entries: ec2.CfnPrefixList.EntryProperty[];
}

/** The addresses of all homes. What `make site-add` adds to it is not in the stack, and a stack without entries leaves it alone. */
export function homesPrefixList(scope: Construct, sites: SitesProps): Homes {
  const entries: ec2.CfnPrefixList.EntryProperty[] = [];
  const list = new ec2.CfnPrefixList(scope, 'Homes', {
    prefixListName: `${Aws.STACK_NAME}-homes`,
    addressFamily: 'IPv4',
    maxEntries: sites.homeEntries ?? 40,
    entries: Lazy.any({ produce: () => (entries.length > 0 ? entries : undefined) }),
  });
  return { list, entries };
}

/** The saved query that names the sites that someone must look at. */
export function sickSites(scope: Construct, logGroup: logs.ILogGroup): void {
  new logs.CfnQueryDefinition(scope, 'SickSites', {
    name: `${Aws.STACK_NAME}/sick-sites`,
    logGroupNames: [logGroup.logGroupName],
    queryString: [
      'fields @timestamp, coalesce(Site, `spans.0.site`) as site',
      '| filter ispresent(site) and (FailingSites > 0 or level in ["WARN", "ERROR"])',
      '| stats sum(FailingSites) as failures, max(Lag) as lag, max(BacklogAge) as backlog_age, latest(message) as says by site',
      '| sort failures desc',
      '| limit 100',
    ].join('\n'),
  });
}

/** Tells when sites are failing. */
export function sitesAlarm(scope: Construct, watched: lambda.IFunction, topic: sns.ITopic | undefined, failing: number): cloudwatch.Alarm {
  const alarm = new cloudwatch.Alarm(scope, 'SitesAlarm', {
    alarmDescription: `amp-forwarder ${Aws.STACK_NAME}: ${failing} or more sites are failing for five minutes. The saved query ${Aws.STACK_NAME}/sick-sites of CloudWatch Logs names them; invoke the function with {"site":"NAME","action":"check"}, which names what fails and the next step.`,
    // Each site has one tick in each minute, so the sum of a minute is a number of sites.
    metric: metric(watched.functionName, 'FailingSites', { period: Duration.minutes(1) }),
    threshold: failing,
    evaluationPeriods: 5,
    datapointsToAlarm: 5,
    comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
  });
  if (topic !== undefined) alarm.addAlarmAction(new actions.SnsAction(topic));
  return alarm;
}
