//! Any bytes are a `ReadResponse` or an error, however they are cut into blocks; what is read is the
//! same as what prost reads.
#![no_main]

use amp_forwarder::prompb::remote_read::ReadResponse;
use amp_forwarder::read::response::{MalformedResponse, ReadResponseDecoder};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// Query, label bytes, bits and timestamps of the samples, timestamps of the histograms.
type Shown = (usize, Vec<u8>, Vec<(u64, i64)>, Vec<i64>);

fuzz_target!(|data: &[u8]| {
    let Some((&size, answer)) = data.split_first() else {
        return;
    };
    let whole = decode(answer, usize::MAX);
    let cut = decode(answer, 1 + usize::from(size));
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(_), Err(_)) => {}
        _ => panic!("the size of blocks matters: {whole:?}, {cut:?}"),
    }
    let (Ok(shown), Ok(read)) = (whole, ReadResponse::decode(answer)) else {
        return;
    };
    let series: Vec<_> = read
        .results
        .iter()
        .enumerate()
        .flat_map(|(query, result)| result.timeseries.iter().map(move |series| (query, series)))
        .collect();
    assert_eq!(shown.len(), series.len());
    for ((query, _, samples, histograms), (wanted_query, series)) in shown.iter().zip(series) {
        assert_eq!(*query, wanted_query);
        let wanted = series
            .samples
            .iter()
            .map(|sample| (sample.value.to_bits(), sample.timestamp));
        assert!(samples.iter().copied().eq(wanted));
        let wanted = series
            .histograms
            .iter()
            .map(|histogram| histogram.timestamp);
        assert!(histograms.iter().copied().eq(wanted));
    }
});

fn decode(answer: &[u8], block: usize) -> Result<Vec<Shown>, MalformedResponse> {
    let mut decoder = ReadResponseDecoder::default();
    let mut shown = Vec::new();
    let (mut waiting, mut results) = (Vec::new(), 0);
    for piece in answer.chunks(block) {
        waiting.extend_from_slice(piece);
        let done = decoder.decode::<MalformedResponse>(&waiting, |series| {
            for label in series.labels() {
                let label = label?;
                assert!(label.name.end <= label.value.start);
                assert!(label.value.end <= series.labels.len());
            }
            let samples = series
                .samples()
                .map(|sample| sample.map(|sample| (sample.value.to_bits(), sample.timestamp_ms)));
            let histograms = series
                .histograms()
                .map(|histogram| histogram.map(|histogram| histogram.timestamp));
            shown.push((
                series.query,
                series.labels.to_vec(),
                samples.collect::<Result<_, _>>()?,
                histograms.collect::<Result<_, _>>()?,
            ));
            Ok(())
        })?;
        waiting.drain(..done);
        results = decoder.results();
    }
    decoder.finish(waiting.len(), results).map(|()| shown)
}
