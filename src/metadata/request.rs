//! Remote-write requests that hold metadata alone (`storage/remote/queue_manager.go`
//! `AppendWatcherMetadata`).

use bytes::Bytes;
use prost::Message;

use super::{MOST, Metric};

/// Bytes of name and help text: one that has more is fatal for AMP's whole request.
const LONGEST: usize = 1024;

/// When a request closes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At that many metrics: `metadata_config.max_samples_per_send`.
    pub metrics: usize,
    /// Before its uncompressed bytes would pass this.
    pub bytes: usize,
}

/// `prometheus.WriteRequest`, of which only the metadata is there.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
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

/// The bodies, snappy-compressed. Of a metric that is named twice the first stands; names too long
/// for a receiver are left out, and help texts are cut.
///
/// # Errors
/// A request beyond snappy's 4 GiB; not known to happen.
pub fn requests(metrics: &[Metric], bounds: Bounds) -> Result<Vec<Bytes>, snap::Error> {
    let mut named = std::collections::HashSet::new();
    let wanted = metrics
        .iter()
        .filter(|metric| (1..=LONGEST).contains(&metric.name.len()) && named.insert(&metric.name))
        .take(MOST);
    let mut bodies = Vec::new();
    let (mut open, mut bytes) = (WriteRequest::default(), 0);
    for metric in wanted.map(clipped) {
        // Tag and length besides.
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

fn clipped(metric: &Metric) -> MetricMetadata {
    let Metric {
        name,
        kind,
        help,
        unit,
    } = metric;
    let within = |text: &str, length: usize| text[..text.floor_char_boundary(length)].to_owned();
    MetricMetadata {
        kind: *kind,
        metric_family_name: name.clone(),
        help: within(help, LONGEST - name.len()),
        unit: within(unit, LONGEST),
    }
}

fn compressed(request: &WriteRequest) -> Result<Bytes, snap::Error> {
    Ok(snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, help: &str) -> Metric {
        Metric {
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
            .map(|bytes| WriteRequest::decode(&*bytes).unwrap().metadata)
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
                Bounds {
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
                    Bounds {
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
                Bounds {
                    metrics: 1,
                    bytes: 1
                }
            )
            .unwrap()
            .is_empty()
        );
        let most: Vec<_> = (0..MOST + 9)
            .map(|at| metric(&at.to_string(), ""))
            .collect();
        assert_eq!(
            read(
                &requests(
                    &most,
                    Bounds {
                        metrics: MOST * 2,
                        bytes: 1 << 30
                    }
                )
                .unwrap()
            )[0]
            .len(),
            MOST
        );
    }
}
