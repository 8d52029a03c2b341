/**
 * An app with one forwarder in a VPC that exists already. Copy it, or put the construct into an app of yours.
 *
 *     npx cdk deploy -c vpcId=vpc-… -c vpcCidr=10.20.0.0/16 -c subnetIds=subnet-…,subnet-… \
 *       -c homeCidr=192.0.2.10/32 -c s3PrefixListId=pl-… -c workspaceId=ws-… -c email=you@example.com
 */
import * as path from 'node:path';

import { App, Stack } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';

import { AmpForwarder, Configuration, Egress, Workspace } from '../lib';

const app = new App();

function given(name: string): string {
  const value: unknown = app.node.tryGetContext(name);
  if (typeof value !== 'string' || value === '') throw new Error(`-c ${name}=… is missing; see the top of example/app.ts`);
  return value;
}

function optional(name: string): string | undefined {
  return app.node.tryGetContext(name) as string | undefined;
}

const stack = new Stack(app, optional('stack') ?? 'amp-forwarder');
const config = optional('config');
const forwarder = new AmpForwarder(stack, 'Forwarder', {
  // What `make build` wrote.
  code: lambda.Code.fromAsset(optional('zip') ?? path.resolve('../../target/lambda/amp-forwarder/bootstrap.zip')),
  configuration: config === undefined ? Configuration.packaged() : Configuration.fromFile(config),
  vpc: { vpcId: given('vpcId'), cidr: given('vpcCidr'), subnetIds: given('subnetIds').split(',') },
  home: { cidr: given('homeCidr') },
  s3PrefixListId: given('s3PrefixListId'),
  egress: Egress.endpoint(),
  workspace: Workspace.fromId(given('workspaceId')),
  homeAlerts: {},
  email: optional('email'),
  // Disabled at first: enable it when `check` and a dry run were fine.
  scheduleEnabled: optional('schedule') !== 'disabled',
});
forwarder.outputs();
app.synth();
