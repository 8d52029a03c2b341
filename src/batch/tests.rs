//! Batches made of pieces that were sent before are those that are made anew, to the byte.

use proptest::collection::vec;
use proptest::prelude::*;

use super::compressor::Compressor;
use super::entry::EntrySamples;
use super::open::BatchKey;
use super::stage::{BatchLimits, EncodeLabels, Stage};
use super::{Batch, decode};
use crate::prompb::{TimedFloat, TimedValue, Value, wire};
use crate::series::{SeriesId, TargetId};

const NOW_MS: i64 = 1_795_176_000_000;

/// A series by its number. Every eighth of the first ones is a landmark.
struct Numbered(usize);

impl Numbered {
    fn label(&self) -> Vec<u8> {
        let mut label = Vec::new();
        wire::field(&mut label, wire::LABEL_NAME, b"pod");
        wire::field(
            &mut label,
            wire::LABEL_VALUE,
            format!("a-name-like-others-{}", self.0 * 7).as_bytes(),
        );
        label
    }
}

impl EncodeLabels for Numbered {
    fn series(&self) -> SeriesId {
        SeriesId(self.0 as u32)
    }

    fn starts_piece(&self) -> bool {
        self.0 < 500 && self.0.is_multiple_of(8)
    }

    fn encoded_len(&self) -> usize {
        wire::field_len(self.label().len())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        wire::field(out, wire::LABEL, &self.label());
    }
}

fn key(group: u32) -> BatchKey {
    BatchKey { nth: 0, group }
}

fn timed(value: f64, timestamp_ms: i64) -> TimedValue<'static> {
    TimedValue {
        value: Value::Float(value),
        timestamp_ms,
    }
}

/// Series, value, timestamp.
type Sample = (usize, f64, i64);

fn batches(compressor: &mut Compressor, limits: BatchLimits, samples: &[Sample]) -> Vec<Batch> {
    let mut stage = Stage::new(limits, TargetId(0), compressor);
    for (series, value, timestamp_ms) in samples {
        let group = u32::from(*series >= 90);
        stage
            .push(
                compressor,
                key(group),
                timed(*value, *timestamp_ms),
                &Numbered(*series),
            )
            .unwrap();
    }
    stage
        .finish(compressor)
        .unwrap()
        .into_iter()
        .flatten()
        .collect()
}

fn decoded(batches: &[Batch]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for batch in batches {
        let request = decode(batch).unwrap();
        assert_eq!(request.timeseries.len(), batch.samples as usize);
        for entry in request.timeseries {
            let pod = entry.labels[0]
                .value
                .rsplit('-')
                .next()
                .unwrap()
                .parse::<usize>()
                .unwrap();
            samples.push((pod / 7, entry.samples[0].value, entry.samples[0].timestamp));
        }
    }
    samples.sort_by_key(|sample| sample.0);
    samples
}

/// Mostly all series in order, with values and timestamps of every form.
fn scrape() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![4 => (1..100_u32).prop_map(f64::from), 1 => Just(0.0), 1 => Just(-0.0), 1 => any::<f64>().prop_filter("no NaN", |value| !value.is_nan())];
    let time = prop_oneof![20 => NOW_MS..NOW_MS + 1_000_000, 1 => Just(0), 1 => Just(-5_i64), 1 => Just(i64::MAX)];
    let left_out = vec(prop::bool::weighted(0.01), 100);
    (vec((value, time), 100), left_out).prop_map(|(samples, left_out)| {
        let kept = samples
            .into_iter()
            .zip(left_out)
            .enumerate()
            .filter(|(_, (_, left_out))| !left_out);
        kept.map(|(series, ((value, time), _))| (series, value, time))
            .collect()
    })
}

proptest! {
    #[test]
    fn warm_and_cold_give_the_same_bytes(
        scrapes in vec((scrape(), any::<bool>()), 1..6),
        samples in 1_usize..40,
        bytes in prop_oneof![Just(500_usize), Just(1_000_000)],
    ) {
        let mut warm = Compressor::default();
        let mut waiting = Vec::new();
        for (samples_of, waits) in &scrapes {
            let limits = BatchLimits { samples, bytes };
            let sent = batches(&mut warm, limits, samples_of);
            if *waits {
                waiting.extend(sent.iter().map(|batch| (batch.body.to_bytes().to_vec(), batch.clone())));
            }
            prop_assert_eq!(&sent, &batches(&mut Compressor::default(), limits, samples_of));
            // Bit by bit: −0 is not 0.
            let bits = |&(series, value, time): &Sample| (series, value.to_bits(), time);
            let arrived: Vec<_> = decoded(&sent).iter().map(bits).collect();
            prop_assert_eq!(arrived, samples_of.iter().map(bits).collect::<Vec<_>>());
            prop_assert!(sent.iter().all(|batch| batch.samples as usize <= samples && (batch.raw_len as usize <= bytes || batch.samples == 1)));
        }
        // What was not sent yet is not touched by the next scrape.
        for (body, batch) in waiting {
            prop_assert_eq!(body, &batch.body.to_bytes()[..]);
        }
    }
}

proptest! {
    /// Entries of windows and single samples stand side by side, whatever is kept of earlier scrapes.
    #[test]
    fn entries_stand_next_to_patched_samples(
        scrapes in vec((scrape(), vec((0..3_usize, 0.0..9.0_f64), 100)), 1..4),
        most in 3_usize..40,
        bytes in prop_oneof![Just(500_usize), Just(1_000_000)],
    ) {
        let mut compressor = Compressor::default();
        let limits = BatchLimits { samples: most, bytes };
        for (samples, more) in scrapes {
            let mut stage = Stage::new(limits, TargetId(0), &compressor);
            let mut wanted = Vec::new();
            for ((series, value, timestamp_ms), (further, step)) in samples.into_iter().zip(more) {
                let floats: Vec<_> = (0..=further).map(|at| TimedFloat {
                    value: if at == 0 { value } else { value + at as f64 * step },
                    timestamp_ms: timestamp_ms.saturating_add(at as i64),
                }).collect();
                let labels = Numbered(series);
                wanted.push((series, floats.clone()));
                if further == 0 {
                    stage.push(&mut compressor, key(0), timed(value, timestamp_ms), &labels).unwrap();
                    continue;
                }
                let samples = EntrySamples::Floats(&floats);
                let (entry, rest) = samples.split_fitting(labels.encoded_len(), most, bytes);
                prop_assert!(rest.is_empty());
                stage.push_entry(&mut compressor, key(0), entry, &labels).unwrap();
            }
            let sent: Vec<Batch> = stage.finish(&mut compressor).unwrap().into_iter().flatten().collect();
            let mut arrived = Vec::new();
            for batch in &sent {
                let request = decode(batch).unwrap();
                let raw = snap::raw::decompress_len(&batch.body.to_bytes()).unwrap();
                prop_assert_eq!(raw, batch.raw_len as usize);
                prop_assert!(batch.samples as usize <= most && (raw <= bytes || request.timeseries.len() == 1));
                for entry in request.timeseries {
                    let pod: usize = entry.labels[0].value.rsplit('-').next().unwrap().parse().unwrap();
                    let floats: Vec<_> = entry.samples.iter().map(|sample| TimedFloat {
                        value: sample.value,
                        timestamp_ms: sample.timestamp,
                    }).collect();
                    arrived.push((pod / 7, floats));
                }
            }
            prop_assert_eq!(arrived, wanted);
        }
    }
}

fn steady(count: usize, turn: i64) -> Vec<Sample> {
    (0..count)
        .map(|series| (series, 1.5 + turn as f64, NOW_MS + turn))
        .collect()
}

const LIMITS: BatchLimits = BatchLimits {
    samples: 50,
    bytes: 1_000_000,
};

#[test]
fn all_pieces_can_be_used_again() {
    for limits in [
        LIMITS,
        BatchLimits {
            samples: 5000,
            bytes: 1_000_000,
        },
    ] {
        let mut compressor = Compressor::default();
        let mut samples = steady(2000, 0);
        samples
            .iter_mut()
            .step_by(3)
            .for_each(|sample| sample.1 = 0.0);
        batches(&mut compressor, limits, &samples);
        assert_eq!(compressor.kept_samples(), 2000);
    }
}

#[test]
fn pieces_of_what_was_sent_are_patched_where_they_are() {
    let mut compressor = Compressor::default();
    let places = |sent: &[Batch]| {
        sent.iter()
            .flat_map(|batch| batch.body.pieces().iter().skip(1))
            .map(|piece| piece.as_ptr())
            .collect::<Vec<_>>()
    };
    let first = batches(&mut compressor, LIMITS, &steady(80, 0));
    let at_first = places(&first);
    drop(first);
    let second = batches(&mut compressor, LIMITS, &steady(80, 1));
    assert_eq!(places(&second), at_first);
    let third = batches(&mut compressor, LIMITS, &steady(80, 2));
    assert!(
        places(&third).iter().all(|place| !at_first.contains(place)),
        "the second is not sent yet"
    );
}

#[test]
fn series_with_other_places_are_encoded_anew() {
    let mut compressor = Compressor::default();
    batches(&mut compressor, LIMITS, &steady(80, 0));
    let kept = compressor.memory();
    // One scrape is in progress when series get other places.
    let mut stage = Stage::new(LIMITS, TargetId(0), &compressor);
    for (series, value, time) in steady(12, 1) {
        stage
            .push(
                &mut compressor,
                key(0),
                timed(value, time),
                &Numbered(series),
            )
            .unwrap();
    }
    compressor.forget();
    for (series, value, time) in steady(80, 1).split_off(12) {
        // Series 20 is now what bore another number before.
        stage
            .push(
                &mut compressor,
                key(0),
                timed(value, time),
                &Numbered(series + 100),
            )
            .unwrap();
    }
    let sent: Vec<Batch> = stage
        .finish(&mut compressor)
        .unwrap()
        .into_iter()
        .flatten()
        .collect();
    let series: Vec<usize> = decoded(&sent).iter().map(|sample| sample.0).collect();
    assert_eq!(series, (0..12).chain(112..180).collect::<Vec<_>>());
    assert!(
        compressor.memory() < kept,
        "pieces of that scrape are of no use"
    );
}

#[test]
fn pieces_that_are_not_used_any_more_are_let_go() {
    let mut compressor = Compressor::default();
    batches(&mut compressor, LIMITS, &steady(80, 0));
    let both = compressor.memory();
    for turn in 1..10 {
        batches(&mut compressor, LIMITS, &steady(16, turn));
    }
    assert!(
        compressor.memory() < both / 2 + 200_000 && compressor.memory() + 1000 < both,
        "{} of {both}",
        compressor.memory()
    );
}

#[test]
fn a_piece_is_counted_by_whoever_still_has_it() {
    let mut compressor = Compressor::default();
    let mut stage = Stage::new(LIMITS, TargetId(0), &compressor);
    for (series, value, time) in steady(100, 0) {
        stage
            .push(
                &mut compressor,
                key(0),
                timed(value, time),
                &Numbered(series),
            )
            .unwrap();
    }
    let shared = stage.memory(&compressor);
    compressor.forget();
    let alone = stage.memory(&compressor);
    let sent: Vec<Batch> = stage
        .finish(&mut compressor)
        .unwrap()
        .into_iter()
        .flatten()
        .collect();
    let bytes: usize = sent.iter().map(|batch| batch.body.len()).sum();
    assert!(
        alone >= bytes && shared + bytes / 2 < alone,
        "{shared} while the compressor has them, {alone} then, of {bytes}"
    );
}
