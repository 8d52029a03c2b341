//! The keys of each section: those that we take, and those that Prometheus 3.5 has and we do not
//! take.

mod forwarder;
mod http;
mod job;
mod remote;
mod table;

pub(super) use forwarder::{ARCHIVE, FORWARDER, METADATA, METRICS, REMOTE_READ, SPOOL};
pub(super) use http::{AUTHORIZATION, BASIC_AUTH, HTTP_HEADER, OAUTH2, TLS};
pub(super) use job::{GLOBAL, RELABEL, ROOT, SCRAPE, STATIC};
pub(super) use remote::{QUEUE, REMOTE, REMOTE_METADATA, SIGV4};
pub(super) use table::{REMOVE, Table};

const ALL: [&Table; 20] = [
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

    /// Advice for an unknown key: a similar one, the section that has it, or all keys of this one.
    pub(in crate::config) fn advice(&self, key: &str) -> String {
        let wanted = key.to_lowercase();
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
            .filter(|table| table.takes(key))
            .map(|table| table.name)
            .collect();
        if elsewhere.is_empty() {
            return self.listing();
        }
        format!("it belongs in {}", elsewhere.join(" or "))
    }
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
            STATIC.advice("zebra"),
            "a static_configs entry takes targets, labels"
        );
    }

    #[test]
    fn discovery_is_known_by_its_ending() {
        assert!(SCRAPE.unsupported("kubernetes_sd_configs").is_some());
        assert!(SCRAPE.unsupported("made_up").is_none());
    }
}
