//! Which store a place has.

use std::sync::Arc;

use super::Store;
use super::dir::DirStore;
use super::s3::S3Store;
use crate::config::SpoolUrl;

/// The store at a place, which is used under `role_arn` where there is one. No call is made yet.
pub async fn open(url: &SpoolUrl, role_arn: Option<&str>) -> Arc<dyn Store> {
    match url {
        SpoolUrl::S3 { bucket, prefix } => Arc::new(S3Store::open(bucket, prefix, role_arn).await),
        SpoolUrl::Dir(path) => Arc::new(DirStore::new(path)),
    }
}
