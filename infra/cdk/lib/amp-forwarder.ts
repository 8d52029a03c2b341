import { Aws, CfnOutput, Duration, RemovalPolicy } from 'aws-cdk-lib';
import type * as aps from 'aws-cdk-lib/aws-aps';
import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type * as sns from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';

import { alarms, DEFAULT_BACKLOG, emailTopic, emailTopicPolicy, recovery } from './alarms';
import { Configuration } from './configuration';
import { dashboard } from './dashboard';
import { Egress, type EgressWay } from './egress';
import { metric, type MetricName } from './metrics';
import { functionSecurityGroup, gateways, interfaceEndpoints, resolveVpc, s3GatewayEndpoint } from './network';
import { denyNetworkInterfaces, functionPolicies, keyCalls, siteRoleArn, spoolCalls } from './permissions';
import type { AmpForwarderProps } from './props';
import { schedule, type Scheduling, scheduleSwitch, scheduling } from './schedule';
import { Site, type SiteProps, type SitesProps } from './site';
import { homesPrefixList, type Homes, sickSites, sitesAlarm } from './sites';
import { CONFIG_KEY, SITES_PREFIX, SPOOL_PREFIX, spoolBucket } from './spool';
import { completenessAlarm, verificationSchedule, verifyPolicy } from './verification';
import { homeRules, type Limits, resolveWorkspace } from './workspace';

/**
 * A scheduled function that pulls a home Prometheus through the VPC's VPN and writes to Amazon Managed Service for Prometheus, with everything
 * that it needs and nothing open that need not be. The same resources as `infra/sam/template.yaml`; a test compares them property by property.
 *
 * No resource has a fixed name but the role of a site, so any number of forwarders live side by side.
 */
export class AmpForwarder extends Construct implements ec2.IConnectable, iam.IGrantable {
  /** The forwarder itself. */
  readonly function: lambda.Function;
  /** The function's role, with the permissions that infra/README.md lists. */
  readonly role: iam.Role;
  /** Of the function: to admit it elsewhere. Let it out to nothing more than it needs. */
  readonly securityGroup: ec2.ISecurityGroup;
  /** Of the interface endpoints made here, for {@link Egress.existingEndpoint} of another forwarder in this VPC. */
  readonly endpointSecurityGroup: ec2.ISecurityGroup | undefined;
  /** The security group as a peer of others. */
  readonly connections: ec2.Connections;
  /** The function's role, for grants of other resources. */
  readonly grantPrincipal: iam.IPrincipal;
  /** The spool's bucket. It is kept when the stack is deleted, because it may hold owed samples. */
  readonly spoolBucket: s3.Bucket;
  /** `s3://…`, for `forwardctl`. */
  readonly spoolUrl: string;
  /** `s3://…` of the configuration, when it is in S3. */
  readonly configurationUrl: string | undefined;
  /** Where the function logs to. */
  readonly logGroup: logs.LogGroup;
  /** What starts the function each minute. Sites have their own. */
  readonly schedule: scheduler.CfnSchedule | undefined;
  /** `ws-…` of the workspace that the samples go to. */
  readonly workspaceId: string;
  /** Its ARN. */
  readonly workspaceArn: string;
  /** AMP's address for this workspace: the `url` of `remote_write`. */
  readonly remoteWriteUrl: string;
  /** Where alarms and home alerts go. */
  readonly topic: sns.ITopic | undefined;
  /** The CloudWatch alarms, if there are any. */
  readonly alarms: cloudwatch.Alarm[];
  /** The CloudWatch dashboard. */
  readonly dashboard: cloudwatch.CfnDashboard;
  /** The rules in the workspace that tell when the home stops reporting. */
  readonly homeRules: aps.CfnRuleGroupsNamespace | undefined;

  readonly #key: kms.IKey | undefined;
  readonly #scheduling: Scheduling;
  readonly #homes: Homes | undefined;
  readonly #sites: SitesProps | undefined;
  readonly #ofSites: boolean;
  readonly #limits: Limits | undefined;
  readonly #verifySchedule: string | undefined;

  /** Makes the resources of one forwarder. */
  constructor(scope: Construct, id: string, props: AmpForwarderProps) {
    super(scope, id);
    const fips = props.fips ?? false;
    const egress = (props.egress ?? Egress.endpoint()).way;
    if (props.topic !== undefined && props.email !== undefined) throw new Error('email: leave it out where there is a topic, or subscribe it to that');

    const { sites } = props;
    this.#sites = sites;
    this.#ofSites = sites !== undefined;
    this.#verifySchedule = props.verifySchedule;
    if (sites === undefined && props.home.cidr === undefined) throw new Error('home.cidr: only with sites it may be left out');
    if (sites !== undefined && props.configuration !== undefined) throw new Error('configuration: leave it out, each site has its own');
    if (sites?.roles && props.remoteWriteRoleArn !== undefined) {
      throw new Error('remoteWriteRoleArn: leave it out, each site with a role writes to a workspace of this account');
    }
    const ownTopic = props.email === undefined ? undefined : emailTopic(this, props.email);
    this.topic = props.topic ?? ownTopic;
    const workspace = resolveWorkspace(this, props.workspace, props.homeAlerts && this.topic);
    if (workspace.ofAnotherAccount && props.remoteWriteRoleArn === undefined) {
      throw new Error('remoteWriteRoleArn: a workspace of another account needs the role there that may write to it');
    }
    this.workspaceId = workspace.id;
    this.workspaceArn = workspace.arn;
    this.#limits = workspace.limits;
    this.remoteWriteUrl = `https://${apsHost(egress, fips, workspace.region)}/workspaces/${workspace.id}/api/v1/remote_write`;
    if (ownTopic !== undefined) emailTopicPolicy(ownTopic, workspace.arn);
    this.homeRules = props.homeAlerts && homeRules(this, workspace, props.homeAlerts);

    const retention = props.spoolRetention ?? {};
    this.spoolBucket = spoolBucket(this, retention, props.kmsKey);
    const place = this.#ofSites ? `${SITES_PREFIX}/{site}/${SPOOL_PREFIX}` : SPOOL_PREFIX;
    this.spoolUrl = `s3://${this.spoolBucket.bucketName}/${place}`;
    this.#key = props.kmsKey;

    const vpc = resolveVpc(this, props.vpc, props.vpcSubnets, props.vpcCidrs);
    const endpoints = interfaceEndpoints(this, {
      vpc,
      cidrs: vpc.cidrs,
      subnetIds: props.endpointSubnetIds ?? vpc.subnets.map((subnet) => subnet.subnetId),
      services: props.endpointServices ?? [],
      workspaceArns: egress.kind === 'endpoint' ? [workspace.arn, ...egress.otherWorkspaceArns] : undefined,
      fips,
    });
    const { home, s3PrefixListId } = props;
    this.#homes = sites === undefined || home.cidr !== undefined ? undefined : homesPrefixList(this, sites);
    const homesPrefixListId = this.#homes?.list.ref;
    this.securityGroup = functionSecurityGroup(this, { vpc: vpc.vpc, home, homesPrefixListId, s3PrefixListId, egress, endpoints });
    this.endpointSecurityGroup = endpoints;
    this.connections = this.securityGroup.connections;
    if (props.s3RouteTableIds !== undefined && props.s3RouteTableIds.length > 0) s3GatewayEndpoint(this, vpc.vpc, props.s3RouteTableIds);
    gateways(this, vpc.vpc, egress);

    this.logGroup = new logs.LogGroup(this, 'LogGroup', {
      retention: props.logRetention ?? logs.RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const configuration = (props.configuration ?? Configuration.packaged()).resolve(this, this.spoolBucket);
    this.configurationUrl = this.#ofSites
      ? `s3://${this.spoolBucket.bucketName}/${SITES_PREFIX}/{site}/forwarder.yml`
      : configuration && `s3://${configuration.bucket.bucketName}/${configuration.key}`;
    this.role = new iam.Role(this, 'FunctionRole', {
      description: 'Execution role of amp-forwarder',
      assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com'),
    });
    this.grantPrincipal = this.role.grantPrincipal;
    const policies = functionPolicies(this, this.role, {
      workspaceArn: workspace.arn,
      bucket: this.spoolBucket,
      sites,
      logGroup: this.logGroup,
      configArn: configuration?.bucket.arnForObjects(configuration.key),
      key: props.kmsKey,
      remoteWriteRoleArn: props.remoteWriteRoleArn,
      ssmParameterArns: props.ssmParameterArns ?? [],
      secretArns: props.secretArns ?? [],
      secretObjectArns: props.secretObjectArns ?? [],
      secretKeyArns: props.secretKeyArns ?? [],
    });
    this.function = new lambda.Function(this, 'Function', {
      description: 'Pulls the home Prometheus and writes to Amazon Managed Service for Prometheus',
      code: props.code,
      handler: 'bootstrap',
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: props.architecture ?? lambda.Architecture.X86_64,
      memorySize: props.memorySize ?? 128,
      timeout: props.timeout ?? Duration.seconds(90),
      role: this.role,
      reservedConcurrentExecutions: props.reservedConcurrentExecutions,
      environment: {
        ...props.environment,
        FORWARDER_CONFIG: this.configurationUrl ?? '',
        // So that one forwarder.yml serves any stack: url: ${AMP_REMOTE_WRITE_URL}, region: ${AMP_REGION}, spool url: ${SPOOL_URL}.
        AMP_REGION: workspace.region,
        AMP_WORKSPACE_ID: workspace.id,
        AMP_REMOTE_WRITE_URL: this.remoteWriteUrl,
        SPOOL_URL: this.spoolUrl,
        // The role of a site, whose name Site makes in the same way.
        ...(sites?.roles ? { FORWARDER_ROLE_ARN: siteRoleArn(this, '{site}') } : {}),
        AWS_USE_FIPS_ENDPOINT: String(fips),
        // glibc gives freed memory of large buffers back only if this is fixed (mallopt(3)). The smallest function needs it.
        MALLOC_MMAP_THRESHOLD_: '1048576',
      },
      logGroup: this.logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      applicationLogLevelV2: props.logLevel ?? lambda.ApplicationLogLevel.INFO,
      systemLogLevelV2: lambda.SystemLogLevel.INFO,
      vpc: vpc.vpc,
      vpcSubnets: { subnets: vpc.subnets },
      securityGroups: [this.securityGroup],
      ipv6AllowedForDualStack: egress.kind === 'ipv6' ? true : undefined,
      // A tick that failed or came late is not repeated: the next one makes up for it.
      retryAttempts: 0,
      maxEventAge: Duration.seconds(60),
    });
    // It may not be started, nor its network interfaces made, before it may do what it must.
    this.function.node.addDependency(...policies);
    denyNetworkInterfaces(this, this.role, this.function);
    const { state, missingTick } = scheduleSwitch(this, props.scheduleEnabled ?? false);
    this.#scheduling = scheduling(this, this.function);
    this.schedule = this.#ofSites ? undefined : schedule(this, this.#scheduling, this.function, { state });
    if (sites !== undefined) sickSites(this, this.logGroup);
    if (props.verifySchedule !== undefined) {
      if (!sites?.roles) verifyPolicy(this, this.role, workspace.arn);
      if (this.schedule !== undefined) verificationSchedule(this, this.function, this.schedule, props.verifySchedule);
    }

    const thresholds = props.alarms === false ? {} : (props.alarms ?? {});
    this.alarms =
      props.alarms === false
        ? []
        : alarms(this, {
            function: this.function,
            workspaceId: workspace.ofAnotherAccount ? undefined : workspace.id,
            missingTick,
            topic: this.topic,
            thresholds,
            expiredDays: (retention.expired ?? Duration.days(30)).toDays(),
          });
    if (props.verifySchedule !== undefined && props.alarms !== false) {
      this.alarms.push(completenessAlarm(this, this.function, this.topic));
    }
    if (sites !== undefined && props.alarms !== false) this.alarms.push(sitesAlarm(this, this.function, this.topic, sites.failing ?? 1));
    if (this.alarms.length > 0 && this.topic !== undefined) recovery(this, this.alarms, this.topic);
    const shown = workspace.ofAnotherAccount ? undefined : workspace.id;
    this.dashboard = dashboard(this, this.function, shown, (thresholds.backlog ?? DEFAULT_BACKLOG).toSeconds(), this.#ofSites);
  }

  /**
   * Adds one of many homes to a forwarder with {@link AmpForwarderProps.sites}. Its configuration is uploaded by hand to
   * `sites/NAME/forwarder.yml` in {@link spoolBucket}.
   *
   * @param name 1 to 63 lower-case letters, digits and dashes
   */
  addSite(name: string, props: SiteProps = {}): Site {
    if (!this.#ofSites) throw new Error('addSite: the forwarder needs sites: {}');
    if (props.home !== undefined) {
      if (this.#homes === undefined) throw new Error('home of a site: leave it out, it is in home.cidr of the forwarder');
      this.#homes.entries.push({ cidr: props.home, description: name });
    }
    if (props.writeWorkspaceArn !== undefined && !this.#sites?.roles) throw new Error('writeWorkspaceArn: the forwarder needs sites: { roles: true }');
    if (props.maxSeries !== undefined) {
      if (this.#limits === undefined) throw new Error('maxSeries: for a workspace that Workspace.create makes; make site-add sets it for another one');
      this.#limits.push({ labelSet: [{ name: this.#sites?.label ?? 'site', value: name }], limits: { maxSeries: props.maxSeries } });
    }
    const own = this.#sites?.roles
      ? { workspaceArn: props.writeWorkspaceArn ?? this.workspaceArn, bucket: this.spoolBucket, key: this.#key }
      : undefined;
    const parts = { function: this.function, role: this.role, own, verifySchedule: this.#verifySchedule, scheduling: this.#scheduling };
    return new Site(this, name, parts, props);
  }

  /** Lets a principal invoke the function by hand: `forward`, `drain`, `check`, `status`, `verify`. */
  grantInvoke(grantee: iam.IGrantable): iam.Grant {
    return this.function.grantInvoke(grantee);
  }

  /** Lets somebody look into the spool: `forwardctl status`, `spool ls`, `show`, `verify`, `export`. */
  grantReadSpool(grantee: iam.IGrantable): iam.Grant {
    return this.#grantSpool(grantee, ['s3:GetObject']);
  }

  /** Lets a principal send the backlog from elsewhere: `forwardctl spool drain`. */
  grantDrain(grantee: iam.IGrantable): iam.Grant {
    const write = iam.Grant.addToPrincipal({ grantee, actions: ['aps:RemoteWrite'], resourceArns: [this.workspaceArn] });
    return write.combine(this.#grantSpool(grantee, ['s3:GetObject', 's3:PutObject', 's3:DeleteObject']));
  }

  /** Lets somebody upload the configuration of {@link Configuration.inSpoolBucket}. */
  grantWriteConfiguration(grantee: iam.IGrantable): iam.Grant {
    const key = this.#ofSites ? `${SITES_PREFIX}/*/forwarder.yml` : CONFIG_KEY;
    const write = iam.Grant.addToPrincipal({ grantee, actions: ['s3:PutObject'], resourceArns: [this.spoolBucket.arnForObjects(key)] });
    return this.#withKey(grantee, write);
  }

  /** One of the function's metrics. */
  metric(name: MetricName, options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return metric(this.function.functionName, name, options);
  }

  /** Samples that the scrapes gave. */
  metricScraped(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Scraped', options);
  }

  /** Samples that AMP took. */
  metricWritten(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Written', options);
  }

  /** Samples that AMP had already, and that were not sent again. */
  metricUnchanged(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Unchanged', options);
  }

  /** Samples in batches that AMP refused for good. */
  metricRejected(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Rejected', options);
  }

  /** Samples that got too old for AMP. */
  metricExpired(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Expired', options);
  }

  /** Samples that could neither be sent nor spooled. */
  metricLost(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Lost', options);
  }

  /** Age of the newest sample in AMP, seconds. */
  metricLag(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Lag', options);
  }

  /** Age of the oldest sample in the spool, seconds. */
  metricBacklogAge(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('BacklogAge', options);
  }

  /** Samples that all sites owe. Absent with one home. */
  metricBacklog(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Backlog', options);
  }

  /** The number of failing sites; its sample count is that of all sites. Absent with one home. */
  metricFailingSites(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('FailingSites', options);
  }

  /** The slowest scrape, milliseconds. */
  metricScrapeDuration(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('ScrapeDuration', options);
  }

  /** Failed scrapes, or targets whose last scrape or read failed, and one for a failed tick. */
  metricFailures(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Failures', options);
  }

  /** Samples read from the home for slots that scrapes have missed. Absent while there are none. */
  metricBackfilled(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('Backfilled', options);
  }

  /** Time whose samples stay at home only, seconds. Absent while there is none. */
  metricAtHomeOnly(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('AtHomeOnly', options);
  }

  /** The longest time after which a sample became visible at home, seconds. Absent while none was late. */
  metricReadLateness(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.metric('ReadLateness', options);
  }

  /** Outputs for the stack, with the names that the SAM template's have: what `make invoke`, `logs` and the others ask for. Once a stack. */
  outputs(): void {
    const outputs: Record<string, string | undefined> = {
      FunctionName: this.function.functionName,
      FunctionArn: this.function.functionArn,
      FunctionRoleArn: this.role.roleArn,
      FunctionSecurityGroupId: this.securityGroup.securityGroupId,
      EndpointSecurityGroupId: this.endpointSecurityGroup?.securityGroupId,
      LogGroupName: this.logGroup.logGroupName,
      ScheduleName: this.schedule?.ref,
      ScheduleGroupName: this.#scheduling.group.ref,
      ScheduleRoleArn: this.#scheduling.role.roleArn,
      SiteRoleArn: this.#sites?.roles ? siteRoleArn(this, '{site}') : undefined,
      SiteVerifySchedule: this.#ofSites ? this.#verifySchedule : undefined,
      SiteKeyArn: this.#ofSites ? this.#key?.keyArn : undefined,
      SitesUrl: this.#ofSites ? `s3://${this.spoolBucket.bucketName}/${SITES_PREFIX}` : undefined,
      HomesPrefixListId: this.#homes?.list.ref,
      SpoolBucketName: this.spoolBucket.bucketName,
      SpoolBucketArn: this.spoolBucket.bucketArn,
      SpoolUrl: this.spoolUrl,
      WorkspaceId: this.workspaceId,
      WorkspaceArn: this.workspaceArn,
      // An object that `make config` may replace. An asset is replaced by a deployment.
      ConfigUrl: this.configurationUrl === `s3://${this.spoolBucket.bucketName}/${CONFIG_KEY}` ? this.configurationUrl : undefined,
      AlarmTopicArn: this.topic?.topicArn,
      DashboardName: this.dashboard.ref,
    };
    for (const [name, value] of Object.entries(outputs)) {
      if (value !== undefined) new CfnOutput(this, name, { value }).overrideLogicalId(name);
    }
  }

  #grantSpool(grantee: iam.IGrantable, actions: string[]): iam.Grant {
    const [objects, list] = spoolCalls(this.spoolBucket, actions, this.#ofSites ? '*' : undefined);
    const grant = iam.Grant.addToPrincipal({ grantee, ...objects }).combine(iam.Grant.addToPrincipal({ grantee, ...list }));
    return this.#withKey(grantee, grant);
  }

  #withKey(grantee: iam.IGrantable, grant: iam.Grant): iam.Grant {
    return this.#key === undefined ? grant : grant.combine(iam.Grant.addToPrincipal({ grantee, ...keyCalls(this.#key) }));
  }
}

/** AMP's endpoints (AWS General Reference): `aps-workspaces` and `aps-workspaces-fips`, each also dual-stack under `api.aws`. */
function apsHost(egress: EgressWay, fips: boolean, region: string): string {
  return `aps-workspaces${fips ? '-fips' : ''}.${region}.${egress.kind === 'ipv6' ? 'api.aws' : Aws.URL_SUFFIX}`;
}
