//! What of a target remote read asks for, and where.

use url::Url;

use crate::config::TargetError;
use crate::home::Target;
use crate::selector::{Selector, SelectorError, needed};

/// The path of remote read below that of the home.
const READ_PATH: &str = "/api/v1/read";

/// The path of federation.
pub(super) const FEDERATE_PATH: &str = "/federate";

/// The home's remote read in the place of a federation: the same series, all of their samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSource {
    /// Address of remote read, without a query.
    pub url: Url,
    /// What is selected. At least one; none makes another one needless.
    pub selectors: Vec<Selector>,
}

/// Why a target cannot be asked by remote read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadSourceError {
    /// The target has no URL, and is not scraped, either.
    #[error(transparent)]
    NoUrl(#[from] TargetError),
    /// The path of the target is not that of a federation, and no other one is configured.
    #[error(
        "metrics_path does not end in /federate: remote read reads what a federation selects, so \
         this job is scraped only"
    )]
    NoFederation,
    /// The target has no `match[]`: its federation is empty.
    #[error("there is no match[] in params: the federation selects nothing")]
    NoSelector,
    /// A `match[]` is no selector. The home refuses it, too.
    #[error("match[] {text}: {cause}")]
    Selector {
        /// The selector as it is configured.
        text: String,
        /// Where it is wrong, and why.
        cause: SelectorError,
    },
}

impl ReadSource {
    /// The remote read of a target: at `path` (`forwarder.remote_read.path`), or at `/api/v1/read`
    /// in the place of `/federate` at the end of its own path. The selectors are the `match[]` of
    /// the target's URL, as relabelling has left them.
    ///
    /// # Errors
    /// [`ReadSourceError`]: the target can be scraped only.
    pub fn new(target: &Target, path: Option<&str>) -> Result<Self, ReadSourceError> {
        let exposition = target.url.as_ref().map_err(TargetError::clone)?;
        let prefix = exposition
            .path()
            .strip_suffix(FEDERATE_PATH)
            .ok_or(ReadSourceError::NoFederation)?;
        let mut url = exposition.clone();
        url.set_path(&path.map_or_else(|| format!("{prefix}{READ_PATH}"), str::to_owned));
        url.set_query(None);
        let selectors = exposition
            .query_pairs()
            .filter(|(name, _)| name == "match[]")
            .map(|(_, text)| {
                Selector::parse(&text).map_err(|cause| ReadSourceError::Selector {
                    text: text.into_owned(),
                    cause,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if selectors.is_empty() {
            return Err(ReadSourceError::NoSelector);
        }
        Ok(Self {
            url,
            selectors: needed(selectors),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::home::JobId;
    use crate::series::TargetId;

    fn source(url: &str, path: Option<&str>) -> Result<(String, usize), String> {
        let target = Target {
            id: TargetId(0),
            job: JobId(0),
            url: Ok(url.parse().unwrap()),
            labels: Vec::new(),
            scrape_timeout: Duration::from_secs(10),
            siblings: 1,
        };
        ReadSource::new(&target, path)
            .map(|source| (source.url.to_string(), source.selectors.len()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn remote_read_is_beside_federation() {
        for (url, path, expected, selectors) in [
            (
                "http://h:9090/federate?match[]=up",
                None,
                "http://h:9090/api/v1/read",
                1,
            ),
            (
                "https://h/prom/federate?match[]=up&match[]=a&x=y",
                None,
                "https://h/prom/api/v1/read",
                2,
            ),
            // Everything makes the rest needless, also when it is not the first.
            (
                "http://h/federate?match[]=%7Bjob%3D~%22.%2B%22%7D&match[]=%7B__name__%3D~%22.%2B%22%7D",
                Some("/read"),
                "http://h/read",
                1,
            ),
        ] {
            assert_eq!(
                source(url, path),
                Ok((expected.to_owned(), selectors)),
                "{url}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (url, expected) in [
            ("http://h/metrics", "metrics_path does not end in /federate"),
            ("http://h/federate", "there is no match[] in params"),
            (
                "http://h/federate?match[]=up%7B",
                "match[] up{: character 4: ",
            ),
        ] {
            let error = source(url, Some("/api/v1/read")).unwrap_err();
            assert!(error.starts_with(expected), "{url}: {error}");
        }
    }
}
