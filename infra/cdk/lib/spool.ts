import { Duration, RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';

/** Where the function's spool is in its bucket. */
export const SPOOL_PREFIX = 'spool';
/** Where its configuration is, when it is in the bucket. */
export const CONFIG_KEY = 'config/forwarder.yml';
/** Where the sites of a function that serves many have a folder each, with `forwarder.yml` and `spool/` in it. */
export const SITES_PREFIX = 'sites';

/** How long the spool keeps what AMP has not taken for good. */
export interface SpoolRetention {
  /**
   * `rejected/`: batches that AMP refused.
   *
   * @default 30 days
   */
  readonly rejected?: Duration;
  /**
   * `expired/`: batches that got too old for AMP.
   *
   * @default 30 days
   */
  readonly expired?: Duration;
}

/** The spool's bucket: private, encrypted, TLS only. It is kept when the stack is deleted, because it may hold owed samples. */
export function spoolBucket(scope: Construct, retention: SpoolRetention, key: kms.IKey | undefined): s3.Bucket {
  // No versions: segments are written once and deleted once, and state.json is replaced twice a minute, by conditional writes. Versions would
  // keep 86,400 of it a month and every segment that was delivered.
  const bucket = new s3.Bucket(scope, 'SpoolBucket', {
    blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
    objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
    encryption: key === undefined ? s3.BucketEncryption.S3_MANAGED : s3.BucketEncryption.KMS,
    encryptionKey: key,
    bucketKeyEnabled: key === undefined ? undefined : true,
    // But not when the stack could not be made.
    removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    // There must never be a rule on segments/ or state.json: they hold owed samples. A rule's prefix has no wildcard, so there is none for the
    // sites: of each, the function keeps 100 rejected and 1,000 expired objects at most (forwarder.spool).
    lifecycleRules: [
      { id: 'rejected', prefix: `${SPOOL_PREFIX}/rejected/`, expiration: retention.rejected ?? Duration.days(30) },
      { id: 'expired', prefix: `${SPOOL_PREFIX}/expired/`, expiration: retention.expired ?? Duration.days(30) },
      { id: 'incomplete-uploads', abortIncompleteMultipartUploadAfter: Duration.days(1) },
    ],
  });
  const deny = (sid: string, conditions: Record<string, Record<string, string>>): iam.PolicyStatement =>
    new iam.PolicyStatement({
      sid,
      effect: iam.Effect.DENY,
      principals: [new iam.StarPrincipal()],
      actions: ['s3:*'],
      resources: [bucket.bucketArn, bucket.arnForObjects('*')],
      conditions,
    });
  bucket.addToResourcePolicy(deny('OnlyTls', { Bool: { 'aws:SecureTransport': 'false' } }));
  bucket.addToResourcePolicy(deny('OnlyTls12', { NumericLessThan: { 's3:TlsVersion': '1.2' } }));
  bucket.policy?.applyRemovalPolicy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE);
  Validations.of(bucket).acknowledge({
    id: 'AwsSolutions-S1',
    reason:
      'An access log would hold three lines a tick, more objects than the spool itself. Where an audit needs them, CloudTrail data events of this bucket say who did what.',
  });
  return bucket;
}
