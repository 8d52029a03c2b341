//! The home Prometheus: series that come and go, faults of its answers, and an exact memory of what each scrape was shown.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::net::{NetError, Peer, Phase, redacted};
use amp_forwarder::scrape::fetch::{Answer, Body, Home, Request};
use amp_forwarder::series::text::STALE_NAN;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use crate::events::Event;
use crate::series::{Series, TargetLabels, final_labels};
use crate::world::{Key, SimClock, World, identity, lock};
use amp_forwarder::time::Clock as _;

/// Names and number of the series that report on a scrape.
pub(crate) const OWN: [&str; 5] =
    ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added"];

/// How far ahead of the forwarder's clock a sample may be.
const MAX_AHEAD_MS: i64 = 600_000;

/// What a home is like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    pub(crate) series: usize,
    /// How likely a scrape meets a fault.
    pub(crate) faults: f64,
    /// Two replicas behind one address, the second so much behind.
    pub(crate) lag_ms: Option<i64>,
    pub(crate) clock_off_ms: i64,
    /// How likely a series is shown twice.
    pub(crate) twice: f64,
    /// All targets show the same series.
    pub(crate) shared: bool,
    /// Labels stand in another order each time.
    pub(crate) other_order: bool,
    /// Some series are ahead of time, or have no timestamps.
    pub(crate) odd_times: bool,
    /// Whole minutes (since the start) in which nothing answers.
    pub(crate) away: Vec<(i64, i64)>,
}

/// One address.
pub(crate) struct Target {
    pub(crate) job: String,
    pub(crate) instance: String,
    pub(crate) labels: TargetLabels,
    pub(crate) honor_timestamps: bool,
    pub(crate) sample_limit: u64,
    pub(crate) body_limit: u64,
}

impl Target {
    /// Whether these lines and so many more fail the scrape.
    fn is_over_limit(&self, lines: &[Line], more: usize) -> bool {
        let limited = lines.iter().filter(|line| line.limited).count() + more;
        self.sample_limit > 0 && limited as u64 > self.sample_limit
    }
}

/// A sample that was shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) key: Key,
    pub(crate) timestamp_ms: i64,
    pub(crate) bits: u64,
    /// Further ahead than Prometheus takes.
    pub(crate) too_far_ahead: bool,
    /// It has no timestamp of its own: when the series is gone, it gets a stale marker.
    pub(crate) tracked: bool,
    /// `sample_limit` counts it: a repeated series without a timestamp is dropped before.
    limited: bool,
}

/// One scrape, as the home saw it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) target: usize,
    pub(crate) start_ms: i64,
    /// By the forwarder's clock, as `start_ms`.
    pub(crate) ended_ms: i64,
    /// The samples that the forwarder has read.
    pub(crate) lines: Vec<Line>,
    /// Whether `lines` is exactly that; of a failed gzip body nobody knows.
    pub(crate) exact: bool,
    /// Series without timestamps of their own, those that may not have been read included.
    pub(crate) tracked: HashSet<Key>,
    /// The whole exposition was given, and nothing is wrong with it.
    pub(crate) whole: bool,
    /// None of the home's faults or limits was met: it must succeed.
    pub(crate) faultless: bool,
}

struct State {
    rng: Rng,
    series: Vec<Series>,
    shown: Vec<Shown>,
    expositions: u64,
    /// By target: the series that it ever showed without a timestamp.
    tracked: Vec<HashSet<Key>>,
    /// What stood in scrapes that were dropped.
    dropped: HashSet<(Key, i64)>,
}

/// The model.
pub(crate) struct HomeModel {
    world: Arc<World>,
    traits: Traits,
    external: BTreeMap<String, String>,
    pub(crate) targets: Vec<Target>,
    state: Mutex<State>,
    /// A planted bug: a cut body looks like a whole one.
    pub(crate) hides_cuts: bool,
    /// Another: what stood in a scrape that was dropped counts as sent.
    pub(crate) hides_dropped: bool,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Refused,
    Silent,
    Hangs,
    Status,
    Slow,
    Stalls,
    Cut,
    Truncated,
    Malformed,
    LabelTwice,
    WrongType,
    Empty,
}

const FAULTS: &[(Fault, Event)] = &[
    (Fault::Refused, Event::HomeRefused),
    (Fault::Silent, Event::HomeSilent),
    (Fault::Hangs, Event::HomeHangs),
    (Fault::Status, Event::HomeStatus),
    (Fault::Slow, Event::HomeSlow),
    (Fault::Stalls, Event::HomeStalls),
    (Fault::Cut, Event::HomeCut),
    (Fault::Truncated, Event::HomeTruncated),
    (Fault::Malformed, Event::HomeMalformed),
    (Fault::LabelTwice, Event::HomeLabelTwice),
    (Fault::WrongType, Event::HomeWrongType),
    (Fault::Empty, Event::HomeEmpty),
];

const MALFORMED: &[&str] =
    &["foo{ 3\n", "foo one\n", "foo 1 2 3\n", "foo 1e400\n", "foo{a=\"b\" 1\n", "{a=\"1\"} 1\n", "foo 1 -5\n", "# TYPE foo unknown\n"];

impl HomeModel {
    pub(crate) fn new(world: Arc<World>, traits: Traits, external: BTreeMap<String, String>, targets: Vec<Target>, mut rng: Rng) -> Self {
        let mut series: Vec<_> = (0..traits.series as u64).map(|id| Series::draw(&mut rng, id, targets.len(), traits.shared)).collect();
        if traits.odd_times {
            for series in &mut series {
                match rng.u32(0..6) {
                    0 => series.has_timestamp = false,
                    1 => series.ahead_ms = rng.i64(0..MAX_AHEAD_MS * 2),
                    _ => {}
                }
            }
        }
        let state = State { rng, series, shown: Vec::new(), expositions: 0, tracked: Vec::new(), dropped: HashSet::new() };
        Self { world, traits, external, targets, state: Mutex::new(state), hides_cuts: false, hides_dropped: false }
    }

    /// The scrapes since the last call, in the order in which they ended.
    pub(crate) fn take_shown(&self) -> Vec<Shown> {
        std::mem::take(&mut lock(&self.state).shown)
    }

    /// The key of a series that the forwarder makes of a scrape of a target.
    pub(crate) fn own_key(&self, target: usize, name: &str) -> Key {
        let target = &self.targets[target].labels;
        let labels = TargetLabels { labels: target.labels.clone(), honor: true };
        let labels = final_labels([("__name__", name)].into_iter(), &labels, &self.external);
        self.world.key(&identity(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }

    fn place(&self, url: &Url) -> usize {
        let instance = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or_default());
        self.targets.iter().position(|target| target.instance == instance).expect("only known targets are scraped")
    }

    fn draw_fault(&self, rng: &mut Rng, now_ms: i64) -> Fault {
        let minute = now_ms / 60_000;
        if self.traits.away.iter().any(|(from, to)| (*from..*to).contains(&minute)) {
            return [Fault::Refused, Fault::Silent][rng.usize(0..2)];
        }
        if rng.f64() >= self.traits.faults {
            return Fault::None;
        }
        FAULTS[rng.usize(0..FAULTS.len())].0
    }

    /// The exposition at this moment.
    fn exposition(&self, at: usize, start_ms: i64) -> (Vec<Line>, Vec<String>) {
        let target = &self.targets[at];
        let mut state = lock(&self.state);
        let State { rng, series, dropped, .. } = &mut *state;
        let mut now_ms = self.world.now_ms() + self.traits.clock_off_ms;
        if self.traits.clock_off_ms != 0 {
            self.world.hit(Event::HomeClockOff);
        }
        if let Some(lag_ms) = self.traits.lag_ms.filter(|_| rng.bool()) {
            now_ms -= lag_ms;
            self.world.hit(Event::HomeGoesBack);
        }
        let (mut lines, mut texts) = (Vec::new(), Vec::new());
        for series in series.iter_mut().filter(|series| series.targets[at]) {
            if self.traits.shared && series.targets.len() > 1 {
                self.world.hit(Event::HomeSharedSeries);
            }
            if series.is_over(now_ms) {
                self.world.hit(Event::HomeSeriesEnds);
            }
            let Some(newest) = series.newest(now_ms) else { continue };
            let key = series.key(&self.world, at, &target.labels, &self.external);
            let honored = series.has_timestamp && target.honor_timestamps;
            if !honored {
                self.world.hit(Event::HomeNoTimestamp);
                self.world.clocked(key);
            }
            let rotated = if self.traits.other_order { rng.usize(0..8) } else { 0 };
            if rotated > 0 {
                self.world.hit(Event::HomeOtherOrder);
            }
            let mut again = false;
            let mut show = |timestamp_ms: i64, value: f64| {
                let taken = if honored { timestamp_ms } else { start_ms };
                let too_far_ahead = taken > start_ms + MAX_AHEAD_MS;
                if too_far_ahead {
                    self.world.hit(Event::HomeTooFarAhead);
                }
                let limited = honored || !std::mem::replace(&mut again, true);
                // gogoproto leaves a zero out, whatever its sign.
                let bits = if value == 0.0 { 0 } else { value.to_bits() };
                lines.push(Line { key, timestamp_ms: taken, bits, too_far_ahead, tracked: !honored, limited });
                texts.push(series.line(value, series.has_timestamp.then_some(timestamp_ms), rotated));
            };
            let at_time = |timestamp_ms: i64| series.value(if honored { timestamp_ms } else { start_ms });
            if self.world.exposed(key, newest).is_some() {
                self.world.hit(Event::HomeUnchanged);
            }
            if rng.f64() < self.traits.twice {
                self.world.hit(Event::HomeSeriesTwice);
                match rng.u32(0..3) {
                    0 => {
                        show(newest - 7, at_time(newest - 7));
                        show(newest, at_time(newest));
                    }
                    1 => {
                        show(newest, at_time(newest));
                        show(newest - 7, at_time(newest - 7));
                    }
                    _ => {
                        self.world.hit(Event::HomeSameTimeTwice);
                        show(newest, at_time(newest));
                        show(newest, 4242.0);
                    }
                }
            } else {
                show(newest, at_time(newest));
            }
        }
        if self.hides_dropped {
            for (_, text) in lines.iter().zip(&mut texts).filter(|(line, _)| dropped.contains(&(line.key, line.timestamp_ms))) {
                text.clear();
            }
        }
        (lines, texts)
    }

    fn error(&self, url: &Url, phase: Phase, cause: &str) -> NetError {
        NetError {
            phase,
            peer: Peer::Home,
            address: redacted(url),
            cause: cause.to_owned(),
            timed_out: false,
            unreachable: false,
            stale_connection: false,
            hint: None,
        }
    }

    /// The scrape is over: what it may have committed is known from now on.
    fn ended(&self, open: &Open) {
        let target = &self.targets[open.target];
        let over_limit = open.over_sample_limit || target.is_over_limit(&open.lines, 0);
        if over_limit && open.at_end {
            self.world.hit(Event::SampleLimit);
        }
        if open.over_body_limit {
            self.world.hit(Event::BodyLimit);
        }
        let whole = open.at_end && !over_limit && !open.must_fail;
        if open.at_end && open.must_fail {
            self.world.found("malformed", format!("an exposition of {} was read to its end though it is malformed", target.instance));
        }
        let mut state = lock(&self.state);
        let exposition = state.expositions;
        state.expositions += 1;
        let mut lines = open.lines.clone();
        lines.truncate(open.read);
        if whole {
            for line in lines.iter().filter(|line| !line.too_far_ahead) {
                self.world.expose(line.key, line.timestamp_ms, Some(line.bits), exposition);
            }
        }
        let tracked: HashSet<_> = lines.iter().filter(|line| line.tracked).map(|line| line.key).collect();
        state.tracked.resize_with(self.targets.len(), HashSet::new);
        for &key in state.tracked[open.target].iter().filter(|key| !whole || !tracked.contains(key)) {
            self.world.expose_own(key, open.start_ms, Some(STALE_NAN), exposition);
        }
        // Of a scrape that failed the forwarder may have read more than is known.
        let shown = open.lines.iter().filter(|line| line.tracked).map(|line| line.key).collect::<HashSet<_>>();
        state.tracked[open.target].extend(&shown);
        if !whole && self.hides_dropped {
            state.dropped.extend(lines.iter().map(|line| (line.key, line.timestamp_ms)));
        }
        for name in OWN {
            let bits = (name == "up").then(|| f64::from(u8::from(whole)).to_bits());
            self.world.expose_own(self.own_key(open.target, name), open.start_ms, bits, exposition);
        }
        self.world.tell(|| {
            let (fault, lines) = (open.fault, lines.len());
            format!("home: scrape {exposition} of {} from {}: {fault:?}, {lines} lines, whole {whole}", target.instance, open.start_ms)
        });
        state.shown.push(Shown {
            target: open.target,
            start_ms: open.start_ms,
            ended_ms: SimClock(Arc::clone(&self.world)).now_ms(),
            lines,
            exact: open.exact || whole,
            tracked: shown,
            whole,
            faultless: open.faultless && !over_limit && !open.over_body_limit,
        });
    }
}

/// A scrape that has not ended.
struct Open {
    home: Arc<HomeModel>,
    target: usize,
    start_ms: i64,
    fault: Fault,
    lines: Vec<Line>,
    read: usize,
    exact: bool,
    at_end: bool,
    must_fail: bool,
    over_body_limit: bool,
    /// By a line that is not among `lines`.
    over_sample_limit: bool,
    faultless: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let home = Arc::clone(&self.home);
        home.ended(self);
    }
}

/// The forwarder's side of it.
pub(crate) struct HomeHandle(pub(crate) Arc<HomeModel>);

impl Home for HomeHandle {
    fn get<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Answer, NetError>> {
        Box::pin(async move {
            let home = &self.0;
            let until = Instant::now() + request.timeout;
            let at = home.place(request.url);
            let start_ms = SimClock(Arc::clone(&home.world)).now_ms();
            let fault = home.draw_fault(&mut lock(&home.state).rng, home.world.now_ms());
            if let Some((_, event)) = FAULTS.iter().find(|(known, _)| *known == fault) {
                home.world.hit(*event);
            }
            let mut open = Open {
                home: Arc::clone(home),
                target: at,
                start_ms,
                fault,
                lines: Vec::new(),
                read: 0,
                exact: true,
                at_end: false,
                must_fail: false,
                over_body_limit: false,
                over_sample_limit: false,
                faultless: matches!(fault, Fault::None | Fault::Slow | Fault::Truncated | Fault::Empty) && request.timeout >= Duration::from_secs(1),
            };
            let latency = Duration::from_millis(lock(&home.state).rng.u64(0..50));
            let timed_out = |phase| NetError::timed_out(phase, Peer::Home, request.url);
            if timeout_at(until, sleep(latency)).await.is_err() {
                return Err(timed_out(Phase::Connect));
            }
            match fault {
                Fault::Refused => return Err(home.error(request.url, Phase::Connect, "connection refused")),
                Fault::Silent => {
                    tokio::time::sleep_until(until).await;
                    return Err(timed_out(Phase::Http));
                }
                Fault::Hangs => std::future::pending().await,
                _ => {}
            }
            let mut rng = lock(&home.state).rng.fork();
            let mut headers = HeaderMap::new();
            let status = if fault == Fault::Status { [204, 400, 404, 500, 503][rng.usize(0..5)] } else { 200 };
            let content_type = if fault == Fault::WrongType { "text/html" } else { "text/plain; version=0.0.4; charset=utf-8" };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));

            let (lines, mut texts) = home.exposition(at, start_ms);
            open.lines = lines;
            // How many samples stand before what is wrong.
            let mut good = open.lines.len();
            match fault {
                Fault::Malformed | Fault::LabelTwice => {
                    good = rng.usize(0..=good);
                    let wrong = if fault == Fault::Malformed { MALFORMED[rng.usize(0..MALFORMED.len())] } else { "foo{a=\"1\",a=\"2\"} 1\n" };
                    texts.insert(good, wrong.to_owned());
                    // Labels are looked at when the sample is stored, and beyond the limit none is (scrape/target.go limitAppender).
                    open.over_sample_limit = fault == Fault::LabelTwice && home.targets[at].is_over_limit(&open.lines[..good], 1);
                    open.must_fail = !open.over_sample_limit;
                    open.exact = !open.over_sample_limit;
                }
                Fault::Truncated => {
                    good = rng.usize(0..=good);
                    texts.truncate(good);
                    open.lines.truncate(good);
                }
                Fault::Empty => {
                    texts.clear();
                    open.lines.clear();
                    good = 0;
                }
                Fault::WrongType => {
                    good = 0;
                    open.must_fail = !texts.is_empty();
                    open.faultless = !open.must_fail;
                }
                _ => {}
            }
            let ends: Vec<usize> = texts
                .iter()
                .scan(0, |end, text| {
                    *end += text.len();
                    Some(*end)
                })
                .collect();
            let plain = texts.concat().into_bytes();
            let body_limit = home.targets[at].body_limit;
            let gzip = request.compression && rng.bool();
            let mut bytes = plain.clone();
            if gzip {
                home.world.hit(Event::HomeGzip);
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&plain).expect("a Vec takes it");
                bytes = encoder.finish().expect("a Vec takes it");
                open.exact = false;
                open.over_body_limit = body_limit > 0 && plain.len() as u64 >= body_limit;
            }
            if matches!(fault, Fault::Cut | Fault::Stalls) {
                // Even after the last byte: it is the connection that says so.
                bytes.truncate(rng.usize(0..=bytes.len()));
            }
            let pieces = if rng.bool() { 1 } else { rng.usize(1..=12) };
            if pieces > 1 {
                home.world.hit(Event::HomeOddChunks);
            }
            let mut cuts: Vec<usize> = (1..pieces).map(|_| rng.usize(0..=bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let bytes = Bytes::from(bytes);
            let chunks: Vec<Bytes> = cuts.windows(2).map(|pair| bytes.slice(pair[0]..pair[1])).collect();
            let pause = match fault {
                Fault::Slow => request.timeout.mul_f64(0.3 + 0.5 * rng.f64()) / chunks.len() as u32,
                _ => Duration::from_millis(rng.u64(0..5)),
            };
            let url = request.url.clone();
            let body = SimBody {
                open,
                url,
                until,
                fault,
                chunks: chunks.into(),
                pause,
                given: 0,
                ends,
                good,
                gzip,
                body_limit,
                hides_cuts: home.hides_cuts,
            };
            Ok(Answer { status, headers, body: Box::new(body) })
        })
    }
}

struct SimBody {
    open: Open,
    url: Url,
    until: Instant,
    fault: Fault,
    chunks: std::collections::VecDeque<Bytes>,
    pause: Duration,
    given: usize,
    /// Where each line of the plain body ends.
    ends: Vec<usize>,
    good: usize,
    gzip: bool,
    body_limit: u64,
    hides_cuts: bool,
}

impl Body for SimBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async move {
            let timed_out = |url| NetError::timed_out(Phase::Body, Peer::Home, url);
            let Some(chunk) = self.chunks.pop_front() else {
                return match self.fault {
                    Fault::Cut if self.hides_cuts => Ok(None),
                    Fault::Cut => Err(self.open.home.error(&self.url, Phase::Body, "connection reset")),
                    Fault::Stalls => {
                        tokio::time::sleep_until(self.until).await;
                        Err(timed_out(&self.url))
                    }
                    _ => {
                        self.open.at_end = true;
                        self.open.read = self.good;
                        Ok(None)
                    }
                };
            };
            if timeout_at(self.until, sleep(self.pause)).await.is_err() {
                return Err(timed_out(&self.url));
            }
            self.given += chunk.len();
            if !self.gzip {
                // At the limit is too much, and what came with it is not looked at.
                if self.body_limit > 0 && self.given as u64 >= self.body_limit && !chunk.is_empty() {
                    self.open.over_body_limit = true;
                } else if !self.open.over_body_limit {
                    self.open.read = self.ends.iter().take(self.good).filter(|end| **end <= self.given).count();
                }
            }
            Ok(Some(chunk))
        })
    }
}
