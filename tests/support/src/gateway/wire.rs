//! Remote write 1.0 on the wire, as prometheus/prompb defines it, and a counter that decodes
//! nothing.

use anyhow::{Result, bail};
use prost::Message;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// Entries; a series may have several of them.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// Types and help texts.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Labels, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Samples, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Exemplars, which AMP refuses.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    /// Native histogram samples.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Label {
    /// Label name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Label value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value; stale markers keep their bits.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// `prometheus.Exemplar`.
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    /// Labels of the exemplar alone, without those of its series.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// `prometheus.BucketSpan`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    /// Gap to the previous span.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Number of buckets in the span.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// `prometheus.Histogram`: a native histogram sample.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Histogram {
    #[prost(oneof = "HistogramCount", tags = "1, 2")]
    pub count: Option<HistogramCount>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(oneof = "HistogramZeroCount", tags = "6, 7")]
    pub zero_count: Option<HistogramZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// The count of a histogram, of integers or of floats.
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub enum HistogramCount {
    #[prost(uint64, tag = "1")]
    Int(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

/// The zero bucket of a histogram, of integers or of floats.
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub enum HistogramZeroCount {
    #[prost(uint64, tag = "6")]
    Int(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

/// `prometheus.MetricMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct MetricMetadata {
    /// Type of the metric: 0 unknown, 1 counter, 2 gauge, …
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    /// Name of the metric family.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// Help text.
    #[prost(string, tag = "4")]
    pub help: String,
    /// Unit.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// Decompresses a snappy block. More than `limit` bytes are refused before anything is allocated.
///
/// # Errors
/// Fails when the body is no snappy block, or says that it is larger than `limit`.
pub fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>> {
    let length = snap::raw::decompress_len(body)?;
    if length > limit {
        bail!("decompressed size {length} over the limit of {limit}");
    }
    Ok(snap::raw::Decoder::new().decompress_vec(body)?)
}

/// Compresses an encoded request as a snappy block.
pub fn compress(request: &WriteRequest) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .unwrap_or_default()
}

/// Counts the entries and samples of a request by walking its tags, for load tests in which
/// decoding would be the bottleneck.
///
/// # Errors
/// Fails when the bytes are no protobuf message.
pub fn count(request: &[u8]) -> Result<RequestCounts> {
    let mut counts = RequestCounts::default();
    for_each_field(request, |field, content| {
        if field == 1 {
            counts.entries += 1;
            for_each_field(content, |inner, _| {
                if inner == 2 || inner == 4 {
                    counts.samples += 1;
                }
            })?;
        }
        Ok(())
    })?;
    Ok(counts)
}

/// The numbers of entries and samples in a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RequestCounts {
    /// Number of entries (`TimeSeries`).
    pub entries: u64,
    /// Number of samples, floats and histograms.
    pub samples: u64,
}

fn for_each_field<T: IntoUnit>(
    mut bytes: &[u8],
    mut visit: impl FnMut(u64, &[u8]) -> T,
) -> Result<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let content = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                &[][..]
            }
            1 => take(&mut bytes, 8)?,
            2 => {
                let length = varint(&mut bytes)?;
                take(&mut bytes, usize::try_from(length)?)?
            }
            5 => take(&mut bytes, 4)?,
            other => bail!("wire type {other}"),
        };
        visit(key >> 3, content).into_unit()?;
    }
    Ok(())
}

/// The result of a visitor, which may be able to fail or not.
trait IntoUnit {
    fn into_unit(self) -> Result<()>;
}

impl IntoUnit for () {
    fn into_unit(self) -> Result<()> {
        Ok(())
    }
}

impl IntoUnit for Result<()> {
    fn into_unit(self) -> Result<()> {
        self
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let Some((head, tail)) = bytes.split_at_checked(length) else {
        bail!("a field ends beyond the message")
    };
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a varint of more than ten bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_agrees_with_decoding() {
        let label = |name: &str| Label {
            name: name.to_owned(),
            value: "x".repeat(300),
        };
        let sample = Sample {
            value: 0.0,
            timestamp: 5,
        };
        let entry = TimeSeries {
            labels: vec![label("a"), label("b")],
            samples: vec![sample, sample],
            ..Default::default()
        };
        let request = WriteRequest {
            timeseries: vec![entry.clone(), TimeSeries::default(), entry],
            metadata: vec![MetricMetadata::default()],
        };
        let expected = RequestCounts {
            entries: 3,
            samples: 4,
        };
        assert_eq!(count(&request.encode_to_vec()).unwrap(), expected);
        assert!(count(&request.encode_to_vec()[..700]).is_err());
        assert_eq!(
            decompress(&compress(&request), 10_000).unwrap(),
            request.encode_to_vec()
        );
        assert!(decompress(&compress(&request), 1_000).is_err());
    }
}
