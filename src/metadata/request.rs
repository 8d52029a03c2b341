//! Remote-write requests that hold nothing but metadata (`storage/remote/queue_manager.go`
//! `AppendWatcherMetadata`).

use bytes::Bytes;
use prost::Message;

use super::{FamilyMetadata, MAX_METRICS};

/// Largest size of name and help text together, in bytes. AMP refuses a whole request for a longer
/// one.
const MAX_TEXT_BYTES: usize = 1024;

/// The size at which a request closes.
#[derive(Debug, Clone, Copy)]
pub struct RequestBounds {
    /// Largest number of metrics: `metadata_config.max_samples_per_send`.
    pub metrics: usize,
    /// Largest uncompressed size in bytes. A single metric may be larger.
    pub bytes: usize,
}

/// `prometheus.WriteRequest`, with its metadata alone.
#[derive(Clone, PartialEq, Message)]
struct MetadataRequest {
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetricMetadata>,
}

/// `prometheus.MetricMetadata`.
#[derive(Clone, PartialEq, Message)]
struct MetricMetadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    metric_family_name: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

/// Builds the bodies of the requests, compressed with snappy. The first of two metrics with the
/// same name counts. Metrics whose name is too long for a receiver are left out, and help texts are
/// cut.
///
/// ```
/// use amp_forwarder::metadata::{FamilyMetadata, RequestBounds, requests};
///
/// let up = FamilyMetadata {
///     name: "up".to_owned(),
///     kind: 2,
///     help: "Whether the last scrape succeeded.".to_owned(),
///     unit: String::new(),
/// };
/// let bounds = RequestBounds { metrics: 2000, bytes: 1 << 20 };
/// assert_eq!(requests(&[up], bounds)?.len(), 1);
/// # Ok::<(), snap::Error>(())
/// ```
///
/// # Errors
/// A request beyond snappy's limit of 4 GiB. The bounds keep requests far below it.
pub fn requests(
    metrics: &[FamilyMetadata],
    bounds: RequestBounds,
) -> Result<Vec<Bytes>, snap::Error> {
    let mut named = std::collections::HashSet::new();
    let wanted = metrics
        .iter()
        .filter(|metric| {
            (1..=MAX_TEXT_BYTES).contains(&metric.name.len()) && named.insert(&metric.name)
        })
        .take(MAX_METRICS);
    let mut bodies = Vec::new();
    let (mut open, mut bytes) = (MetadataRequest::default(), 0);
    for metric in wanted.map(clipped) {
        // A metric is preceded by its tag and its length.
        let length = metric.encoded_len() + 4;
        if !open.metadata.is_empty()
            && (open.metadata.len() >= bounds.metrics || bytes + length > bounds.bytes)
        {
            bodies.push(compressed(&std::mem::take(&mut open))?);
            bytes = 0;
        }
        bytes += length;
        open.metadata.push(metric);
    }
    if !open.metadata.is_empty() {
        bodies.push(compressed(&open)?);
    }
    Ok(bodies)
}

fn clipped(metric: &FamilyMetadata) -> MetricMetadata {
    let FamilyMetadata {
        name,
        kind,
        help,
        unit,
    } = metric;
    let within = |text: &str, length: usize| text[..text.floor_char_boundary(length)].to_owned();
    MetricMetadata {
        kind: *kind,
        metric_family_name: name.clone(),
        help: within(help, MAX_TEXT_BYTES - name.len()),
        unit: within(unit, MAX_TEXT_BYTES),
    }
}

fn compressed(request: &MetadataRequest) -> Result<Bytes, snap::Error> {
    Ok(snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, help: &str) -> FamilyMetadata {
        FamilyMetadata {
            name: name.to_owned(),
            kind: 1,
            help: help.to_owned(),
            unit: String::new(),
        }
    }

    fn read(bodies: &[Bytes]) -> Vec<Vec<MetricMetadata>> {
        let decoded = bodies
            .iter()
            .map(|body| snap::raw::Decoder::new().decompress_vec(body).unwrap());
        decoded
            .map(|bytes| MetadataRequest::decode(&*bytes).unwrap().metadata)
            .collect()
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_cannot_be_cut_is_left_out() {
        let metrics = [
            metric("a", &"é".repeat(1000)),
            metric(&"n".repeat(1024), "x"),
            metric(&"n".repeat(1025), ""),
            metric("", "x"),
            metric("a", "b"),
        ];
        let sent = read(
            &requests(
                &metrics,
                RequestBounds {
                    metrics: 10,
                    bytes: 1_000_000,
                },
            )
            .unwrap(),
        )
        .remove(0);
        let lengths: Vec<_> = sent
            .iter()
            .map(|sent| (sent.metric_family_name.len(), sent.help.len()))
            .collect();
        assert_eq!(lengths, [(1, 1022), (1024, 0)]);
    }

    #[test]
    fn requests_close_by_number_and_by_bytes() {
        let metrics: Vec<_> = (0..25)
            .map(|at| metric(&format!("m{at:02}"), &"h".repeat(91)))
            .collect();
        let sizes = |metrics_each, bytes| -> Vec<usize> {
            let sent = read(
                &requests(
                    &metrics,
                    RequestBounds {
                        metrics: metrics_each,
                        bytes,
                    },
                )
                .unwrap(),
            );
            assert_eq!(sent.iter().flatten().count(), 25);
            sent.iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(10, 1_000_000), [10, 10, 5]);
        assert_eq!(sizes(100, 1_070), [10, 10, 5]);
        assert_eq!(sizes(100, 1), [1; 25]);
        assert!(
            requests(
                &[],
                RequestBounds {
                    metrics: 1,
                    bytes: 1
                }
            )
            .unwrap()
            .is_empty()
        );
        let most: Vec<_> = (0..MAX_METRICS + 9)
            .map(|at| metric(&at.to_string(), ""))
            .collect();
        assert_eq!(
            read(
                &requests(
                    &most,
                    RequestBounds {
                        metrics: MAX_METRICS * 2,
                        bytes: 1 << 30
                    }
                )
                .unwrap()
            )[0]
            .len(),
            MAX_METRICS
        );
    }
}
