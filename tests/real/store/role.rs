//! The promises of a store, with the role and the bucket of the templates.

use amp_forwarder::spool::store::s3::S3Store;

use crate::suite;

/// tests/infra runs this after it has deployed the template on a moto that enforces permissions:
/// `SPOOL_BUCKET`, `SPOOL_PREFIX`, `AWS_ENDPOINT_URL_S3` and the role's credentials are in the
/// environment, as in Lambda. So may be `FORWARDER_ROLE_ARN`, which these credentials then assume.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "tests/infra deploys the role that this runs under"]
async fn the_deployed_role_may_do_what_a_spool_does() {
    let [bucket, prefix] =
        ["SPOOL_BUCKET", "SPOOL_PREFIX"].map(|name| std::env::var(name).unwrap());
    let role = std::env::var("FORWARDER_ROLE_ARN").ok();
    suite::run(&S3Store::open(&bucket, &prefix, role.as_deref()).await).await;
}
