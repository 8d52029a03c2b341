import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';

import { App, CfnParameter, Duration, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as sns from 'aws-cdk-lib/aws-sns';

import { AmpForwarder, Configuration, Egress, EndpointService, METRICS, type MetricName, Site, type SiteProps, Workspace } from '../lib';
import { CHOICES, code, forwarderStack, SITE, sitesOfAll } from './choices';

function synthesized(name: string): Template {
  const choice = CHOICES[name];
  assert(choice);
  return Template.fromStack(forwarderStack(new App(), choice).stack);
}

/** The templates that were last looked at; beside the source, not in dist/. */
const SNAPSHOTS = path.resolve(__dirname, '../../test/snapshots');

for (const name of ['default', 'all the rest']) {
  test(`the template of the choice "${name}" is the one that was last looked at`, () => {
    const file = path.join(SNAPSHOTS, `${name.replaceAll(' ', '-')}.json`);
    const template = `${JSON.stringify(synthesized(name).toJSON(), null, 1)}\n`;
    if (process.env['UPDATE_SNAPSHOTS'] === '1') fs.writeFileSync(file, template);
    assert.deepEqual(JSON.parse(template), JSON.parse(fs.readFileSync(file, 'utf8')), 'UPDATE_SNAPSHOTS=1 npm test writes it again');
  });
}

test('two forwarders live in one stack', () => {
  const { stack } = forwarderStack(new App(), () => ({ homeAlerts: {} }));
  const vpc = { vpcId: 'vpc-00000001', cidr: '10.0.0.0/16', subnetIds: ['subnet-00000001'] };
  new AmpForwarder(stack, 'Second', {
    code: lambda.Code.fromAsset(__dirname),
    vpc,
    home: { cidr: '192.0.2.11/32' },
    s3PrefixListId: 'pl-00000001',
    workspace: Workspace.fromId('ws-00000000-0000-0000-0000-000000000000'),
    homeAlerts: {},
    egress: Egress.existing(),
  });
  const template = Template.fromStack(stack);
  template.resourceCountIs('AWS::Lambda::Function', 2);
  const rules = Object.values(template.findResources('AWS::APS::RuleGroupsNamespace')) as { Properties: { Name: string } }[];
  assert.equal(new Set(rules.map((rule) => rule.Properties.Name)).size, 2);
});

test('a VPC of the app, with its private subnets', () => {
  const stack = new Stack(new App(), 'stack', { env: { account: '123456789012', region: 'us-east-1' } });
  const vpc = new ec2.Vpc(stack, 'Net', { maxAzs: 2, natGateways: 1 });
  new AmpForwarder(stack, 'Forwarder', {
    code: code(stack),
    vpc,
    home: { cidr: '192.0.2.10/32' },
    s3PrefixListId: 'pl-00000001',
    endpointServices: [EndpointService.SSM],
    vpcCidrs: ['10.0.0.0/16', '100.64.0.0/16'],
    egress: Egress.nat(),
    workspace: Workspace.create(),
  });
  const template = Template.fromStack(stack);
  template.hasResourceProperties('AWS::EC2::SecurityGroupIngress', { CidrIp: '100.64.0.0/16', FromPort: 443 });
  const ids = vpc.privateSubnets.map((subnet) => stack.resolve(subnet.subnetId) as unknown);
  template.hasResourceProperties('AWS::Lambda::Function', { VpcConfig: { SubnetIds: ids } });
});

test('nothing but home, S3 and the way to AMP is open', () => {
  const template = synthesized('ipv6');
  const groups = Object.values(template.findResources('AWS::EC2::SecurityGroup')) as { Properties: { SecurityGroupEgress: object[] } }[];
  assert.deepEqual(
    groups.map((group) => group.Properties.SecurityGroupEgress),
    [
      [
        { CidrIp: '192.0.2.10/32', Description: 'home Prometheus', FromPort: 30090, IpProtocol: 'tcp', ToPort: 30090 },
        { Description: 'S3', DestinationPrefixListId: 'pl-00000001', FromPort: 443, IpProtocol: 'tcp', ToPort: 443 },
        { CidrIpv6: '::/0', Description: 'AMP by IPv6', FromPort: 443, IpProtocol: 'tcp', ToPort: 443 },
      ],
    ],
  );
});

test('owed samples never age out, and outlive the stack', () => {
  const template = synthesized('default');
  template.hasResource('AWS::S3::Bucket', { DeletionPolicy: 'RetainExceptOnCreate', UpdateReplacePolicy: 'Retain' });
  const [bucket] = Object.values(template.findResources('AWS::S3::Bucket')) as { Properties: { LifecycleConfiguration: { Rules: object[] } } }[];
  const rules = bucket?.Properties.LifecycleConfiguration.Rules as { Prefix?: string; ExpirationInDays?: number }[];
  const expiring = rules.filter((rule) => rule.ExpirationInDays !== undefined).map((rule) => rule.Prefix);
  assert.deepEqual(expiring, ['spool/rejected/', 'spool/expired/']);
});

test('a configuration of the app is deployed with it', () => {
  const { stack } = forwarderStack(new App(), () => ({ configuration: Configuration.fromFile(__filename) }));
  const template = Template.fromStack(stack);
  template.hasResourceProperties('AWS::IAM::Policy', {
    PolicyName: 'config',
    PolicyDocument: { Statement: [Match.objectLike({ Action: 's3:GetObject' })] },
  });
  template.hasResourceProperties('AWS::Lambda::Function', {
    Environment: { Variables: { FORWARDER_CONFIG: { 'Fn::Join': ['', Match.arrayWith([Match.stringLikeRegexp('/[0-9a-f]+[.]js$')])] } } },
  });
});

test('each metric has its helper', () => {
  const { stack, forwarder } = forwarderStack(new App(), () => ({}));
  for (const [name, statistic] of Object.entries(METRICS)) {
    const helper = forwarder[`metric${name as MetricName}`].bind(forwarder);
    const { namespace, metricName, dimensions, period } = helper();
    assert.deepEqual([namespace, metricName, helper().statistic, period.toSeconds()], ['AmpForwarder', name, statistic, 60]);
    assert.deepEqual(stack.resolve(dimensions), { FunctionName: stack.resolve(forwarder.function.functionName) as unknown });
    assert.equal(helper({ statistic: 'p99' }).statistic, 'p99');
  }
});

test('grants say no more than they must', () => {
  const app = new App();
  const { forwarder } = forwarderStack(app, (scope) => ({ kmsKey: new kms.Key(scope, 'Key') }));
  const grants: Record<string, [(role: iam.Role) => iam.Grant, string[]]> = {
    Read: [(role) => forwarder.grantReadSpool(role), ['s3:GetObject', 's3:ListBucket if', 'kms:Decrypt kms:GenerateDataKey if']],
    Drain: [
      (role) => forwarder.grantDrain(role),
      ['aps:RemoteWrite', 's3:GetObject s3:PutObject s3:DeleteObject', 's3:ListBucket if', 'kms:Decrypt kms:GenerateDataKey if'],
    ],
    Configure: [(role) => forwarder.grantWriteConfiguration(role), ['s3:PutObject', 'kms:Decrypt kms:GenerateDataKey if']],
    Invoke: [(role) => forwarder.grantInvoke(role), ['lambda:InvokeFunction']],
  };
  const stacks = Object.entries(grants).map(([name, [grant]]) => {
    const stack = new Stack(app, name);
    grant(new iam.Role(stack, 'Role', { assumedBy: new iam.AccountRootPrincipal() }));
    return stack;
  });
  const may = stacks.map((stack) => {
    const policies = Object.values(Template.fromStack(stack).findResources('AWS::IAM::Policy')) as Policy[];
    const statements = policies.flatMap((policy) => policy.Properties.PolicyDocument.Statement);
    return statements.map(({ Action, Condition }) => [Action].flat().join(' ') + (Condition === undefined ? '' : ' if'));
  });
  assert.deepEqual(may, Object.values(grants).map(([, expected]) => expected));
});

interface Policy {
  readonly Properties: { readonly PolicyDocument: { readonly Statement: { readonly Action: string | string[]; readonly Condition?: unknown }[] } };
}

const ARN = 'arn:aws:aps:us-east-1:210987654321:workspace/ws-2';
const ROLE = 'arn:aws:iam::210987654321:role/write';

test('a parameter of the stack switches the schedule and its alarm', () => {
  const { stack } = forwarderStack(new App(), (scope) => ({
    scheduleEnabled: new CfnParameter(scope, 'ScheduleState', { default: 'DISABLED', allowedValues: ['ENABLED', 'DISABLED'] }),
  }));
  const template = Template.fromStack(stack);
  template.hasResourceProperties('AWS::Scheduler::Schedule', { State: { Ref: 'ScheduleState' } });
  const [condition] = Object.entries(template.findConditions('*')).find(([, made]) => JSON.stringify(made).includes('ENABLED')) ?? [];
  assert(condition);
  template.hasResourceProperties('AWS::CloudWatch::Alarm', {
    MetricName: 'Failures',
    TreatMissingData: { 'Fn::If': [condition, 'breaching', 'notBreaching'] },
  });
});

test('sites have a schedule each, and share the rest', () => {
  const { stack, forwarder } = forwarderStack(new App(), sitesOfAll);
  const tokyo = forwarder.addSite('tokyo', SITE);
  forwarder.addSite('attic', { home: '198.51.100.7/32' });
  assert.equal(tokyo.configurationKey, 'sites/tokyo/forwarder.yml');
  const template = Template.fromStack(stack);
  template.resourceCountIs('AWS::Lambda::Function', 1);
  template.resourceCountIs('AWS::Scheduler::ScheduleGroup', 1);
  template.hasResourceProperties('AWS::Scheduler::Schedule', { Name: 'attic', State: 'DISABLED', Target: { Input: '{"site":"attic"}' } });
  template.hasResourceProperties('AWS::EC2::PrefixList', {
    Entries: [
      { Cidr: '192.0.2.10/32', Description: 'tokyo' },
      { Cidr: '198.51.100.7/32', Description: 'attic' },
    ],
  });
});

test('sites are spread over the minute by their names', () => {
  const seconds = Array.from({ length: 600 }, (_, index) => Site.secondOf(`site-${index}`));
  const count = (second: number): number => seconds.filter((one) => one === second).length;
  const counts = Array.from({ length: 60 }, (_, second) => count(second));
  assert(Math.min(...counts) >= 2 && Math.max(...counts) <= 20, counts.join(' '));
});

test('what cannot be is said', () => {
  const tried = (choice: (typeof CHOICES)[string]) => () => forwarderStack(new App(), choice);
  assert.throws(tried(() => ({ workspace: Workspace.fromArn(ARN) })), /remoteWriteRoleArn/);
  assert.throws(tried(() => ({ workspace: Workspace.fromArn(ARN), remoteWriteRoleArn: ROLE, homeAlerts: {} })), /rules of another account/);
  assert.throws(tried(() => ({ homeAlerts: { selector: 'job=federate' } })), /homeAlerts.selector/);
  assert.throws(tried((scope) => ({ topic: new sns.Topic(scope, 'Topic'), email: 'me@example.com' })), /email: leave it out/);
  assert.throws(tried(() => ({ vpc: { vpcId: 'vpc-00000001', cidr: '10.0.0.0/16', subnetIds: [] } })), /at least one subnet/);
  assert.throws(tried(() => ({ vpcSubnets: {} })), /vpcSubnets: leave it out/);
  assert.throws(tried(() => ({ vpcCidrs: ['10.0.0.0/16'] })), /vpcCidrs: leave it out/);
  assert.throws(tried(() => ({ homeAlerts: { job: 'a"b' } })), /homeAlerts.job/);
  assert.throws(tried(() => ({ alarms: { backlog: Duration.hours(1) } })), /alarms.backlog/);
  assert.throws(tried(() => ({ home: {} })), /home.cidr/);
  assert.throws(tried(() => ({ sites: {}, configuration: Configuration.inSpoolBucket() })), /each site has its own/);
  assert.throws(tried(() => ({ home: {}, sites: { roles: true }, remoteWriteRoleArn: ROLE })), /remoteWriteRoleArn: leave it out/);
  const added = (choice: (typeof CHOICES)[string], name: string, site?: SiteProps) => () =>
    forwarderStack(new App(), choice).forwarder.addSite(name, site);
  assert.throws(added(() => ({}), 'tokyo'), /needs sites/);
  assert.throws(added(() => ({ home: {}, sites: {} }), '../tokyo'), /lower-case/);
  assert.throws(added(() => ({ sites: {} }), 'tokyo', { home: '192.0.2.10/32' }), /leave it out/);
  assert.throws(added(() => ({ home: {}, sites: {} }), 'tokyo', { maxSeries: 5 }), /maxSeries/);
  assert.throws(added(() => ({ home: {}, sites: {} }), 'tokyo', { writeWorkspaceArn: ARN }), /roles: true/);
});
