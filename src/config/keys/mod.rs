//! The keys of each section: those that we take, and those that Prometheus 3.5 has and we do not
//! take.

mod forwarder;
mod http;
mod job;
mod remote;
mod table;

pub(super) use forwarder::{ARCHIVE, FORWARDER, METADATA, METRICS, OWN_SERIES, REMOTE_READ, SPOOL};
pub(super) use http::{AUTHORIZATION, BASIC_AUTH, HTTP_HEADER, OAUTH2, TLS};
pub(super) use job::{GLOBAL, RELABEL, ROOT, SCRAPE, STATIC};
pub(super) use remote::{QUEUE, REMOTE, REMOTE_METADATA, SIGV4};
pub(super) use table::{REMOVE, Table};

pub(super) const ALL: [&Table; 21] = [
    &ROOT,
    &GLOBAL,
    &SCRAPE,
    &STATIC,
    &RELABEL,
    &REMOTE,
    &QUEUE,
    &SIGV4,
    &BASIC_AUTH,
    &AUTHORIZATION,
    &OAUTH2,
    &TLS,
    &HTTP_HEADER,
    &FORWARDER,
    &SPOOL,
    &ARCHIVE,
    &METRICS,
    &OWN_SERIES,
    &REMOTE_METADATA,
    &METADATA,
    &REMOTE_READ,
];

impl Table {
    /// The keys that the section takes, as a sentence.
    pub(in crate::config) fn listing(&self) -> String {
        let keys: Vec<_> = self.keys().collect();
        format!("{} takes {}", self.name, keys.join(", "))
    }

    /// Advice for an unknown key: its new name, a similar key, the section that has it or takes any
    /// name, or all keys of this one where they are few.
    pub(in crate::config) fn advice(&self, key: &str) -> String {
        if let Some(renamed) = self.renamed(key) {
            return renamed;
        }
        let wanted = snake_case(key);
        let near = self
            .keys()
            .map(|known| (strsim::damerau_levenshtein(&wanted, known), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
            .min();
        if let Some((_, known)) = near {
            return format!("did you mean {known}?");
        }
        let elsewhere: Vec<_> = ALL
            .iter()
            .filter(|table| table.takes(&wanted))
            .map(|table| table.name)
            .collect();
        if !elsewhere.is_empty() {
            return format!("it belongs in {}", elsewhere.join(" or "));
        }
        if let Some(section) = self.free_section(key) {
            return format!("it belongs below {section}, indented by two more spaces");
        }
        if self.keys().count() > FEW {
            return format!(
                "{} is described in Prometheus' documentation and in docs/configuration.md",
                self.name
            );
        }
        self.listing()
    }

    /// What became of a key that Prometheus has renamed or removed.
    fn renamed(&self, key: &str) -> Option<String> {
        let row = RENAMED.iter().find(|row| {
            row.old == key && (self.takes(row.new) || self.unsupported(row.new).is_some())
        });
        if let Some(row) = row {
            return Some(format!(
                "it is called {} since Prometheus {}",
                row.new, row.since
            ));
        }
        let (_, text) = REMOVED.iter().find(|(old, _)| *old == key)?;
        Some((*text).to_owned())
    }

    /// The subsection in which a name would be free, and not a key.
    fn free_section(&self, key: &str) -> Option<&'static str> {
        let looks_like_header = key.contains('-');
        Some(match self.name {
            name if name == SCRAPE.name && (key.ends_with("[]") || key == "match") => "params",
            name if name == SCRAPE.name && looks_like_header => "http_headers",
            name if name == REMOTE.name && looks_like_header => "headers",
            name if name == STATIC.name => "labels",
            name if name == GLOBAL.name && LABELS.contains(&key) => "external_labels",
            _ => return None,
        })
    }
}

/// Labels that people mean as external ones.
const LABELS: [&str; 9] = [
    "cluster",
    "replica",
    "__replica__",
    "region",
    "env",
    "environment",
    "site",
    "prometheus",
    "monitor",
];

/// A table with more keys is not listed in a message.
const FEW: usize = 12;

/// A key that has another name now.
struct RenamedKey {
    old: &'static str,
    new: &'static str,
    /// The first version with the new name.
    since: &'static str,
}

/// Keys that Prometheus renamed, and those that its operator names otherwise. // CHANGELOG.md of
/// Prometheus
const RENAMED: [RenamedKey; 5] = [
    renamed(
        "scrape_classic_histograms",
        "always_scrape_classic_histograms",
        "3.0",
    ),
    renamed(
        "convert_classic_histograms",
        "convert_classic_histograms_to_nhcb",
        "3.0",
    ),
    renamed("target_groups", "static_configs", "1.0"),
    renamed("retry_on_rate_limit", "retry_on_http_429", "2.26"),
    renamed("retryOnRateLimit", "retry_on_http_429", "2.26"),
];

const fn renamed(old: &'static str, new: &'static str, since: &'static str) -> RenamedKey {
    RenamedKey { old, new, since }
}

/// Keys that Prometheus has no more, with advice.
const REMOVED: [(&str, &str); 2] = [
    (
        "max_retries",
        "Prometheus 2.11 removed it: requests are retried until they are too old",
    ),
    (
        "labels_from_file",
        "Prometheus never had it: write the labels under labels",
    ),
];

/// `maxShards` as `max_shards`: the operator of Prometheus writes keys in camel case.
pub(in crate::config) fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    let mut after_lower = false;
    for c in key.chars() {
        if c.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        snake.extend(c.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_both_supported_and_not() {
        for table in ALL {
            for key in table.keys() {
                assert!(table.unsupported(key).is_none(), "{}: {key}", table.name);
            }
        }
    }

    #[test]
    fn advice_names_the_nearest_key_or_the_right_section() {
        assert_eq!(
            SCRAPE.advice("scrape_intervall"),
            "did you mean scrape_interval?"
        );
        assert_eq!(SCRAPE.advice("honour_labels"), "did you mean honor_labels?");
        assert_eq!(
            QUEUE.advice("max_sample_per_send"),
            "did you mean max_samples_per_send?"
        );
        assert_eq!(ROOT.advice("Global"), "did you mean global?");
        assert_eq!(REMOTE.advice("max_shards"), "it belongs in queue_config");
        assert_eq!(
            ROOT.advice("scrape_interval"),
            "it belongs in global or a scrape_configs entry"
        );
        assert_eq!(
            SIGV4.advice("zebra"),
            "sigv4 takes region, access_key, secret_key, profile, role_arn, external_id, \
             use_fips_sts_endpoint, service_name"
        );
    }

    #[test]
    fn advice_knows_old_names_other_spellings_and_free_names() {
        for (table, key, advice) in [
            (
                &SCRAPE,
                "scrape_classic_histograms",
                "it is called always_scrape_classic_histograms since Prometheus 3.0",
            ),
            (
                &SCRAPE,
                "target_groups",
                "it is called static_configs since Prometheus 1.0",
            ),
            (&QUEUE, "max_retries", "Prometheus 2.11 removed it"),
            (&REMOTE, "queueConfig", "did you mean queue_config?"),
            (
                &ROOT,
                "maxSamplesPerSend",
                "it belongs in queue_config or metadata_config",
            ),
            (&SCRAPE, "match[]", "it belongs below params"),
            (&STATIC, "site", "it belongs below labels"),
            (&GLOBAL, "cluster", "it belongs below external_labels"),
            (&REMOTE, "X-Scope-OrgID", "it belongs below headers"),
        ] {
            let found = table.advice(key);
            assert!(found.contains(advice), "{key}: {found}");
        }
        let long = SCRAPE.advice("zebra");
        assert!(long.len() < 100, "{long}");
    }

    #[test]
    fn discovery_is_known_by_its_ending() {
        assert!(SCRAPE.unsupported("kubernetes_sd_configs").is_some());
        assert!(SCRAPE.unsupported("made_up").is_none());
    }
}
