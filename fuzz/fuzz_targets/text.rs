//! Any bytes are samples or an error with a place, the same ones however the bytes are cut into blocks and whatever the sink knows.
#![no_main]

use std::collections::HashSet;

use amp_forwarder::batch::Value;
use amp_forwarder::scrape::exposition::{Exposed, ExposedLabel, Place, Refused, Sink, Stop};
use amp_forwarder::scrape::text::TextParser;
use libfuzzer_sys::fuzz_target;

/// Series, value's bits, timestamp.
type Sample = (Vec<u8>, u64, Option<i64>);

#[derive(Default)]
struct Record {
    known: HashSet<Vec<u8>>,
    samples: Vec<Sample>,
    labels: Vec<Vec<(String, String)>>,
}

impl Record {
    fn take(&mut self, sample: &Exposed<'_>) {
        let Value::Float(value) = sample.value else { panic!("text has no native histograms") };
        assert!(!value.is_nan() || value.to_bits() == amp_forwarder::scrape::text::NORMAL_NAN);
        self.samples.push((sample.series.to_vec(), value.to_bits(), sample.timestamp_ms));
    }
}

impl Sink for Record {
    fn known(&mut self, sample: &Exposed<'_>) -> Result<bool, Refused> {
        let known = self.known.contains(sample.series);
        if known {
            self.take(sample);
        }
        Ok(known)
    }

    fn resolved(&mut self, sample: &Exposed<'_>, labels: &[ExposedLabel<'_>]) -> Result<(), Refused> {
        for label in labels {
            // A place stands for the text: what is encoded from it later must be what was parsed.
            if let Some(span) = label.span {
                assert_eq!(&sample.series[span.value as usize..][..label.value.len()], label.value.as_bytes());
                if label.name != "__name__" {
                    assert_eq!(&sample.series[span.name as usize..][..label.name.len()], label.name.as_bytes());
                }
            }
        }
        self.known.insert(sample.series.to_vec());
        self.labels.push(labels.iter().map(|label| (label.name.clone().into_owned(), label.value.clone().into_owned())).collect());
        self.take(sample);
        Ok(())
    }
}

/// Line, column and message of an error; its excerpt aside, which ends where the block does.
type Ended = Option<(u64, u64, String)>;

fn parse(body: &[u8], steps: &[u8], sink: &mut Record) -> Ended {
    let mut parser = TextParser::default();
    let (mut done, mut end, mut steps) = (0, 0, steps.iter().cycle());
    loop {
        // No step at all: everything at once.
        end = steps.next().map_or(body.len(), |step| (end + 1 + usize::from(*step % 32)).min(body.len()));
        let last = end == body.len();
        match parser.parse(&body[done..end], last, sink) {
            Ok(taken) => done += taken,
            Err(Stop::Malformed(error)) => {
                let Place::Text { line, column } = error.place else { panic!("a text has lines") };
                assert!(line >= 1 && column >= 1);
                let message = error.message.split(" in \"").next().unwrap_or_default().to_owned();
                return Some((line, column, message));
            }
            Err(Stop::Refused(refused)) => panic!("{refused}"),
        }
        if last {
            assert_eq!(done, body.len(), "the last block is taken whole");
            return None;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&steps, data)) = data.split_first() else { return };
    let (steps, exposition) = data.split_at(usize::from(steps % 8).min(data.len()));
    let mut body = exposition.to_vec();
    body.push(b'\n');

    let mut whole = Record::default();
    let ended = parse(&body, &[], &mut whole);
    let mut cut = Record::default();
    let ended_cut = parse(&body, if steps.is_empty() { &[0] } else { steps }, &mut cut);
    assert_eq!(ended, ended_cut);
    assert_eq!(whole.samples, cut.samples);
    assert_eq!(whole.labels, cut.labels);

    for steps in [&[][..], steps] {
        let mut warm = Record { known: whole.known.clone(), ..Record::default() };
        let ended_warm = parse(&body, steps, &mut warm);
        assert_eq!(ended, ended_warm);
        assert_eq!(whole.samples, warm.samples);
        assert!(warm.labels.is_empty());
    }
});
