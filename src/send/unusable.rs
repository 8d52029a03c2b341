//! A remote that cannot be posted to as it is configured.

use futures_util::future::BoxFuture;

use super::http::RemoteError;
use super::remote::{PostAnswer, PostError, PostRequest, Remote};
use crate::net::sign::SignError;
use crate::net::{NetError, Peer, redacted};

/// A remote whose every request fails with the reason why there can be none. The other remotes go
/// on, and its samples wait.
pub struct UnusableRemote {
    address: String,
    error: SignError,
}

impl UnusableRemote {
    /// A remote at this address that fails with this error.
    #[must_use]
    pub fn new(url: &url::Url, error: RemoteError) -> Self {
        let address = redacted(url);
        let error = match error {
            RemoteError::Aws(error) => SignError::Credentials(error),
            error => SignError::Configuration(NetError::malformed_request(
                Peer::Remote,
                address.as_str(),
                error.to_string(),
            )),
        };
        Self { address, error }
    }
}

impl Remote for UnusableRemote {
    fn post<'a>(&'a self, _: PostRequest<'a>) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        Box::pin(async { Err(PostError::Sign(self.error.clone())) })
    }

    fn address(&self) -> &str {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::aws::AwsError;
    use crate::prompb::RequestBody;

    #[tokio::test]
    async fn each_request_says_why_and_another_try_is_of_no_use() {
        let url = "https://receiver.example/push?token=hunter2"
            .parse()
            .unwrap();
        for (error, part) in [
            (RemoteError::Aws(AwsError::NoRegion), "no AWS region"),
            (RemoteError::Header("a b".to_owned()), "header a b"),
        ] {
            let remote = UnusableRemote::new(&url, error);
            let request = PostRequest {
                body: &RequestBody::from(&b"body"[..]),
                attempt: 0,
                timeout: Duration::from_secs(1),
                fresh_connection: false,
                fresh_credentials: false,
            };
            let error = remote.post(request).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(matches!(error, PostError::Sign(error) if error.is_final()));
        }
    }
}
