//! The home's answers under each fault, as a client sees them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::home::{Home, HomeMethod, HomeRequest, JobId};
use amp_forwarder::prompb::remote_read::ReadResponse;
use amp_forwarder::read::request;
use amp_forwarder::selector::Selector;
use bytes::Bytes;
use fastrand::Rng;
use prost::Message as _;

use super::history;
use super::home::{FAULTS, Fault, ReadHome, ReadHomeHandle, Traits};
use super::oracle;
use super::tsdb::{HomeClock, HomeSeries};
use crate::bench::START_MS;
use crate::events::Hits;
use crate::world::{SimWorld, identity};

/// What a client got.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// Seconds since 1970.
    date: Option<u64>,
    body: Vec<u8>,
}

fn home(seed: u64, traits: Traits, off_ms: i64) -> Arc<ReadHome> {
    let mut rng = Rng::with_seed(seed);
    let world = SimWorld::new(START_MS, Arc::new(Hits::default()), false);
    let history = history::Traits {
        series: 12,
        lateness_ms: 5_000,
        histograms: true,
        out_of_order: false,
        external: false,
        clock: HomeClock {
            steps: vec![(0, off_ms)],
        },
    };
    let tsdb = history::draw(&mut rng, &history, START_MS - 120_000, START_MS + 60_000);
    ReadHome::new(world, tsdb, traits, rng)
}

async fn ask(home: &Arc<ReadHome>, url: &str, method: HomeMethod<'_>) -> Result<Answer, String> {
    let url = url.parse().expect("a URL");
    let request = HomeRequest {
        job: JobId(0),
        url: &url,
        method,
        timeout: Duration::from_secs(5),
    };
    let text = |error: amp_forwarder::net::NetError| error.to_string();
    let mut response = ReadHomeHandle(Arc::clone(home))
        .send(request)
        .await
        .map_err(text)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.body.chunk().await.map_err(text)? {
        body.extend_from_slice(&chunk);
    }
    let date = response.headers.get(http::header::DATE).map(|date| {
        let date = date.to_str().expect("ASCII");
        let date = httpdate::parse_http_date(date).expect("a date");
        date.duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs()
    });
    Ok(Answer {
        status: response.status,
        date,
        body,
    })
}

async fn read(home: &Arc<ReadHome>, start_ms: i64, end_ms: i64) -> Result<Answer, String> {
    let selectors = [Selector::parse(r#"{__name__!=""}"#).expect("a selector")];
    let range = request::TimeRange { start_ms, end_ms };
    let body = request::body(&selectors, range).expect("small");
    let headers = request::headers();
    let method = HomeMethod::Post {
        body,
        headers: &headers,
    };
    ask(home, "http://home:9090/api/v1/read", method).await
}

fn decoded(body: &[u8]) -> Result<ReadResponse, String> {
    let plain = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|error| error.to_string())?;
    ReadResponse::decode(Bytes::from(plain)).map_err(|error| error.to_string())
}

fn series_key(series: &HomeSeries) -> Option<String> {
    let labels = series.labels.iter();
    Some(identity(
        labels.map(|(name, value)| (name.as_str(), value.as_str())),
    ))
}

#[tokio::test(start_paused = true)]
async fn a_read_shows_exactly_what_the_oracle_expects() {
    let home = home(1, Traits::default(), 70_000);
    let end_ms = home.now_ms() - 10_000;
    let (start_ms, now_ms) = (end_ms - 60_000, home.world.now_ms());
    let answer = read(&home, start_ms, end_ms).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let date_ms = i64::try_from(answer.date.expect("a date")).expect("small") * 1_000;
    assert!(
        (-1_000..=1_600).contains(&(date_ms - START_MS - 70_000)),
        "{date_ms}"
    );
    let mut read: HashSet<_> = HashSet::new();
    for series in &decoded(&answer.body).expect("an answer").results[0].timeseries {
        let labels = series.labels.iter();
        let key = identity(labels.map(|label| (label.name.as_str(), label.value.as_str())));
        let floats = series.samples.iter().map(|sample| sample.timestamp);
        let histograms = series
            .histograms
            .iter()
            .map(|histogram| histogram.timestamp);
        read.extend(floats.chain(histograms).map(|at| (key.clone(), at)));
    }
    let expected = oracle::always(&home.tsdb, series_key, (start_ms, end_ms), now_ms);
    assert!(expected.len() > 20, "{}", expected.len());
    assert_eq!(read, expected.into_keys().collect());
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_seen() {
    for &fault in FAULTS {
        let traits = Traits {
            read_faults: 1.0,
            kinds: vec![fault],
            ..Traits::default()
        };
        let home = home(2, traits, 0);
        let answer = read(&home, START_MS - 60_000, START_MS).await;
        let told = match &answer {
            Err(error) if error.contains("timed out") => "timed out".to_owned(),
            Err(error) if error.contains("refused") => "refused".to_owned(),
            Err(error) if error.contains("reset") => "reset".to_owned(),
            Err(error) => error.clone(),
            Ok(Answer {
                status: 200, body, ..
            }) if decoded(body).is_err() => "damaged".to_owned(),
            Ok(Answer {
                status: 200, body, ..
            }) if decoded(body).is_ok_and(|read| read.results.is_empty()) => "no result".to_owned(),
            Ok(Answer { date: None, .. }) => "no date".to_owned(),
            Ok(Answer { status, .. }) => status.to_string(),
        };
        let expected = match fault {
            Fault::Refused => "refused",
            Fault::Silent | Fault::Stalls | Fault::SlowFirstByte => "timed out",
            Fault::Restarting => "503",
            Fault::BadGateway => "502",
            Fault::GatewayTimeout => "504",
            Fault::Cut => "reset",
            Fault::LoginPage | Fault::Truncated | Fault::Damaged => "damaged",
            Fault::SampleLimit => "400",
            Fault::NoDate => "no date",
            Fault::ResultMissing => "no result",
        };
        assert_eq!(told, expected, "{fault:?}: {answer:?}");
        let reads = home.take_reads();
        assert_eq!(reads.len(), 1, "{fault:?}");
        assert_eq!(reads[0].fault, Some(fault));
        assert_eq!((reads[0].together, reads[0].at_ms), (1, START_MS));
        assert_eq!(reads[0].range, (START_MS - 60_000, START_MS));
    }
}

#[tokio::test(start_paused = true)]
async fn traits_that_last() {
    let traits = Traits {
        no_remote_read: Some(404),
        ..Traits::default()
    };
    let answer = read(&home(3, traits, 0), START_MS - 60_000, START_MS).await;
    assert_eq!(answer.expect("an answer").status, 404);

    let traits = Traits {
        sample_limit: 10,
        ..Traits::default()
    };
    let limited = home(3, traits, 0);
    let answer = read(&limited, START_MS - 60_000, START_MS)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with(b"exceeded sample limit"));
    let answer = read(&limited, START_MS - 100, START_MS - 50)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "the limit is of one answer");

    let traits = Traits {
        outages: vec![(START_MS, START_MS + 9_000, Fault::Restarting)],
        date_off_ms: 90_000,
        ..Traits::default()
    };
    let away = home(3, traits, 0);
    let answer = read(&away, START_MS - 60_000, START_MS)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 503);
    tokio::time::sleep(Duration::from_secs(9)).await;
    let answer = read(&away, START_MS - 60_000, START_MS)
        .await
        .expect("an answer");
    let date_ms = answer.date.expect("a date") as i64 * 1_000;
    assert!(
        (98_000..102_000).contains(&(date_ms - START_MS)),
        "{date_ms}"
    );

    let traits = Traits {
        leaves_out_the_end: true,
        ..Traits::default()
    };
    let home = home(3, traits, 0);
    let newest = home.tsdb.series.iter().flat_map(HomeSeries::samples);
    let at_ms = newest
        .filter(|sample| sample.visible_ms < START_MS)
        .map(|sample| sample.timestamp_ms)
        .max()
        .expect("a sample");
    let answer = read(&home, at_ms, at_ms).await.expect("an answer");
    let response = decoded(&answer.body).expect("an answer");
    assert!(response.results[0].timeseries.is_empty(), "{response:?}");
}

#[tokio::test(start_paused = true)]
async fn a_scrape_shows_the_newest_samples_and_the_kinds_of_fault_that_it_has() {
    let get = || HomeMethod::Get {
        accept: "*/*",
        compression: true,
    };
    let url = "http://home:9090/federate?match[]=%7B__name__!=%22%22%7D&match[]=up";
    let traits = Traits {
        federate_faults: 1.0,
        kinds: vec![Fault::SampleLimit],
        ..Traits::default()
    };
    let plain = home(4, traits, 0);
    let answer = ask(&plain, url, get()).await.expect("an answer");
    assert_eq!(answer.status, 200, "a scrape has no sample limit");
    let text = String::from_utf8(answer.body).expect("text");
    let lines: HashSet<_> = text.lines().collect();
    assert_eq!(lines.len(), text.lines().count(), "no series twice: {text}");
    assert!(text.lines().count() > 3, "{text}");
    assert!(
        text.lines().all(|line| line.contains("instance=\"")),
        "{text}"
    );
    assert_eq!(plain.take_scrapes(), [START_MS]);
    assert_eq!(plain.take_reads().len(), 0);

    let answer = ask(&plain, "http://home:9090/api/v1/metadata", get()).await;
    assert_eq!(answer.expect("an answer").status, 404);
}
