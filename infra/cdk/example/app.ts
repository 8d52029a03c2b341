/**
 * An app with one forwarder in a VPC that exists already. Copy it, or put the construct into an app of yours.
 *
 *     npx cdk deploy -c vpcId=vpc-… -c homeCidr=192.0.2.10/32 -c workspaceId=ws-… -c email=you@example.com
 *
 * What the context leaves out is looked up, which needs an account and a region (`CDK_DEFAULT_ACCOUNT`, `CDK_DEFAULT_REGION`: the command line
 * sets them). The schedule is off until `make enable STACK=amp-forwarder-cdk`, and a later deployment keeps it as it is.
 */
import * as path from 'node:path';

import { App, CfnParameter, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as lambda from 'aws-cdk-lib/aws-lambda';

import { AmpForwarder, type AmpForwarderProps, Configuration, Egress, Workspace } from '../lib';

const app = new App();

function given(name: string): string {
  const value = optional(name);
  if (value === undefined) throw new Error(`-c ${name}=… is missing; see infra/README.md, "With CDK"`);
  return value;
}

function optional(name: string): string | undefined {
  const value: unknown = app.node.tryGetContext(name);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function list(name: string): string[] {
  return optional(name)?.split(',') ?? [];
}

/** The context's ids, or the VPC that the account has, with its private subnets. */
function vpc(scope: Stack): Pick<AmpForwarderProps, 'vpc' | 'vpcSubnets' | 'vpcCidrs'> {
  const vpcId = given('vpcId');
  const subnetIds = list('subnetIds');
  const [cidr, ...secondaryCidrs] = list('vpcCidr');
  if (cidr !== undefined && subnetIds.length > 0) return { vpc: { vpcId, cidr, secondaryCidrs, subnetIds } };
  const found = ec2.Vpc.fromLookup(scope, 'Vpc', { vpcId });
  const filters = subnetIds.length > 0 ? [ec2.SubnetFilter.byIds(subnetIds)] : [ec2.SubnetFilter.onePerAz()];
  const isolated = found.privateSubnets.length === 0;
  const subnetType = isolated ? ec2.SubnetType.PRIVATE_ISOLATED : ec2.SubnetType.PRIVATE_WITH_EGRESS;
  return { vpc: found, vpcSubnets: { subnetType, subnetFilters: filters }, vpcCidrs: cidr === undefined ? undefined : [cidr, ...secondaryCidrs] };
}

function egress(scope: Stack): Egress {
  const kind = optional('egress') ?? 'endpoint';
  const endpoint = optional('apsEndpointSecurityGroupId');
  const routeTableId = optional('egressRouteTableId');
  const subnet = optional('natSubnetId');
  switch (kind) {
    case 'endpoint':
      return endpoint === undefined
        ? Egress.endpoint({ otherWorkspaceArns: list('otherWorkspaceArns') })
        : Egress.existingEndpoint(ec2.SecurityGroup.fromSecurityGroupId(scope, 'ApsEndpoint', endpoint));
    case 'nat':
      return Egress.nat(routeTableId === undefined || subnet === undefined ? undefined : { routeTableId, publicSubnetId: subnet });
    case 'ipv6':
      return Egress.ipv6(routeTableId);
    case 'existing':
      return Egress.existing(optional('egressCidr'));
    default:
      throw new Error(`-c egress=${kind}: write endpoint, nat, ipv6 or existing`);
  }
}

function workspace(): Workspace {
  const [id, arn] = [optional('workspaceId'), optional('workspaceArn')];
  if (arn !== undefined) return Workspace.fromArn(arn);
  return id === undefined ? Workspace.create() : Workspace.fromId(id);
}

function s3PrefixListId(scope: Stack): string {
  const name = `com.amazonaws.${scope.region}.s3`;
  return optional('s3PrefixListId') ?? ec2.PrefixList.fromLookup(scope, 'S3', { prefixListName: name }).prefixListId;
}

const env = { account: process.env['CDK_DEFAULT_ACCOUNT'], region: process.env['CDK_DEFAULT_REGION'] };
// Another name than the SAM template's stack has, so that neither replaces the other.
const stack = new Stack(app, optional('stack') ?? 'amp-forwarder-cdk', { env });
const config = optional('config');
const forwarder = new AmpForwarder(stack, 'Forwarder', {
  // What `make build` wrote, or a released zip.
  code: lambda.Code.fromAsset(optional('zip') ?? path.resolve('../../target/lambda/amp-forwarder/bootstrap.zip')),
  configuration: config === undefined ? Configuration.packaged() : Configuration.fromFile(config),
  ...vpc(stack),
  home: { cidr: given('homeCidr'), port: Number(optional('homePort') ?? '30090') },
  s3PrefixListId: s3PrefixListId(stack),
  s3RouteTableIds: list('s3RouteTableIds'),
  egress: egress(stack),
  workspace: workspace(),
  remoteWriteRoleArn: optional('remoteWriteRoleArn'),
  homeAlerts: optional('workspaceArn') === undefined ? { selector: optional('homeSelector') } : undefined,
  email: optional('email'),
  // Off until `check` is content. A deployment keeps the value that `make enable` sets.
  scheduleEnabled: new CfnParameter(stack, 'ScheduleState', {
    default: 'DISABLED',
    allowedValues: ['ENABLED', 'DISABLED'],
    description: 'Whether the schedule starts the function each minute.',
  }),
});
forwarder.outputs();
app.synth();
