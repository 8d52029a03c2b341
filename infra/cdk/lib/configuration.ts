import * as assets from 'aws-cdk-lib/aws-s3-assets';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';

import { CONFIG_KEY } from './spool';

/** Where the function's configuration is. */
export class Configuration {
  /** The `forwarder.yml` in the zip. */
  static packaged(): Configuration {
    return new Configuration(() => undefined);
  }

  /**
   * A `forwarder.yml` of the app, deployed with it as an asset. Each change of it is a deployment, which restarts the function.
   *
   * @param path of the file
   */
  static fromFile(path: string): Configuration {
    return new Configuration((scope) => {
      const asset = new assets.Asset(scope, 'Configuration', { path });
      return { bucket: asset.bucket, key: asset.s3ObjectKey };
    });
  }

  /** `config/forwarder.yml` in the spool's bucket: uploaded by hand, read by the function when it starts. */
  static inSpoolBucket(): Configuration {
    return new Configuration((_, spool) => ({ bucket: spool, key: CONFIG_KEY }));
  }

  /** An object somewhere else. */
  static inS3(bucket: s3.IBucket, key: string): Configuration {
    return new Configuration(() => ({ bucket, key }));
  }

  private constructor(
    /** What the construct makes of it: the object, if it is in S3. */
    readonly resolve: (scope: Construct, spool: s3.IBucket) => ConfigurationObject | undefined,
  ) {}
}

/** An object in S3. */
export interface ConfigurationObject {
  readonly bucket: s3.IBucket;
  readonly key: string;
}
