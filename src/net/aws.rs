//! Regions and credentials, from where AWS' own tools take them. Nothing here touches the network
//! before it is asked for credentials.

use std::error::Error;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvidedCredentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::region::Region;

use super::error::{NetError, Peer};
use super::secrets::secrets;
use super::smithy;
use crate::config::{SecretSource, SigV4};

/// A region or credentials that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Neither the configuration, the environment nor the profile names one.
    #[error("no AWS region: set sigv4.region, AWS_REGION, or a region in the profile")]
    NoRegion,
    /// None of the usual places holds credentials.
    #[error(
        "no AWS credentials: {0}; in Lambda they are the execution role's, elsewhere set a profile, AWS_PROFILE or AWS_ACCESS_KEY_ID, or run aws sso login"
    )]
    NoCredentials(String),
    /// Credentials were refused or could not be fetched.
    #[error("cannot get AWS credentials: {0}")]
    Credentials(String),
}

/// The SDK's configuration for S3, SSM and STS: region as [`region`] finds it, credentials of
/// `profile` or of the default chain, our HTTP clients.
pub async fn shared_config(
    configured_region: Option<&str>,
    profile: Option<&str>,
    peer: Peer,
) -> SdkConfig {
    let region = region(configured_region, profile).await.ok();
    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).http_client(smithy::http_client(peer));
    // A provider that knows none keeps the SDK from asking the instance metadata service, which is
    // not there in Lambda.
    loader = loader.region(region);
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
        loader = loader.credentials_provider(profile_credentials(profile));
    }
    loader.load().await
}

/// `configured`, else `AWS_REGION` or `AWS_DEFAULT_REGION`, else the profile's. Reads files, never
/// the network.
///
/// Prometheus signs with the configured region even when it is empty (sigv4.go,
/// `NewSigV4RoundTripper`); we sign with the one found.
///
/// # Errors
/// [`AwsError::NoRegion`].
pub async fn region(configured: Option<&str>, profile: Option<&str>) -> Result<Region, AwsError> {
    if let Some(configured) = configured.filter(|region| !region.is_empty()) {
        return Ok(Region::new(configured.to_owned()));
    }
    // A profile named in the configuration stands above the environment, as for credentials.
    let mut of_profile = ProfileFileRegionProvider::builder().configure(&provider_config());
    if let Some(profile) = profile {
        of_profile = of_profile.profile_name(profile);
    }
    let of_profile = of_profile.build();
    let of_environment = aws_config::environment::EnvironmentVariableRegionProvider::new();
    let found = if profile.is_some() {
        match of_profile.region().await {
            Some(region) => Some(region),
            None => of_environment.region().await,
        }
    } else {
        match of_environment.region().await {
            Some(region) => Some(region),
            None => of_profile.region().await,
        }
    };
    found
        .filter(|region| !region.as_ref().is_empty())
        .ok_or(AwsError::NoRegion)
}

/// Where credentials for signing come from, and for which region they sign.
#[derive(Debug, Clone)]
pub struct SigningIdentity {
    /// Not cached.
    pub credentials: SharedCredentialsProvider,
    /// Of the signature.
    pub region: Region,
}

/// The identity that a `sigv4` section means: its keys, else its profile, else the default chain;
/// `role_arn` is assumed by that.
///
/// # Errors
/// [`AwsError::NoRegion`].
pub async fn signing_identity(sigv4: &SigV4) -> Result<SigningIdentity, AwsError> {
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
        }),
        _ => config
            .credentials_provider()
            .ok_or_else(|| AwsError::NoCredentials("no provider".to_owned()))?,
    };
    let credentials = match &sigv4.role_arn {
        None => base,
        Some(role_arn) => {
            let mut role = AssumeRoleProvider::builder(role_arn)
                .session_name(concat!("amp-forwarder-", env!("CARGO_PKG_VERSION")))
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

/// `access_key` and `secret_key` of a `sigv4` section; the latter may be kept elsewhere.
#[derive(Debug)]
struct ConfiguredKeys {
    access_key: String,
    secret_key: SecretSource,
}

impl ProvideCredentials for ConfiguredKeys {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        ProvidedCredentials::new(async move {
            // Signers ask only when they start and after a refusal.
            let secret = secrets()
                .get(&self.secret_key, true)
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

fn profile_credentials(profile: &str) -> ProfileFileCredentialsProvider {
    ProfileFileCredentialsProvider::builder()
        .configure(&provider_config())
        .profile_name(profile)
        .build()
}

fn provider_config() -> ProviderConfig {
    ProviderConfig::without_region().with_http_client(smithy::http_client(Peer::Aws))
}

/// What the SDK's chain of sources tells: a network error of ours with its address and hint, else
/// the innermost message.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error.to_string();
    let mut next = error.source();
    while let Some(current) = next {
        if let Some(net) = current.downcast_ref::<NetError>() {
            return net.to_string();
        }
        innermost = current.to_string();
        next = current.source();
    }
    innermost
}
