import type { CfnParameter, Duration } from 'aws-cdk-lib';
import type * as ec2 from 'aws-cdk-lib/aws-ec2';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type * as sns from 'aws-cdk-lib/aws-sns';

import type { AlarmThresholds } from './alarms';
import type { Configuration } from './configuration';
import type { Egress, EndpointService } from './egress';
import type { Home, VpcIds } from './network';
import type { SitesProps } from './site';
import type { SpoolRetention } from './spool';
import type { HomeAlerts, Workspace } from './workspace';

/** What an {@link AmpForwarder} is made of. Only the code, the places and the workspace have no default. */
export interface AmpForwarderProps {
  /** The zip of `make build`: `lambda.Code.fromAsset('…/bootstrap.zip')`. */
  readonly code: lambda.Code;

  /** The VPC that the VPN ends in. */
  readonly vpc: ec2.IVpc | VpcIds;

  /**
   * Subnets whose routes lead home, best in two zones. Only with a VPC that is not given by ids.
   *
   * @default - the VPC's private subnets
   */
  readonly vpcSubnets?: ec2.SubnetSelection;

  /**
   * All ranges of the VPC, if it has several: the endpoints made here admit them, since private DNS moves those names for the whole VPC. Only
   * with a VPC that is not given by ids.
   *
   * @default - the VPC's first range, which is all that a lookup shows
   */
  readonly vpcCidrs?: string[];

  /** The home Prometheus; with {@link sites}, the port of all homes, and a range that they are in. */
  readonly home: Home;

  /**
   * Serves many homes, each added by {@link AmpForwarder.addSite} or `make site-add`: a site has a schedule, a configuration and a prefix of the
   * spool. What is made here is shared. Leave {@link configuration} out.
   *
   * @default - one home
   */
  readonly sites?: SitesProps;

  /**
   * The region's prefix list of S3: `aws ec2 describe-managed-prefix-lists --filters
   * Name=prefix-list-name,Values=com.amazonaws.REGION.s3`, or `ec2.PrefixList.fromLookup`.
   */
  readonly s3PrefixListId: string;

  /**
   * Route tables of the subnets, which get an S3 gateway endpoint (free).
   *
   * @default - none: they have one
   */
  readonly s3RouteTableIds?: string[];

  /**
   * How the function reaches AMP.
   *
   * @default Egress.endpoint()
   */
  readonly egress?: Egress;

  /**
   * Interface endpoints for further services, each billed: only where the configuration needs the service and there is no other way out.
   *
   * @default - none
   */
  readonly endpointServices?: EndpointService[];

  /**
   * Subnets of the interface endpoints, each in another zone; each is billed.
   *
   * @default - the function's
   */
  readonly endpointSubnetIds?: string[];

  /**
   * FIPS addresses of AMP, S3 and the others.
   *
   * @default false
   */
  readonly fips?: boolean;

  /** The AMP workspace that the samples go to. */
  readonly workspace: Workspace;

  /**
   * Rules in the workspace that tell when the home stops reporting. A workspace made here also gets an Alertmanager that sends them to
   * {@link topic} or {@link email}; for one that exists, see infra/README.md.
   *
   * @default - none
   */
  readonly homeAlerts?: HomeAlerts;

  /**
   * The `sigv4.role_arn` of the configuration (a workspace of another account), which the function then may assume.
   *
   * @default - none
   */
  readonly remoteWriteRoleArn?: string;

  /**
   * Where the configuration is.
   *
   * @default Configuration.packaged()
   */
  readonly configuration?: Configuration;

  /**
   * Megabytes; CPU time comes with them (1,769 are one core).
   *
   * @default 128
   */
  readonly memorySize?: number;

  /**
   * 90 seconds for a `scrape_interval` below a minute: a tick serves the slots of up to a minute after its start, then come the last one's
   * sends and the closing spool writes. 30 seconds for an interval of a minute or more.
   *
   * @default 90 seconds
   */
  readonly timeout?: Duration;

  /**
   * Of the zip.
   *
   * @default lambda.Architecture.X86_64
   */
  readonly architecture?: lambda.Architecture;

  /**
   * The spool's lease keeps ticks apart, and a reserved 1 would throttle a manual invoke.
   *
   * @default - none
   */
  readonly reservedConcurrentExecutions?: number;

  /**
   * Further variables, for `${NAME}` in the configuration. There already: `AMP_REGION`, `AMP_WORKSPACE_ID`, `AMP_REMOTE_WRITE_URL`, `SPOOL_URL`.
   *
   * @default - none
   */
  readonly environment?: Record<string, string>;

  /**
   * Whether the schedule starts the function each minute. Leave it off until `{"action":"check"}` is content. A parameter of the stack with the
   * values `ENABLED` and `DISABLED` can be switched without a deployment (`make enable`), and a deployment keeps its value.
   *
   * @default false
   */
  readonly scheduleEnabled?: boolean | CfnParameter;

  /**
   * When the function compares the last day at home with the workspace, such as `cron(30 3 * * ? *)`. Its role then gets `aps:QueryMetrics`,
   * and an alarm tells of samples that are missing.
   *
   * @default - never
   */
  readonly verifySchedule?: string;

  /**
   * Of the function's own lines. Metrics are kept at any level.
   *
   * @default lambda.ApplicationLogLevel.INFO
   */
  readonly logLevel?: lambda.ApplicationLogLevel;

  /**
   * How long logs are kept.
   *
   * @default logs.RetentionDays.ONE_MONTH
   */
  readonly logRetention?: logs.RetentionDays;

  /**
   * Systems Manager parameters that the configuration names.
   *
   * @default - none
   */
  readonly ssmParameterArns?: string[];

  /**
   * Secrets that the configuration names.
   *
   * @default - none
   */
  readonly secretArns?: string[];

  /**
   * Objects in S3 that the configuration names as files (`password_file: s3://…`).
   *
   * @default - none
   */
  readonly secretObjectArns?: string[];

  /**
   * KMS keys of one's own that encrypt those parameters, secrets and objects, or the configuration.
   *
   * @default - none
   */
  readonly secretKeyArns?: string[];

  /**
   * A key for the spool's bucket.
   *
   * @default - S3's own encryption
   */
  readonly kmsKey?: kms.IKey;

  /** How long the spool keeps what AMP has not taken for good. */
  readonly spoolRetention?: SpoolRetention;

  /**
   * Thresholds of the CloudWatch alarms; `false` for no alarms.
   *
   * @default - alarms with their default thresholds
   */
  readonly alarms?: AlarmThresholds | false;

  /**
   * Where alarms and home alerts are sent to. Its policy must admit `cloudwatch.amazonaws.com` and `events.amazonaws.com`, and with
   * {@link homeAlerts} `aps.amazonaws.com`.
   *
   * @default - nowhere, or to {@link email}
   */
  readonly topic?: sns.ITopic;

  /**
   * Without a topic, an address that a new topic sends to. It has to confirm the subscription.
   *
   * @default - none
   */
  readonly email?: string;
}
