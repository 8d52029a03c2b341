import { Aws, Stack, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';

import type { SitesProps } from './site';
import { SITES_PREFIX, SPOOL_PREFIX } from './spool';

const NETWORK_INTERFACES = [
  'ec2:AssignPrivateIpAddresses',
  'ec2:CreateNetworkInterface',
  'ec2:DeleteNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:UnassignPrivateIpAddresses',
];

/** What the function's permissions are made of. */
export interface Permitted {
  readonly workspaceArn: string;
  readonly bucket: s3.Bucket;
  /** Whether the function serves many homes, and whether each writes under a role of its own. */
  readonly sites: SitesProps | undefined;
  readonly logGroup: logs.ILogGroup;
  /** ARN of the configuration's object, when it is in S3. */
  readonly configArn: string | undefined;
  readonly key: kms.IKey | undefined;
  readonly remoteWriteRoleArn: string | undefined;
  readonly ssmParameterArns: string[];
  readonly secretArns: string[];
  readonly secretObjectArns: string[];
  readonly secretKeyArns: string[];
}

/** The path of the roles that sites have, with the stack's name in it. */
export const SITE_ROLE_PATH = `amp-forwarder/${Aws.STACK_NAME}/`;

/** The name of a site's role, of which the function is told the ARN with `{site}`. */
export function siteRoleName(site: string): string {
  return `${Aws.STACK_NAME}-${site}`;
}

/** The ARN of the role of a site. */
export function siteRoleArn(scope: Construct, site: string): string {
  return Stack.of(scope).formatArn({ service: 'iam', region: '', resource: 'role', resourceName: SITE_ROLE_PATH + siteRoleName(site) });
}

/** Calls on resources, under conditions: for a statement or for a grant. */
export interface Calls {
  readonly actions: string[];
  readonly resourceArns: string[];
  readonly conditions?: Record<string, Record<string, string | string[]>>;
}

/** Calls on the spool's objects, and the listing of its prefix alone: of one home, of all sites (`*`), or of one of them. */
export function spoolCalls(bucket: s3.IBucket, actions: string[], site: string | undefined): [Calls, Calls] {
  // A site's configuration lies beside its spool, where the function may read and not write.
  const objects = site === undefined ? `${SPOOL_PREFIX}/*` : `${SITES_PREFIX}/${site}/${SPOOL_PREFIX}/*`;
  const listed = site === undefined ? SPOOL_PREFIX : site === '*' ? SITES_PREFIX : `${SITES_PREFIX}/${site}`;
  return [
    { actions, resourceArns: [bucket.arnForObjects(objects)] },
    // Without it a missing state.json is a 403, and the spool looks denied, not empty. A GetObject that finds nothing asks for it without a
    // prefix: hence IfExists, and hence a list without a prefix shows the names in the whole bucket, which is the forwarder's.
    {
      actions: ['s3:ListBucket'],
      resourceArns: [bucket.bucketArn],
      conditions: { StringLikeIfExists: { 's3:prefix': `${listed}/*` } },
    },
  ];
}

/** The use of the bucket's key that reading and writing its objects needs: S3 asks for it, the caller never does. */
export function keyCalls(key: kms.IKey): Calls {
  return {
    actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
    resourceArns: [key.keyArn],
    conditions: { StringEquals: { 'kms:ViaService': `s3.${Aws.REGION}.${Aws.URL_SUFFIX}` } },
  };
}

/** A statement of a policy. */
export function allow(sid: string, { actions, resourceArns, conditions }: Calls): iam.PolicyStatement {
  return new iam.PolicyStatement({ sid, actions, resources: resourceArns, conditions });
}

/** What the function may do: a policy that each has, and one for each thing that its configuration asks for. */
export function functionPolicies(scope: Construct, role: iam.IRole, permitted: Permitted): iam.Policy[] {
  const { configArn, key, remoteWriteRoleArn, ssmParameterArns, secretArns } = permitted;
  const ofSites = permitted.sites !== undefined;
  const ownRoles = permitted.sites?.roles ?? false;
  const [objects, list] = spoolCalls(permitted.bucket, ['s3:GetObject', 's3:PutObject', 's3:DeleteObject'], ofSites ? '*' : undefined);
  const siteRoles = Stack.of(scope).formatArn({ service: 'iam', region: '', resource: 'role', resourceName: `${SITE_ROLE_PATH}*` });
  const forward = new iam.Policy(scope, 'FunctionPolicy', {
    policyName: 'forward',
    roles: [role],
    statements: [
      // Whoever added a site has decided who may read and write what.
      ...(ownRoles
        ? [allow('SiteRoles', { actions: ['sts:AssumeRole'], resourceArns: [siteRoles] })]
        : [
            allow('Write', { actions: ['aps:RemoteWrite'], resourceArns: [permitted.workspaceArn] }),
            allow('Spool', objects),
            allow('SpoolList', list),
          ]),
      allow('Logs', { actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resourceArns: [permitted.logGroup.logGroupArn] }),
      // Lambda makes the network interfaces of a function in a VPC under the function's role. They have no names to limit this to.
      allow('NetworkInterfaces', { actions: NETWORK_INTERFACES, resourceArns: ['*'] }),
    ],
  });
  const bucketId = Stack.of(scope).getLogicalId(permitted.bucket.node.defaultChild as s3.CfnBucket);
  const shown = ofSites ? `${SITES_PREFIX}/*/${SPOOL_PREFIX}/*` : `${SPOOL_PREFIX}/*`;
  if (ownRoles) {
    Validations.of(forward).acknowledge({
      id: `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:iam::<AWS::AccountId>:role/amp-forwarder/<AWS::StackName>/*]`,
      reason: 'Roles that sites bring along, under a path of their own.',
    });
  }
  if (!ownRoles) {
    Validations.of(forward).acknowledge({
      id: `AwsSolutions-IAM5[Resource::<${bucketId}.Arn>/${shown}]`,
      reason: "The spool's objects: their names are made as they come, under one prefix.",
    });
  }
  Validations.of(forward).acknowledge({
    id: 'AwsSolutions-IAM5[Resource::*]',
    reason: "Network interfaces have no names yet when Lambda makes them; the function's own code is denied these calls.",
  });
  const policies = [forward];
  const also = (name: string, policyName: string, calls: Calls, sid = name): void => {
    policies.push(new iam.Policy(scope, `${name}Policy`, { policyName, roles: [role], statements: [allow(sid, calls)] }));
  };
  if (ofSites && !ownRoles) {
    also('Sites', 'sites', { actions: ['s3:GetObject'], resourceArns: [permitted.bucket.arnForObjects(`${SITES_PREFIX}/*/forwarder.yml`)] }, 'SiteConfigs');
    Validations.of(policies[policies.length - 1] as iam.Policy).acknowledge({
      id: `AwsSolutions-IAM5[Resource::<${bucketId}.Arn>/${SITES_PREFIX}/*/forwarder.yml]`,
      reason: "The sites' configurations: sites come and go without a change of this policy.",
    });
  }
  if (configArn !== undefined) also('Config', 'config', { actions: ['s3:GetObject'], resourceArns: [configArn] });
  if (key !== undefined && !ownRoles) also('Key', 'key', keyCalls(key));
  if (remoteWriteRoleArn !== undefined) {
    also('RemoteWriteRole', 'remote-write-role', { actions: ['sts:AssumeRole'], resourceArns: [remoteWriteRoleArn] });
  }
  if (ssmParameterArns.length > 0) also('Parameters', 'parameters', { actions: ['ssm:GetParameter'], resourceArns: ssmParameterArns });
  if (secretArns.length > 0) also('Secrets', 'secrets', { actions: ['secretsmanager:GetSecretValue'], resourceArns: secretArns });
  const { secretObjectArns, secretKeyArns } = permitted;
  if (secretObjectArns.length > 0) also('SecretObjects', 'secret-objects', { actions: ['s3:GetObject'], resourceArns: secretObjectArns });
  if (secretKeyArns.length > 0) {
    // The services ask for it on behalf of the function, which never calls KMS.
    const services = ['s3', 'secretsmanager', 'ssm'].map((service) => `${service}.${Aws.REGION}.${Aws.URL_SUFFIX}`);
    const conditions = { StringEquals: { 'kms:ViaService': services } };
    also('SecretKeys', 'secret-keys', { actions: ['kms:Decrypt'], resourceArns: secretKeyArns, conditions });
  }
  return policies;
}

/**
 * Lambda's service needs the network interfaces, the function's own code does not (Lambda developer guide, "Giving Lambda functions access to
 * resources in an Amazon VPC"). A policy of its own, since the function must be there to be named.
 */
export function denyNetworkInterfaces(scope: Construct, role: iam.IRole, to: lambda.IFunction): void {
  new iam.Policy(scope, 'NetworkInterfacePolicy', {
    policyName: 'no-network-interfaces-for-code',
    roles: [role],
    statements: [
      new iam.PolicyStatement({
        sid: 'NotTheCode',
        effect: iam.Effect.DENY,
        actions: [...NETWORK_INTERFACES, 'ec2:DetachNetworkInterface'],
        resources: ['*'],
        conditions: { ArnEquals: { 'lambda:SourceFunctionArn': to.functionArn } },
      }),
    ],
  });
}
