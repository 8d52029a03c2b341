import { Annotations, Aws, Fn } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';

import type { EgressWay, EndpointService } from './egress';

/** A VPC by its ids, for an app that does not know it otherwise. */
export interface VpcIds {
  /** `vpc-…`. */
  readonly vpcId: string;
  /** The VPC's addresses, e.g. `10.20.0.0/16`. */
  readonly cidr: string;
  /**
   * Further ranges of the VPC.
   *
   * @default - none
   */
  readonly secondaryCidrs?: string[];
  /** Subnets whose routes lead home, best in two zones. */
  readonly subnetIds: string[];
}

/** The home Prometheus, as narrow as may be: nothing else at home is reachable for the function. */
export interface Home {
  /**
   * Its address, e.g. `192.0.2.10/32`. With {@link AmpForwarderProps.sites}, a range that all homes are in, or a prefix list.
   *
   * @default - with sites, a prefix list of the addresses that {@link AmpForwarder.addSite} is given
   */
  readonly cidr?: string;
  /**
   * Its port.
   *
   * @default 30090
   */
  readonly port?: number;
}

/** The VPC as the other parts need it. */
export interface ResolvedVpc {
  readonly vpc: ec2.IVpc;
  readonly subnets: ec2.ISubnet[];
  /** The VPC's addresses, as far as they are known. */
  readonly cidrs: string[];
}

/** The VPC of the app, or the one that has these ids. */
export function resolveVpc(
  scope: Construct,
  vpc: ec2.IVpc | VpcIds,
  selection: ec2.SubnetSelection | undefined,
  cidrs: string[] | undefined,
): ResolvedVpc {
  if (!('subnetIds' in vpc)) {
    return { vpc, subnets: vpc.selectSubnets(selection).subnets, cidrs: cidrs ?? [vpc.vpcCidrBlock] };
  }
  if (cidrs !== undefined) throw new Error('vpcCidrs: leave it out, the ranges are vpc.cidr and vpc.secondaryCidrs');
  if (selection !== undefined) throw new Error('vpcSubnets: leave it out, the subnets are those of vpc.subnetIds');
  if (vpc.subnetIds.length === 0) throw new Error('vpc.subnetIds: at least one subnet');
  const imported = ec2.Vpc.fromVpcAttributes(scope, 'Vpc', {
    vpcId: vpc.vpcId,
    vpcCidrBlock: vpc.cidr,
    // Nothing below asks for the zones.
    availabilityZones: vpc.subnetIds.map((_, index) => Fn.select(index, Fn.getAzs())),
    privateSubnetIds: vpc.subnetIds,
  });
  for (const subnet of imported.privateSubnets) {
    Annotations.of(subnet).acknowledgeWarning('@aws-cdk/aws-ec2:noSubnetRouteTableId', 'nothing asks for their route tables');
  }
  return { vpc: imported, subnets: imported.privateSubnets, cidrs: [vpc.cidr, ...(vpc.secondaryCidrs ?? [])] };
}

/**
 * The function's security group: out to home, to S3 and to what `egress` needs, in from nowhere. Names are resolved by the VPC's own resolver,
 * which no security group stands between.
 */
export function functionSecurityGroup(
  scope: Construct,
  options: {
    vpc: ec2.IVpc;
    home: Home;
    homesPrefixListId: string | undefined;
    s3PrefixListId: string;
    egress: EgressWay;
    endpoints: ec2.ISecurityGroup | undefined;
  },
): ec2.ISecurityGroup {
  const { home, egress, endpoints } = options;
  const toHome = options.homesPrefixListId === undefined ? { cidrIp: home.cidr } : { destinationPrefixListId: options.homesPrefixListId };
  const https = { ipProtocol: 'tcp', fromPort: 443, toPort: 443 };
  const port = home.port ?? 30090;
  const group = new ec2.CfnSecurityGroup(scope, 'FunctionSecurityGroup', {
    groupDescription: 'amp-forwarder',
    vpcId: options.vpc.vpcId,
    // Part of the group, so that the function is never started with some of them missing.
    securityGroupEgress: [
      { description: 'home Prometheus', ipProtocol: 'tcp', fromPort: port, toPort: port, ...toHome },
      { description: 'S3', ...https, destinationPrefixListId: options.s3PrefixListId },
      { ...https, ...toAmp(egress, endpoints) },
    ],
  });
  if (egress.kind === 'existingEndpoint') {
    new ec2.CfnSecurityGroupIngress(scope, 'ApsEndpointIngress', {
      description: 'amp-forwarder',
      groupId: egress.securityGroup.securityGroupId,
      ...https,
      sourceSecurityGroupId: group.attrGroupId,
    });
  }
  if (endpoints !== undefined) {
    // Whatever the VPC's ranges leave out. A rule of its own, since the two groups name each other.
    new ec2.CfnSecurityGroupIngress(scope, 'EndpointIngress', {
      description: 'amp-forwarder',
      groupId: endpoints.securityGroupId,
      ...https,
      sourceSecurityGroupId: group.attrGroupId,
    });
  }
  // The rule to AMP's own endpoint covers the others, too.
  if (endpoints !== undefined && egress.kind !== 'endpoint') {
    new ec2.CfnSecurityGroupEgress(scope, 'EndpointEgress', {
      description: 'interface endpoints',
      groupId: group.attrGroupId,
      ...https,
      destinationSecurityGroupId: endpoints.securityGroupId,
    });
  }
  return ec2.SecurityGroup.fromSecurityGroupId(scope, 'SecurityGroup', group.attrGroupId, { allowAllOutbound: false });
}

function toAmp(egress: EgressWay, endpoints: ec2.ISecurityGroup | undefined): Partial<ec2.CfnSecurityGroup.EgressProperty> {
  switch (egress.kind) {
    case 'endpoint':
      return { description: 'AMP endpoint', destinationSecurityGroupId: endpoints?.securityGroupId };
    case 'existingEndpoint':
      return { description: 'AMP endpoint', destinationSecurityGroupId: egress.securityGroup.securityGroupId };
    case 'cidr':
      return { description: 'AMP', cidrIp: egress.cidr };
    case 'ipv6':
      return { description: 'AMP by IPv6', cidrIpv6: '::/0' };
  }
}

/** What the interface endpoints need to know. */
export interface InterfaceEndpoints {
  readonly vpc: ResolvedVpc;
  /** The VPC's addresses, which the endpoints admit. */
  readonly cidrs: string[];
  readonly subnetIds: string[];
  readonly services: EndpointService[];
  /** The workspaces that AMP's endpoint admits; `undefined`: there is none to make. */
  readonly workspaceArns: string[] | undefined;
  readonly fips: boolean;
}

/** Interface endpoints for AMP and for further services, behind one security group, if there are any. */
export function interfaceEndpoints(scope: Construct, options: InterfaceEndpoints): ec2.ISecurityGroup | undefined {
  const { vpc, cidrs, subnetIds, services, workspaceArns, fips } = options;
  if (services.length === 0 && workspaceArns === undefined) return undefined;
  const group = new ec2.SecurityGroup(scope, 'EndpointSecurityGroup', {
    vpc: vpc.vpc,
    description: 'Interface endpoints of amp-forwarder',
    allowAllOutbound: false,
  });
  // The whole VPC: private DNS leads all of it here.
  const [first, ...further] = cidrs;
  group.addIngressRule(ec2.Peer.ipv4(first ?? vpc.vpc.vpcCidrBlock), ec2.Port.tcp(443), 'HTTPS of the VPC');
  for (const [index, cidrIp] of further.entries()) {
    const rule = { ipProtocol: 'tcp', fromPort: 443, toPort: 443, cidrIp };
    new ec2.CfnSecurityGroupIngress(scope, `EndpointIngress${index + 2}`, { description: 'HTTPS of the VPC', groupId: group.securityGroupId, ...rule });
  }
  const endpoint = (id: string, service: string, policyDocument?: iam.PolicyDocument): ec2.CfnVPCEndpoint =>
    new ec2.CfnVPCEndpoint(scope, id, {
      vpcId: vpc.vpc.vpcId,
      vpcEndpointType: 'Interface',
      serviceName: `com.amazonaws.${Aws.REGION}.${service}${fips ? '-fips' : ''}`,
      subnetIds,
      securityGroupIds: [group.securityGroupId],
      privateDnsEnabled: true,
      policyDocument,
    });
  if (workspaceArns !== undefined) endpoint('ApsEndpoint', 'aps-workspaces', writeAndQuery(workspaceArns));
  const ids: Record<EndpointService, string> = {
    sts: 'StsVpcEndpoint',
    ssm: 'SsmVpcEndpoint',
    secretsmanager: 'SecretsManagerVpcEndpoint',
    kms: 'KmsVpcEndpoint',
  };
  for (const service of new Set(services)) endpoint(ids[service], service);
  return group;
}

/** Private DNS moves AMP's name for everybody in the VPC: an EC2 Prometheus writes through the endpoint, a Grafana queries through it. */
function writeAndQuery(workspaceArns: string[]): iam.PolicyDocument {
  const statement = new iam.PolicyStatement({
    sid: 'WriteAndQuery',
    principals: [new iam.StarPrincipal()],
    actions: [
      'aps:GetAlertManagerSilence',
      'aps:GetAlertManagerStatus',
      'aps:GetLabels',
      'aps:GetMetricMetadata',
      'aps:GetSeries',
      'aps:ListAlertManagerAlertGroups',
      'aps:ListAlertManagerAlerts',
      'aps:ListAlertManagerReceivers',
      'aps:ListAlertManagerSilences',
      'aps:ListAlerts',
      'aps:ListRules',
      'aps:QueryMetrics',
      'aps:RemoteWrite',
    ],
    resources: workspaceArns,
  });
  return new iam.PolicyDocument({ statements: [statement] });
}

/**
 * All of S3 stays open through it: whatever else uses these route tables (package mirrors, container layers, other buckets) must not notice
 * that it is there. What the function may do is limited by its role.
 */
export function s3GatewayEndpoint(scope: Construct, vpc: ec2.IVpc, routeTableIds: string[]): void {
  const everybody = new iam.PolicyStatement({ sid: 'Everybody', principals: [new iam.StarPrincipal()], actions: ['s3:*'], resources: ['*'] });
  new ec2.CfnVPCEndpoint(scope, 'S3VpcEndpoint', {
    vpcId: vpc.vpcId,
    vpcEndpointType: 'Gateway',
    serviceName: `com.amazonaws.${Aws.REGION}.s3`,
    routeTableIds,
    policyDocument: new iam.PolicyDocument({ statements: [everybody] }),
  });
}

/** The gateways that an egress brings along. */
export function gateways(scope: Construct, vpc: ec2.IVpc, egress: EgressWay): void {
  if (egress.kind === 'cidr' && egress.nat !== undefined) {
    const address = new ec2.CfnEIP(scope, 'NatAddress', { domain: 'vpc' });
    const gateway = new ec2.CfnNatGateway(scope, 'NatGateway', {
      allocationId: address.attrAllocationId,
      subnetId: egress.nat.publicSubnetId,
    });
    new ec2.CfnRoute(scope, 'NatRoute', {
      routeTableId: egress.nat.routeTableId,
      destinationCidrBlock: '0.0.0.0/0',
      natGatewayId: gateway.ref,
    });
  }
  if (egress.kind === 'ipv6' && egress.routeTableId !== undefined) {
    const gateway = new ec2.CfnEgressOnlyInternetGateway(scope, 'Ipv6Gateway', { vpcId: vpc.vpcId });
    new ec2.CfnRoute(scope, 'Ipv6Route', {
      routeTableId: egress.routeTableId,
      destinationIpv6CidrBlock: '::/0',
      egressOnlyInternetGatewayId: gateway.ref,
    });
  }
}
