//! The few protobuf fields of a remote-write request, written by hand: the one place where each
//! sample passes.
//!
//! `WriteRequest { repeated TimeSeries timeseries = 1 }`, `TimeSeries { repeated Label labels = 1;
//! repeated Sample samples = 2; repeated Histogram histograms = 4 }`, `Label { string name = 1;
//! string value = 2 }`, `Sample { double value = 1; int64 timestamp = 2 }`. Source:
//! prometheus/prometheus `prompb/remote.proto`, `prompb/types.proto`.

/// `WriteRequest.timeseries`.
pub const TIME_SERIES: u8 = 0x0a;
/// `TimeSeries.labels`.
pub const LABEL: u8 = 0x0a;
/// `TimeSeries.samples`.
pub const SAMPLE: u8 = 0x12;
/// `TimeSeries.histograms`.
pub const HISTOGRAM: u8 = 0x22;
/// `Histogram.sum`.
pub const HISTOGRAM_SUM: u8 = 0x19;
/// `Histogram.timestamp`.
pub const HISTOGRAM_TIMESTAMP: u8 = 0x78;
/// `Label.name`.
pub const LABEL_NAME: u8 = 0x0a;
/// `Label.value`.
pub const LABEL_VALUE: u8 = 0x12;
/// `Sample.value`.
pub const SAMPLE_VALUE: u8 = 0x09;
/// `Sample.timestamp`.
pub const SAMPLE_TIMESTAMP: u8 = 0x10;

/// Bytes of a varint.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends a varint.
#[inline]
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint, and moves `at` behind it. None when the bytes end within it.
#[inline]
pub fn read_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a length-delimited field.
#[inline]
pub fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes of a length-delimited field.
#[must_use]
pub const fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Whether the value is the zero that protobuf leaves out. −0 is another one: it is written, so
/// that values arrive bit by bit.
#[inline]
#[must_use]
pub const fn is_left_out(value: f64) -> bool {
    value.to_bits() == 0
}

/// Bytes of the message `Sample`.
#[inline]
#[must_use]
pub const fn sample_len(value: f64, timestamp_ms: i64) -> usize {
    let value = if is_left_out(value) { 0 } else { 9 };
    let timestamp = if timestamp_ms == 0 {
        0
    } else {
        1 + varint_len(timestamp_ms as u64)
    };
    value + timestamp
}

/// Appends the field `TimeSeries.samples`. Fields of value zero are left out, as protobuf has it.
/// −0 is written: here we differ from Prometheus, whose gogoproto compares with `==` and so drops
/// its sign.
#[inline]
pub fn sample(out: &mut Vec<u8>, value: f64, timestamp_ms: i64) {
    out.push(SAMPLE);
    varint(out, sample_len(value, timestamp_ms) as u64);
    if !is_left_out(value) {
        out.push(SAMPLE_VALUE);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    if timestamp_ms != 0 {
        out.push(SAMPLE_TIMESTAMP);
        varint(out, timestamp_ms as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut bytes = Vec::new();
            varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            let mut at = 0;
            prop_assert_eq!(read_varint(&bytes, &mut at), Some(value));
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn a_sample_is_as_long_as_said(bits: u64, timestamp_ms: i64) {
            let mut bytes = Vec::new();
            sample(&mut bytes, f64::from_bits(bits), timestamp_ms);
            prop_assert_eq!(bytes.len(), field_len(sample_len(f64::from_bits(bits), timestamp_ms)));
        }
    }

    #[test]
    fn a_torn_varint_is_none() {
        assert_eq!(read_varint(&[0x80], &mut 0), None);
        assert_eq!(read_varint(&[0xff; 11], &mut 0), None);
    }
}
