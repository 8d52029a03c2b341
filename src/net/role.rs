//! The roles of sites: one set of credentials for all that a process does for a site.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvidedCredentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

use super::aws::{AwsError, cause, shared_config};
use super::error::Peer;
use crate::time::{Clock, SystemClock, millis};

/// Age up to which credentials are given out again. The configuration, the spool and the remotes of
/// a site ask within a moment of each other, and all of them for credentials that last an hour.
/// Whoever asks later has been refused, or wants to renew.
const FRESH: Duration = Duration::from_secs(60);

/// The name that a session has in CloudTrail.
pub(super) const SESSION: &str = concat!("amp-forwarder-", env!("CARGO_PKG_VERSION"));

/// Builds the SDK's configuration of [`shared_config`] under the role `role_arn`. Without a role,
/// the process' own credentials remain.
pub async fn role_config(role_arn: Option<&str>, peer: Peer) -> SdkConfig {
    let own = shared_config(None, None, peer).await;
    let Some(role_arn) = role_arn else {
        return own;
    };
    let role = role_credentials(role_arn).await;
    own.into_builder().credentials_provider(role).build()
}

/// Returns the credentials of a role, which the process assumes with its own at the first use. All
/// users of a role share them.
pub async fn role_credentials(role_arn: &str) -> SharedCredentialsProvider {
    if let Some(known) = known(role_arn) {
        return SharedCredentialsProvider::new(RoleUser(known));
    }
    let own = shared_config(None, None, Peer::Aws).await;
    let sts = AssumeRoleProvider::builder(role_arn)
        .session_name(SESSION)
        .configure(&own);
    let made = Arc::new(Role {
        arn: role_arn.to_owned(),
        sts: sts.build().await,
        fresh: tokio::sync::Mutex::default(),
    });
    let mut roles = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
    // A thousand sites come and go.
    roles.retain(|role| Arc::strong_count(role) > 1 || role.is_fresh());
    roles.push(Arc::clone(&made));
    SharedCredentialsProvider::new(RoleUser(made))
}

/// The roles in use, and those that were in use a moment ago: a site's configuration is read before
/// anything else is made that uses its role.
static ROLES: LazyLock<Mutex<Vec<Arc<Role>>>> = LazyLock::new(Mutex::default);

fn known(role_arn: &str) -> Option<Arc<Role>> {
    let roles = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
    roles.iter().find(|role| role.arn == role_arn).cloned()
}

/// A role and the newest credentials of it.
#[derive(Debug)]
struct Role {
    arn: String,
    sts: AssumeRoleProvider,
    fresh: tokio::sync::Mutex<Option<FreshCredentials>>,
}

/// Credentials, and when they were fetched in milliseconds since 1970: a monotonic clock may not
/// count the time during which the sandbox is frozen.
#[derive(Debug, Clone)]
struct FreshCredentials {
    credentials: Credentials,
    fetched_ms: i64,
}

impl FreshCredentials {
    fn is_fresh(&self) -> bool {
        let age_ms = SystemClock.now_ms() - self.fetched_ms;
        (0..millis(FRESH)).contains(&age_ms)
    }
}

impl Role {
    /// Returns whether the credentials are fresh, or are being fetched.
    fn is_fresh(&self) -> bool {
        self.fresh.try_lock().map_or(true, |fresh| {
            fresh.as_ref().is_some_and(FreshCredentials::is_fresh)
        })
    }

    async fn credentials(&self) -> Result<Credentials, AwsError> {
        let mut fresh = self.fresh.lock().await;
        if let Some(known) = fresh.as_ref().filter(|known| known.is_fresh()) {
            return Ok(known.credentials.clone());
        }
        let credentials = self
            .sts
            .provide_credentials()
            .await
            .map_err(|error| AwsError::Role {
                arn: self.arn.clone(),
                cause: cause(&error),
            })?;
        *fresh = Some(FreshCredentials {
            credentials: credentials.clone(),
            fetched_ms: SystemClock.now_ms(),
        });
        Ok(credentials)
    }
}

/// A user of a role. The SDK wants a type of its own.
#[derive(Debug)]
struct RoleUser(Arc<Role>);

impl ProvideCredentials for RoleUser {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        ProvidedCredentials::new(async move {
            self.0
                .credentials()
                .await
                .map_err(CredentialsError::provider_error)
        })
    }
}
