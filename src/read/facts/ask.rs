//! Asks a home for its facts, by the pages of its API beside `/federate`.

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::{HomeFacts, HomeFlags, HomeVersion, RuleTimings};
use crate::config::{HomeConfig, parse_duration};
use crate::home::{Home, HomeMethod, HomeRequest, Target};
use crate::net::NetError;
use crate::read::answer::date_ms;
use crate::read::source::FEDERATE_PATH;
use crate::time::millis;

/// Largest page of build information, flags or the time, in bytes.
const SMALL_PAGE: usize = 64 << 10;

/// Largest configuration in bytes.
const CONFIG_PAGE: usize = 1 << 20;

/// Largest page of rules in bytes. A stack of a thousand rules takes about one.
const RULES_PAGE: usize = 4 << 20;

/// The API of the home that a target federates from.
pub struct HomeApi<'a> {
    home: &'a dyn Home,
    target: &'a Target,
    /// Time limit of one page.
    timeout: Duration,
    /// Whether a page had no answer of the home. Then the others are not asked for.
    is_silent: Cell<bool>,
}

/// What the home's own clock says, beside the `Date` of the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeClockReading {
    /// The home's time, milliseconds since 1970.
    pub home_ms: i64,
    /// The header `Date`, milliseconds since 1970, in whole seconds.
    pub date_ms: Option<i64>,
}

impl HomeClockReading {
    /// Whether the `Date` is that of the home's own clock.
    #[must_use]
    pub fn is_own_date(&self) -> bool {
        self.date_ms.is_some() && self.foreign_date_ms().is_none()
    }

    /// How far the `Date` is ahead of the home's clock, if that is more than its resolution and a
    /// slow answer explain: then it is that of a proxy. Milliseconds.
    #[must_use]
    pub fn foreign_date_ms(&self) -> Option<i64> {
        /// A `Date` has whole seconds, and is written when the answer is ready.
        const TOLERANCE_MS: i64 = 3_000;
        let ahead_ms = self.date_ms? - self.home_ms;
        (ahead_ms.abs() > TOLERANCE_MS).then_some(ahead_ms)
    }
}

/// An answer of the API.
#[derive(Deserialize)]
struct ApiPage<T> {
    data: T,
}

#[derive(Deserialize)]
struct BuildInformation {
    version: String,
}

#[derive(Deserialize)]
struct EffectiveConfig {
    yaml: String,
}

#[derive(Deserialize)]
struct RuleGroups {
    groups: Vec<RuleGroup>,
}

/// Seconds, as numbers.
#[derive(Deserialize)]
struct RuleGroup {
    interval: f64,
    #[serde(default, rename = "evaluationTime")]
    evaluation: f64,
}

#[derive(Deserialize)]
struct FlagsPage {
    #[serde(rename = "query.lookback-delta")]
    look_back: Option<String>,
    #[serde(default, rename = "enable-feature")]
    features: String,
}

/// The result of the query `time()`: a time in seconds, and the same as text.
#[derive(Deserialize)]
struct ScalarResult {
    result: (f64, String),
}

impl<'a> HomeApi<'a> {
    /// The API beside the `/federate` of a target. Each page is given up after `timeout`.
    #[must_use]
    pub fn new(home: &'a dyn Home, target: &'a Target, timeout: Duration) -> Self {
        Self {
            home,
            target,
            timeout,
            is_silent: Cell::new(false),
        }
    }

    /// Whether a page had no answer of the home: it is away, it is starting, or it is too slow. It
    /// may say a while later what it did not say then.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.is_silent.get()
    }

    /// Asks for all facts, one after the other. Never fails.
    pub async fn facts(&self) -> HomeFacts {
        let version = self.page("/api/v1/status/buildinfo", SMALL_PAGE).await;
        let flags = self.page("/api/v1/status/flags", SMALL_PAGE).await;
        let config = self.page("/api/v1/status/config", CONFIG_PAGE).await;
        let rules = self
            .page("/api/v1/rules?exclude_alerts=true", RULES_PAGE)
            .await;
        HomeFacts {
            version: version.and_then(|page: BuildInformation| HomeVersion::parse(&page.version)),
            flags: flags.map(|page: FlagsPage| HomeFlags {
                look_back: page.look_back.as_deref().and_then(parse_duration),
                native_histograms: page
                    .features
                    .split(',')
                    .any(|feature| feature == "native-histograms"),
            }),
            config: config.and_then(|page: EffectiveConfig| HomeConfig::read(&page.yaml)),
            rules: rules.map(|page: RuleGroups| timings(&page.groups)),
        }
    }

    /// Asks for the home's time, by the query `time()`.
    pub async fn clock(&self) -> Option<HomeClockReading> {
        let url = self.url("/api/v1/query?query=time()")?;
        let (headers, bytes) = self.get(&url, SMALL_PAGE).await?;
        let page: ApiPage<ScalarResult> = serde_json::from_slice(&bytes).ok()?;
        Some(HomeClockReading {
            home_ms: millis(Duration::try_from_secs_f64(page.data.result.0).ok()?),
            date_ms: date_ms(&headers),
        })
    }

    async fn page<T: DeserializeOwned>(&self, path: &str, most: usize) -> Option<T> {
        let url = self.url(path)?;
        let (_, bytes) = self.get(&url, most).await?;
        let page: ApiPage<T> = serde_json::from_slice(&bytes).ok()?;
        Some(page.data)
    }

    /// Reads a page. `None` when it is not there, too large or too slow. A home that replays its
    /// write-ahead log answers 503 to all pages (`web/web.go` `testReady`), and a proxy says 502 or
    /// 504 in the place of a home that is away.
    async fn get(&self, url: &Url, most: usize) -> Option<(http::HeaderMap, Vec<u8>)> {
        if self.is_silent.get() {
            return None;
        }
        let request = HomeRequest {
            job: self.target.job,
            url,
            method: HomeMethod::Get {
                accept: "application/json",
                compression: false,
            },
            timeout: self.timeout,
        };
        let ask = async {
            let mut answer = self.home.send(request).await?;
            if answer.status != 200 {
                self.is_silent.set(matches!(answer.status, 502..=504));
                return Ok(None);
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.body.chunk().await? {
                if bytes.len() + chunk.len() > most {
                    return Ok(None);
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok::<_, NetError>(Some((answer.headers, bytes)))
        };
        let answer = tokio::time::timeout(self.timeout, ask).await;
        if !matches!(answer, Ok(Ok(_))) {
            self.is_silent.set(true);
        }
        answer.ok()?.ok()?
    }

    /// A page below the prefix of the home.
    fn url(&self, path_and_query: &str) -> Option<Url> {
        let mut url = self.target.url.clone().ok()?;
        let prefix = url.path().strip_suffix(FEDERATE_PATH)?.to_owned();
        let (path, query) = path_and_query
            .split_once('?')
            .map_or((path_and_query, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{prefix}{path}"));
        url.set_query(query);
        Some(url)
    }
}

fn timings(groups: &[RuleGroup]) -> RuleTimings {
    let longest = |of: fn(&RuleGroup) -> f64| {
        let durations = groups
            .iter()
            .filter_map(|group| Duration::try_from_secs_f64(of(group)).ok());
        durations.max().unwrap_or_default()
    };
    RuleTimings {
        longest_interval: longest(|group| group.interval),
        longest_evaluation: longest(|group| group.evaluation),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::home::{HomeResponse, JobId, ResponseBody};
    use crate::net::{Peer, Phase};
    use crate::series::TargetId;

    /// A home whose pages a test writes down. Other pages are 404; a page without text never ends.
    #[derive(Default)]
    struct Pages {
        pages: HashMap<&'static str, Option<String>>,
        /// Whether nothing listens.
        is_away: bool,
        /// Status of every answer, if it is not that of a page.
        status: Option<u16>,
        asked: Mutex<Vec<String>>,
    }

    struct OneChunk(Option<Bytes>, bool);

    impl ResponseBody for OneChunk {
        fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
            Box::pin(async {
                if self.1 {
                    std::future::pending::<()>().await;
                }
                Ok(self.0.take())
            })
        }
    }

    impl Home for Pages {
        fn send<'a>(
            &'a self,
            request: HomeRequest<'a>,
        ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
            Box::pin(async move {
                self.asked.lock().unwrap().push(request.url.to_string());
                if self.is_away {
                    return Err(NetError::new(
                        Phase::Connect,
                        Peer::Home,
                        "http://h:1/",
                        "connection refused",
                    ));
                }
                let page = self.pages.get(request.url.path());
                let mut headers = HeaderMap::new();
                let date = HeaderValue::from_static("Thu, 01 Jan 1970 00:02:00 GMT");
                headers.insert(http::header::DATE, date);
                let text = page.cloned().flatten().map(Bytes::from);
                Ok(HomeResponse {
                    status: self
                        .status
                        .unwrap_or(if page.is_some() { 200 } else { 404 }),
                    headers,
                    body: Box::new(OneChunk(text, page == Some(&None))),
                })
            })
        }
    }

    fn target(url: &str) -> Target {
        Target {
            id: TargetId(0),
            job: JobId(0),
            url: Ok(url.parse().unwrap()),
            labels: Vec::new(),
            scrape_timeout: Duration::from_secs(10),
            siblings: 1,
        }
    }

    async fn facts(home: &Pages) -> HomeFacts {
        let target = target("http://h:1/prom/federate?match[]=up");
        HomeApi::new(home, &target, Duration::from_secs(2))
            .facts()
            .await
    }

    /// Pages as Prometheus 3.5 shows them, cut to what matters.
    fn pages() -> HashMap<&'static str, Option<String>> {
        let yaml = "global:\\n  scrape_interval: 15s\\n  scrape_timeout: 10s\\n\
                    scrape_configs:\\n- job_name: a\\n";
        HashMap::from([
            (
                "/prom/api/v1/status/buildinfo",
                Some(r#"{"status":"success","data":{"version":"3.5.3","revision":"x"}}"#.into()),
            ),
            (
                "/prom/api/v1/status/flags",
                Some(
                    r#"{"status":"success","data":{"query.lookback-delta":"1m",
                    "enable-feature":"exemplar-storage,native-histograms"}}"#
                        .into(),
                ),
            ),
            (
                "/prom/api/v1/status/config",
                Some(format!(
                    r#"{{"status":"success","data":{{"yaml":"{yaml}"}}}}"#
                )),
            ),
            (
                "/prom/api/v1/rules",
                Some(
                    r#"{"status":"success","data":{"groups":[
                    {"name":"a","interval":60,"evaluationTime":0.5,"rules":[{"query":"up"}]},
                    {"name":"b","interval":15,"evaluationTime":2.5,"rules":[]}]}}"#
                        .into(),
                ),
            ),
        ])
    }

    #[tokio::test]
    async fn the_pages_of_a_home_are_understood() {
        let home = Pages {
            pages: pages(),
            ..Pages::default()
        };
        let facts = facts(&home).await;
        assert_eq!(facts.version.unwrap().to_string(), "3.5.3");
        let flags = HomeFlags {
            look_back: Some(Duration::from_secs(60)),
            native_histograms: true,
        };
        assert_eq!(facts.flags, Some(flags));
        let config = facts.config.unwrap();
        assert_eq!(config.longest_interval, Duration::from_secs(15));
        let rules = RuleTimings {
            longest_interval: Duration::from_secs(60),
            longest_evaluation: Duration::from_millis(2_500),
        };
        assert_eq!(facts.rules, Some(rules));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_no_failure() {
        // A proxy that passes /federate only.
        let home = Pages::default();
        assert_eq!(facts(&home).await, HomeFacts::default());
        assert_eq!(home.asked.lock().unwrap().len(), 4);
        // Nothing listens: the other pages are not even asked for.
        let home = Pages {
            is_away: true,
            ..Pages::default()
        };
        assert_eq!(facts(&home).await, HomeFacts::default());
        assert_eq!(home.asked.lock().unwrap().len(), 1);
        // It replays its write-ahead log.
        let home = Pages {
            pages: pages(),
            status: Some(503),
            ..Pages::default()
        };
        assert_eq!(facts(&home).await, HomeFacts::default());
        assert_eq!(home.asked.lock().unwrap().len(), 1);
        for (path, page) in [
            ("/prom/api/v1/status/buildinfo", Some("<html>".to_owned())),
            (
                "/prom/api/v1/status/flags",
                Some("x".repeat(SMALL_PAGE + 1)),
            ),
            ("/prom/api/v1/status/config", Some("{}".to_owned())),
            ("/prom/api/v1/rules", None),
        ] {
            let mut home = Pages {
                pages: pages(),
                ..Pages::default()
            };
            home.pages.insert(path, page);
            let facts = facts(&home).await;
            let found = [
                facts.version.is_some(),
                facts.flags.is_some(),
                facts.config.is_some(),
                facts.rules.is_some(),
            ];
            let missing = found.iter().filter(|found| !**found).count();
            assert_eq!(missing, 1, "{path}: {facts:?}");
        }
    }

    #[tokio::test]
    async fn a_page_that_is_not_there_is_an_answer() {
        for (is_away, status, is_silent) in [
            (false, None, false),
            (false, Some(403), false),
            (false, Some(500), false),
            (false, Some(502), true),
            (false, Some(503), true),
            (true, None, true),
        ] {
            let home = Pages {
                is_away,
                status,
                ..Pages::default()
            };
            let target = target("http://h:1/federate");
            let api = HomeApi::new(&home, &target, Duration::from_secs(2));
            assert_eq!(api.facts().await, HomeFacts::default());
            assert_eq!(api.is_silent(), is_silent, "{status:?}");
        }
    }

    #[tokio::test]
    async fn a_date_that_is_not_the_homes_shows() {
        for (seconds, foreign_ms) in [
            ("120.4", None),
            ("117.5", None),
            ("0.000", Some(120_000)),
            ("180.25", Some(-60_250)),
        ] {
            let text = format!(
                r#"{{"status":"success","data":{{"resultType":"scalar",
                "result":[{seconds},"{seconds}"]}}}}"#
            );
            let home = Pages {
                pages: HashMap::from([("/prom/api/v1/query", Some(text))]),
                ..Pages::default()
            };
            let target = target("http://h:1/prom/federate");
            let api = HomeApi::new(&home, &target, Duration::from_secs(2));
            let clock = api.clock().await.unwrap();
            assert_eq!(clock.foreign_date_ms(), foreign_ms, "{seconds}");
            assert_eq!(clock.is_own_date(), foreign_ms.is_none(), "{seconds}");
        }
    }
}
