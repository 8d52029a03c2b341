import type * as ec2 from 'aws-cdk-lib/aws-ec2';

/** AWS services besides AMP and S3 that a configuration can need. They get an interface endpoint where there is no other way out. */
export enum EndpointService {
  /** `sigv4.role_arn`: a workspace of another account. */
  STS = 'sts',
  /** `${ssm:…}` in the configuration. */
  SSM = 'ssm',
  /** `${secretsmanager:…}` in the configuration. */
  SECRETS_MANAGER = 'secretsmanager',
  /** The function itself never calls KMS (S3 does that for it); for others in the VPC. */
  KMS = 'kms',
}

/** What {@link Egress.endpoint} makes. */
export interface EndpointEgress {
  /**
   * Further workspaces that anything in the VPC writes to or queries. Private DNS moves AMP's name for the whole VPC, so the endpoint's
   * policy must admit them, too.
   *
   * @default - the forwarder's workspace only
   */
  readonly otherWorkspaceArns?: string[];
}

/** What {@link Egress.nat} makes. */
export interface NatEgress {
  /** The public subnet for the NAT gateway. */
  readonly publicSubnetId: string;
  /** The route table of the function's subnets; the gateway becomes its default route. */
  readonly routeTableId: string;
}

/** How the function reaches AMP. S3 is reached through its gateway endpoint in any case, home through the VPN. */
export class Egress {
  /**
   * An interface endpoint for AMP, billed by hour and zone: nothing of the VPC needs the internet. It admits the whole VPC on port 443, and
   * its policy admits writing to and querying the workspace.
   */
  static endpoint(options: EndpointEgress = {}): Egress {
    return new Egress({ kind: 'endpoint', otherWorkspaceArns: options.otherWorkspaceArns ?? [] });
  }

  /** The `aps-workspaces` endpoint that the VPC has already; `securityGroup` is the endpoint's, and admits the function from now on. */
  static existingEndpoint(securityGroup: ec2.ISecurityGroup): Egress {
    return new Egress({ kind: 'existingEndpoint', securityGroup });
  }

  /**
   * A NAT gateway: the one that the subnets' route table leads to, or a new one.
   *
   * @param make the gateway to make; without it, one must be there
   * @param cidr where the function may connect to port 443
   */
  static nat(make?: NatEgress, cidr: string = '0.0.0.0/0'): Egress {
    return new Egress({ kind: 'cidr', cidr, nat: make });
  }

  /**
   * IPv6 and AMP's dual-stack address: free. The subnets must have IPv6 addresses.
   *
   * @param routeTableId the route table of the function's subnets, which gets a new egress-only internet gateway as its default route for
   * IPv6; without it, one must be there
   */
  static ipv6(routeTableId?: string): Egress {
    return new Egress({ kind: 'ipv6', routeTableId });
  }

  /** Whatever the VPC has: a transit gateway, a proxy, a firewall. The function may connect to port 443 of `cidr`. */
  static existing(cidr: string = '0.0.0.0/0'): Egress {
    return new Egress({ kind: 'cidr', cidr });
  }

  private constructor(
    /** What the construct makes of it. */
    readonly way: EgressWay,
  ) {}
}

/** What an {@link Egress} means. */
export type EgressWay =
  | { readonly kind: 'endpoint'; readonly otherWorkspaceArns: string[] }
  | { readonly kind: 'existingEndpoint'; readonly securityGroup: ec2.ISecurityGroup }
  | { readonly kind: 'cidr'; readonly cidr: string; readonly nat?: NatEgress }
  | { readonly kind: 'ipv6'; readonly routeTableId?: string };
