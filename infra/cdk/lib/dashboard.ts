import { Aws, Stack } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';

import { type MetricName, NAMESPACE } from './metrics';

/** A CloudWatch dashboard of one forwarder. */
export function dashboard(
  scope: Construct,
  watched: lambda.IFunction,
  workspaceId: string | undefined,
  backlogSeconds: number,
  ofSites: boolean,
): cloudwatch.CfnDashboard {
  const ours = (...names: MetricName[]): string[][] => names.map((name) => [NAMESPACE, name, 'FunctionName', watched.functionName]);
  const ofLambda = (...names: string[]): string[][] => names.map((name) => ['AWS/Lambda', name, 'FunctionName', watched.functionName]);
  // AMP's metrics of another account's workspace are in that account.
  const discarded = {
    title: 'Discarded by AMP, by reason',
    period: 300,
    metrics: [
      [
        {
          expression: `SELECT SUM(DiscardedSamples) FROM "AWS/Prometheus" WHERE Workspace = '${workspaceId ?? ''}' GROUP BY Reason`,
          id: 'discarded',
        },
      ],
    ],
  };
  const panels = [
    { title: 'Samples a minute', stat: 'Sum', metrics: ours('Scraped', 'Written', 'Unchanged') },
    {
      title: 'Lag and age of the backlog (AMP refuses after 3600 s)',
      stat: 'Maximum',
      metrics: ours('Lag', 'BacklogAge'),
      annotations: { horizontal: [{ label: 'backlog alarm', value: backlogSeconds }] },
    },
    { title: 'Samples that AMP did not get', stat: 'Sum', metrics: ours('Rejected', 'Expired', 'Lost') },
    workspaceId === undefined ? undefined : discarded,
    { title: 'Failures', stat: 'Sum', metrics: [...ours('Failures'), ...ofLambda('Errors', 'Throttles', 'Invocations')] },
    { title: 'Durations (ms)', stat: 'Maximum', metrics: [...ours('ScrapeDuration'), ...ofLambda('Duration')] },
    ...(ofSites ? sitePanels(watched.functionName) : []),
  ];
  const widgets = panels.flatMap((panel, index) => {
    if (panel === undefined) return [];
    const place = { x: (index % 2) * 12, y: Math.floor(index / 2) * 6, width: 12, height: 6 };
    return [{ type: 'metric', ...place, properties: { region: Aws.REGION, view: 'timeSeries', period: 60, ...panel } }];
  });
  return new cloudwatch.CfnDashboard(scope, 'Dashboard', {
    dashboardBody: Stack.of(scope).toJsonString({ start: '-PT3H', periodOverride: 'inherit', widgets }),
  });
}

/** What is shown of all sites together. Each has one tick in each minute. */
function sitePanels(name: string): object[] {
  const failing = (stat: string, label: string): unknown[] => [NAMESPACE, 'FailingSites', 'FunctionName', name, { stat, label }];
  return [
    { title: 'Failing sites, and sites that had a tick', metrics: [failing('Sum', 'failing'), failing('SampleCount', 'had a tick')] },
    { title: 'Backlog of all sites (samples)', stat: 'Sum', metrics: [[NAMESPACE, 'Backlog', 'FunctionName', name]] },
  ];
}
