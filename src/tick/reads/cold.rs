//! The targets that can be read, as a process finds them when it starts.

use std::collections::BTreeMap;

use url::Url;

use super::cursor::{ReadCursor, place};
use crate::config::{Config, RemoteReadMode};
use crate::read::{ReadSource, ReadSourceError, WindowPlanner, default_max_samples};
use crate::tick::job::Job;
use crate::time::millis;

/// Makes the cursors of a process that has read nothing yet, and returns how many homes they have.
/// A job that cannot be read is scraped only, which `check` explains.
pub(in crate::tick) fn cold_cursors(
    config: &Config,
    jobs: &[Job],
    memory_limit: usize,
) -> (Vec<ReadCursor>, usize) {
    let remote_read = &config.forwarder.remote_read;
    if remote_read.mode == RemoteReadMode::Off {
        return (Vec::new(), 0);
    }
    let resolution_ms = match remote_read.mode {
        RemoteReadMode::Always => millis(remote_read.resolution),
        _ => 0,
    };
    let max_samples = remote_read
        .max_samples
        .unwrap_or_else(|| default_max_samples(memory_limit));
    let (mut cursors, mut homes) = (Vec::new(), Vec::new());
    for target in jobs.iter().flat_map(|job| &job.targets) {
        let source = match ReadSource::new(target, remote_read.path.as_deref()) {
            Ok(source) => source,
            Err(ReadSourceError::NoFederation) => continue,
            Err(error) => {
                tracing::warn!(instance = target.instance(), "it is scraped only: {error}");
                continue;
            }
        };
        let home = place(&source.url);
        let origin = homes
            .iter()
            .position(|known| *known == home)
            .unwrap_or_else(|| {
                homes.push(home);
                homes.len() - 1
            });
        let planner = WindowPlanner::new(resolution_ms, max_samples);
        cursors.push(ReadCursor::new(
            target.clone(),
            source,
            planner,
            origin,
            millis(remote_read.settle),
        ));
    }
    set_apart(&mut cursors);
    (cursors, homes.len())
}

/// Tells targets of a job apart that are at one host and port, as behind a proxy that serves many
/// tenants: each goes on where it was read itself.
fn set_apart(cursors: &mut [ReadCursor]) {
    let mut times: BTreeMap<(usize, String), u32> = BTreeMap::new();
    for cursor in &*cursors {
        *times
            .entry((cursor.job(), cursor.place.clone()))
            .or_default() += 1;
    }
    for cursor in cursors {
        let place = (cursor.job(), cursor.place.clone());
        if times.get(&place).is_some_and(|times| *times > 1) {
            // Parameters may be secret, so that they are not written down.
            let url = cursor.target.url.as_ref().map(Url::as_str).unwrap_or("");
            let what = format!("{url}{:?}", cursor.target.labels);
            let hash = xxhash_rust::xxh3::xxh3_64(what.as_bytes());
            cursor.place = format!("{}#{hash:016x}", cursor.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn targets_at_one_address_have_watermarks_of_their_own() {
        let text = "scrape_configs:\n- job_name: a\n  metrics_path: /federate\n  params: \
            {'match[]': [up]}\n  static_configs:\n  - {targets: ['proxy:80'], labels: \
            {__metrics_path__: /one/federate}}\n  - {targets: ['proxy:80'], labels: \
            {__metrics_path__: /two/federate}}\n  - {targets: ['proxy:80'], labels: \
            {__metrics_path__: /two/federate, site: x}}\n  - targets: ['h:9090']\n\
            - job_name: b\n  metrics_path: /federate\n  params: {'match[]': [up]}\n  \
            static_configs: [{targets: ['proxy:80']}]\nremote_write: [{url: 'http://r/'}]\n";
        let config = Config::load(text, &|_| None, "f.yml").unwrap().config;
        let targets = crate::home::targets(&config.scrape_configs).unwrap();
        let mut cursors: Vec<_> = targets
            .into_iter()
            .map(|target| {
                let source = ReadSource::new(&target, None).unwrap();
                ReadCursor::new(target, source, WindowPlanner::new(0, 1_000), 0, 15_000)
            })
            .collect();
        set_apart(&mut cursors);
        let places: Vec<_> = cursors.iter().map(|cursor| &*cursor.place).collect();
        // The address alone, where it is enough: so it stands in the states of earlier versions.
        assert_eq!(places[3..], ["h:9090", "proxy:80"]);
        let apart: BTreeSet<_> = places[..3].iter().collect();
        assert_eq!(apart.len(), 3, "{places:?}");
        let are_short = places[..3].iter().all(|place| {
            place
                .strip_prefix("proxy:80#")
                .is_some_and(|hash| hash.len() == 16)
        });
        assert!(are_short, "{places:?}");
    }
}
