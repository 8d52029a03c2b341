//! Protobuf expositions: families as Go's client writes them, and some that no client writes.

mod bodies;
mod classic;
mod floats;
mod makers;
mod native;
mod settings;

use amp_forwarder_support::families::CONTENT_TYPE;

/// One body under the settings of its job.
pub(super) struct Exposition {
    pub(super) name: String,
    pub(super) job: &'static str,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
    /// The reason why the result differs from Prometheus', where it is meant to.
    pub(super) differs: Option<&'static str>,
}

/// All bodies.
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = floats::expositions(now);
    all.extend(classic::expositions(now));
    all.extend(native::expositions(now));
    all.extend(settings::expositions(now));
    all.extend(bodies::expositions(now));
    all
}

fn exposition(
    name: &str,
    job: &'static str,
    body: Vec<u8>,
    differs: Option<&'static str>,
) -> Exposition {
    Exposition {
        name: format!("protobuf: {name}"),
        job,
        content_type: Some(CONTENT_TYPE),
        body,
        differs,
    }
}
