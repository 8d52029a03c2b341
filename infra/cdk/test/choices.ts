/**
 * The same choices as the parameters of the SAM template in tests/infra, as props: each is synthesized, looked at by
 * cdk-nag, and compared with what that template makes of its parameters.
 *
 *     node choices.js FOLDER      writes a template for each
 */
import * as fs from 'node:fs';
import * as path from 'node:path';

import { App, Duration, Stack, Validations } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as s3 from 'aws-cdk-lib/aws-s3';
import * as sns from 'aws-cdk-lib/aws-sns';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { Construct } from 'constructs';

import { AmpForwarder, type AmpForwarderProps, Configuration, Egress, EndpointService, type SiteProps, Workspace } from '../lib';

const KEY = 'arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000001';
const TOPIC = 'arn:aws:sns:us-east-1:123456789012:t';
// The library looks at the form of ids.
const VPC = 'vpc-00000001';
const SUBNET = 'subnet-0000000';
const ROUTES = 'rtb-0000000';

type Choice = (scope: Construct) => Partial<AmpForwarderProps>;

export const CHOICES: Record<string, Choice> = {
  default: () => ({}),
  email: () => ({ email: 'me@example.com' }),
  topic: (scope) => ({ topic: sns.Topic.fromTopicArn(scope, 'Topic', TOPIC) }),
  'no alarms': () => ({ alarms: false }),
  workspace: () => ({ workspace: Workspace.create(), homeAlerts: {}, email: 'me@example.com' }),
  'rules for a workspace': () => ({ homeAlerts: {} }),
  nat: () => ({ egress: Egress.nat({ publicSubnetId: SUBNET + '9', routeTableId: ROUTES + '1' }) }),
  'nat that exists': () => ({ egress: Egress.nat() }),
  ipv6: () => ({ egress: Egress.ipv6(ROUTES + '1') }),
  'ipv6 that exists': () => ({ egress: Egress.ipv6() }),
  existing: () => ({ egress: Egress.existing('10.0.0.0/16') }),
  'existing endpoint': (scope) => ({ egress: Egress.existingEndpoint(ec2.SecurityGroup.fromSecurityGroupId(scope, 'Endpoint', 'sg-00000001')) }),
  's3 endpoint': () => ({ s3RouteTableIds: [ROUTES + '1', ROUTES + '2'] }),
  endpoints: () => ({
    endpointServices: [EndpointService.STS, EndpointService.SSM, EndpointService.SECRETS_MANAGER, EndpointService.KMS],
  }),
  "endpoints without amp's": () => ({ egress: Egress.existing(), endpointServices: [EndpointService.STS] }),
  fips: () => ({ fips: true }),
  'fips and ipv6': () => ({ fips: true, egress: Egress.ipv6() }),
  'two ranges': () => ({
    vpc: { vpcId: VPC, cidr: '10.0.0.0/16', secondaryCidrs: ['10.1.0.0/16', '100.64.0.0/16'], subnetIds: [SUBNET + '1', SUBNET + '2'] },
  }),
  'another account': () => ({
    workspace: Workspace.fromArn('arn:aws:aps:us-west-2:210987654321:workspace/ws-2'),
    remoteWriteRoleArn: 'arn:aws:iam::210987654321:role/write',
    email: 'me@example.com',
  }),
  'rules for one of several homes': () => ({ homeAlerts: { selector: 'job="federate",site=~"attic|cellar"' } }),
  kms: (scope) => ({ kmsKey: kms.Key.fromKeyArn(scope, 'Key', KEY) }),
  'config in the bucket': () => ({ configuration: Configuration.inSpoolBucket() }),
  'config elsewhere': (scope) => ({
    configuration: Configuration.inS3(s3.Bucket.fromBucketName(scope, 'Bucket', 'other'), 'path/forwarder.yml'),
  }),
  'nightly verification': () => ({ verifySchedule: 'cron(30 3 * * ? *)', email: 'me@example.com' }),
  'verification without alarms': () => ({ verifySchedule: 'rate(1 day)', alarms: false }),
  sites: () => ({ home: {}, sites: {}, email: 'me@example.com' }),
  'sites with roles': () => ({ home: { cidr: '10.0.0.0/8', port: 9090 }, sites: { roles: true, failing: 3 }, email: 'me@example.com' }),
  'sites that are verified': (scope) => ({
    home: {},
    sites: {},
    verifySchedule: 'cron(30 3 * * ? *)',
    kmsKey: kms.Key.fromKeyArn(scope, 'Key', KEY),
  }),
  'sites with roles that are verified': (scope) => ({
    home: {},
    sites: { roles: true },
    verifySchedule: 'cron(30 3 * * ? *)',
    kmsKey: kms.Key.fromKeyArn(scope, 'Key', KEY),
  }),
  'sites without alarms': () => ({ home: {}, sites: { homeEntries: 200 }, alarms: false }),
  arm64: () => ({ architecture: lambda.Architecture.ARM_64, reservedConcurrentExecutions: 1 }),
  'all the rest': () => ({
    home: { cidr: '198.51.100.7/32', port: 9090 },
    egress: Egress.endpoint({ otherWorkspaceArns: ['arn:aws:aps:us-east-1:123456789012:workspace/ws-1'] }),
    endpointSubnetIds: [SUBNET + '7'],
    workspace: Workspace.create({ retentionDays: 30 }),
    homeAlerts: { job: 'attic' },
    remoteWriteRoleArn: 'arn:aws:iam::210987654321:role/write',
    memorySize: 256,
    timeout: Duration.seconds(30),
    scheduleEnabled: true,
    environment: { FORWARDER_ENVIRONMENT: 'SITE=attic,QUERY=a' },
    secretObjectArns: ['arn:aws:s3:::keys/password'],
    secretKeyArns: ['arn:aws:kms:us-east-1:123456789012:key/2'],
    logLevel: lambda.ApplicationLogLevel.WARN,
    logRetention: logs.RetentionDays.ONE_YEAR,
    ssmParameterArns: ['arn:aws:ssm:us-east-1:123456789012:parameter/a', 'arn:aws:ssm:us-east-1:123456789012:parameter/b'],
    secretArns: ['arn:aws:secretsmanager:us-east-1:123456789012:secret:c'],
    spoolRetention: { rejected: Duration.days(7), expired: Duration.days(9) },
    alarms: { lag: Duration.minutes(10), backlog: Duration.minutes(40) },
  }),
};

/** A site with everything that it may have. */
export const SITE: SiteProps = {
  home: '192.0.2.10/32',
  enabled: true,
  start: new Date('2026-01-01T00:00:00Z'),
  writeWorkspaceArn: 'arn:aws:aps:us-east-1:123456789012:workspace/ws-2',
  maxSeries: 50_000,
};

/** What a site with everything asks of what sites share. */
export const sitesOfAll: Choice = (scope) => ({
  home: {},
  sites: { roles: true },
  verifySchedule: 'cron(30 3 * * ? *)',
  kmsKey: kms.Key.fromKeyArn(scope, 'Key', KEY),
  workspace: Workspace.create(),
});

/** A stack with one forwarder. */
export function forwarderStack(app: App, choice: Choice, name = 'stack'): { stack: Stack; forwarder: AmpForwarder } {
  const stack = new Stack(app, name, { analyticsReporting: false });
  const forwarder = new AmpForwarder(stack, 'Forwarder', {
    code: code(stack),
    vpc: { vpcId: VPC, cidr: '10.0.0.0/16', subnetIds: [SUBNET + '1', SUBNET + '2'] },
    home: { cidr: '192.0.2.10/32' },
    s3PrefixListId: 'pl-00000001',
    workspace: Workspace.fromId('ws-00000000-0000-0000-0000-000000000000'),
    ...choice(stack),
  });
  return { stack, forwarder };
}

/** Where `sam package` would have put the zip. */
export function code(scope: Construct): lambda.Code {
  return lambda.Code.fromBucketV2(s3.Bucket.fromBucketName(scope, 'Code', 'code'), 'bootstrap.zip');
}

if (require.main === module) {
  const folder = process.argv[2] ?? '.';
  const app = new App({
    outdir: path.join(folder, 'cdk.out'),
    context: {
      // The library's own look at the templates is to fail, not to warn.
      '@aws-cdk/core:validateAgainstDefaultRules': true,
      // As the command line has it: the comparison goes by paths.
      'aws:cdk:enable-path-metadata': true,
    },
  });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  const stacks = Object.entries(CHOICES).map(([name, choice], index) => {
    const { stack, forwarder } = forwarderStack(app, choice, `stack${index}`);
    forwarder.outputs();
    return { name, stack };
  });
  // Sites of their own, beside what they share.
  const { stack: shared, forwarder: many } = forwarderStack(app, sitesOfAll, 'shared');
  many.addSite('tokyo', SITE);
  many.addSite('attic');
  // Throws when cdk-nag finds anything that is not acknowledged.
  const assembly = app.synth();
  fs.mkdirSync(path.join(folder, 'sites'));
  fs.writeFileSync(path.join(folder, 'sites/shared.json'), JSON.stringify(assembly.getStackByName(shared.stackName).template, null, 1));
  for (const { name, stack } of stacks) {
    fs.writeFileSync(path.join(folder, `${name}.json`), JSON.stringify(assembly.getStackByName(stack.stackName).template, null, 1));
  }
}
