//! Regions and credentials, from where AWS' own tools take them. Nothing here touches the network
//! before it is asked for credentials.

use std::error::Error;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::region::Region;

use super::error::{NetError, Peer};
use super::smithy;

/// A region or credentials that could not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Neither the configuration, the environment nor the profile names a region.
    #[error("no AWS region: set sigv4.region, AWS_REGION, or a region in the profile")]
    NoRegion,
    /// None of the usual places holds credentials. Holds the message of the SDK.
    #[error(
        "no AWS credentials: {0}; in Lambda they are the execution role's, elsewhere set a \
         profile, AWS_PROFILE or AWS_ACCESS_KEY_ID, or run aws sso login"
    )]
    NoCredentials(String),
    /// Credentials were refused or could not be fetched; the next try may succeed. Holds the
    /// message of the SDK.
    #[error("cannot get AWS credentials: {0}")]
    Credentials(String),
    /// The role of a site could not be assumed; the next try may succeed.
    #[error(
        "cannot assume the role {arn}: {cause}; it must exist and admit the function's role, and a \
         function in a VPC needs a way to STS (StsEndpoint, or a NAT gateway)"
    )]
    Role {
        /// ARN of the role.
        arn: String,
        /// The message of the SDK.
        cause: String,
    },
}

/// Builds the SDK's configuration for S3, SSM and STS: the region that [`region`] finds, the
/// credentials of `profile` or of the default chain, and our HTTP clients.
pub async fn shared_config(
    configured_region: Option<&str>,
    profile: Option<&str>,
    peer: Peer,
) -> SdkConfig {
    let region = region(configured_region, profile).await.ok();
    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).http_client(smithy::http_client(peer));
    // Without a region, the SDK would ask the instance metadata service, which Lambda does not
    // have. A provider that knows none keeps it from that.
    loader = loader.region(region);
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
        loader = loader.credentials_provider(profile_credentials(profile));
    }
    loader.load().await
}

/// Finds a region: `configured`, else `AWS_REGION` or `AWS_DEFAULT_REGION`, else the region of the
/// profile. Reads files, never the network.
///
/// Prometheus signs with the configured region even when it is empty (sigv4.go,
/// `NewSigV4RoundTripper`); here the found region signs.
///
/// # Errors
/// [`AwsError::NoRegion`] when none of these names a region.
pub async fn region(configured: Option<&str>, profile: Option<&str>) -> Result<Region, AwsError> {
    if let Some(configured) = configured.filter(|region| !region.is_empty()) {
        return Ok(Region::new(configured.to_owned()));
    }
    // A profile named in the configuration has precedence over the environment, as for
    // credentials.
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

/// The source of the credentials that sign, and the region that they sign for.
#[derive(Debug, Clone)]
pub struct SigningIdentity {
    /// Source of the credentials. It caches nothing.
    pub credentials: SharedCredentialsProvider,
    /// Region in the signature.
    pub region: Region,
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

/// The cause of an SDK error, from its chain of sources: a [`NetError`] with its address and hint,
/// else the innermost message.
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
    // Our messages go on after it.
    innermost.trim_end_matches('.').to_owned()
}
