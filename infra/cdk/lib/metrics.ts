import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';

/** Where the function's metrics are, unless its configuration says otherwise (`forwarder.metrics.namespace`). */
export const NAMESPACE = 'AmpForwarder';

/** What the function publishes at the end of each tick, with the statistic that makes sense of it. */
export const METRICS = {
  /** Samples that the scrapes gave. */
  Scraped: 'Sum',
  /** Samples that AMP took. */
  Written: 'Sum',
  /** Samples that AMP had already, and that were not sent again. */
  Unchanged: 'Sum',
  /** Samples in batches that AMP refused for good. */
  Rejected: 'Sum',
  /** Samples that got too old for AMP. */
  Expired: 'Sum',
  /** Samples that could neither be sent nor spooled. */
  Lost: 'Sum',
  /** Age of the newest sample in AMP, seconds. */
  Lag: 'Maximum',
  /** Age of the oldest sample in the spool, seconds. */
  BacklogAge: 'Maximum',
  /** The slowest scrape, milliseconds. */
  ScrapeDuration: 'Maximum',
  /** Failed scrapes, or targets whose last scrape or read failed, and one for a failed tick. */
  Failures: 'Sum',
  /** Samples that a site owes after a tick. The sum of a minute is the backlog of all sites. Absent with one home. */
  Backlog: 'Sum',
  /** Whether a site is failing. The sum of a minute is the number of failing sites, its sample count that of all. Absent with one home. */
  FailingSites: 'Sum',
  /** Samples read from the home for slots that scrapes have missed. Absent while there are none. */
  Backfilled: 'Sum',
  /** Time whose samples stay at home only, seconds. Absent while there is none. */
  AtHomeOnly: 'Sum',
  /** The longest time after which a sample became visible at home, seconds. Absent while none was late. */
  ReadLateness: 'Maximum',
} as const;

/** The name of one of {@link METRICS}. */
export type MetricName = keyof typeof METRICS;

/** One of the function's metrics, with its statistic. */
export function metric(functionName: string, name: MetricName, options: cloudwatch.MetricOptions = {}): cloudwatch.Metric {
  return new cloudwatch.Metric({
    namespace: NAMESPACE,
    metricName: name,
    dimensionsMap: { FunctionName: functionName },
    statistic: METRICS[name],
    period: Duration.minutes(1),
    ...options,
  });
}
