//! Which store a place has.

use std::sync::Arc;

use super::Store;
use super::dir::DirStore;
use super::s3::S3Store;
use crate::config::SpoolUrl;

/// The store at a place. No call is made yet.
pub async fn open(url: &SpoolUrl) -> Arc<dyn Store> {
    match url {
        SpoolUrl::S3 { bucket, prefix } => Arc::new(S3Store::open(bucket, prefix).await),
        SpoolUrl::Dir(path) => Arc::new(DirStore::new(path)),
    }
}
