//! The identity that a `sigv4` section names: its keys, its profile or its role.

use std::fmt;
use std::sync::Arc;

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvidedCredentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

use super::aws::{AwsError, SigningIdentity, region, shared_config};
use super::error::Peer;
use super::role::{SESSION, role_credentials};
use super::secrets::secrets;
use crate::config::{SecretSource, SigV4};
use crate::time::Clock;

/// Finds the identity of a `sigv4` section: its keys, else its profile, else the role of the site,
/// else the default chain.
/// That identity assumes `role_arn` where one is set. It reads AWS' files and no network.
///
/// # Errors
/// [`AwsError::NoRegion`] when neither the section, the environment nor the profile names a region,
/// and [`AwsError::NoCredentials`] when the SDK has no provider. Both stay until the configuration
/// is changed.
pub async fn signing_identity(
    sigv4: &SigV4,
    clock: &Arc<dyn Clock>,
) -> Result<SigningIdentity, AwsError> {
    let profile = sigv4.profile.as_deref();
    let region = region(sigv4.region.as_deref(), profile).await?;
    let config = shared_config(Some(region.as_ref()), profile, Peer::Aws).await;
    let config = config
        .into_builder()
        .use_fips(sigv4.use_fips_sts_endpoint)
        .build();
    let base = match (&sigv4.access_key, &sigv4.secret_key) {
        (Some(access_key), Some(secret_key)) => SharedCredentialsProvider::new(ConfiguredKeys {
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            clock: Arc::clone(clock),
        }),
        _ => match &sigv4.site_role_arn {
            Some(role_arn) if profile.is_none() => role_credentials(role_arn).await,
            _ => config
                .credentials_provider()
                .ok_or_else(|| AwsError::NoCredentials("no provider".to_owned()))?,
        },
    };
    let credentials = match &sigv4.role_arn {
        None => base,
        Some(role_arn) => {
            let mut role = AssumeRoleProvider::builder(role_arn)
                .session_name(SESSION)
                .region(region.clone())
                .configure(&config);
            if let Some(external_id) = &sigv4.external_id {
                role = role.external_id(external_id);
            }
            SharedCredentialsProvider::new(role.build_from_provider(base).await)
        }
    };
    Ok(SigningIdentity {
        credentials,
        region,
    })
}

/// `access_key` and `secret_key` of a `sigv4` section. The latter may be kept outside of the
/// configuration.
struct ConfiguredKeys {
    access_key: String,
    secret_key: SecretSource,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for ConfiguredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredKeys")
            .field("access_key", &self.access_key)
            .field("secret_key", &self.secret_key)
            .finish_non_exhaustive()
    }
}

impl ProvideCredentials for ConfiguredKeys {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        ProvidedCredentials::new(async move {
            // Signers ask only when they start and after a refusal, so the secret is read afresh.
            let secret = secrets()
                .get(&self.secret_key, true, self.clock.now_ms())
                .await
                .map_err(CredentialsError::provider_error)?;
            Ok(Credentials::new(
                &self.access_key,
                secret.expose(),
                None,
                None,
                "sigv4 configuration",
            ))
        })
    }
}
