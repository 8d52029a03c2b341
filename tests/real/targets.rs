//! Targets whose samples are others with each scrape.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use amp_forwarder_support::families::{
    CONTENT_TYPE, Histogram, Metric, MetricType, delimited, family, labelled, spans,
};
use amp_forwarder_support::http::{self as server, Server};
use amp_forwarder_support::now_ms;
use http::HeaderValue;

/// The media type of most pages.
const TEXT: &str = "text/plain; version=0.0.4";

/// A target that shows what `page` says for each scrape, counted from 0.
async fn target(
    content_type: &'static str,
    page: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Server {
    let rounds = AtomicU64::new(0);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(listen, move |_, _| {
        let mut answer = server::respond(200, page(rounds.fetch_add(1, Ordering::Relaxed)));
        let headers = answer.headers_mut();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        async { Ok(answer) }
    })
    .await
    .unwrap()
}

/// A target with as many series of this name.
pub(crate) async fn counting(name: &'static str, series: usize) -> Server {
    target(TEXT, move |round| {
        let line = |index| format!("{name}{{i=\"{index}\"}} {round}.{index}\n");
        (0..series).map(line).collect::<String>().into_bytes()
    })
    .await
}

/// A target whose only series has timestamps of its own: `at_ms` gives one from the present and the
/// number of the scrape.
pub(crate) async fn timed(name: &'static str, at_ms: fn(i64, u64) -> i64) -> Server {
    target(TEXT, move |round| {
        format!("{name} {round} {}\n", at_ms(now_ms(), round)).into_bytes()
    })
    .await
}

/// A target whose series come and go: each is there in three of four scrapes.
pub(crate) async fn flickering(series: u64) -> Server {
    target(TEXT, move |round| {
        let there = (0..series).filter(|index| (round + index) % 4 > 0);
        let line = |index| format!("flickers{{i=\"{index}\"}} {round}\n");
        there.map(line).collect::<String>().into_bytes()
    })
    .await
}

/// Values that a float has few others of. Remote read shows −0 as 0.
pub(crate) async fn odd_values() -> Server {
    target(TEXT, |round| {
        let value = [
            "NaN",
            "+Inf",
            "-Inf",
            "-0",
            "5e-324",
            "1.7976931348623157e308",
        ];
        let value = value[round as usize % value.len()];
        format!("odd {value}\nsteady 1\n").into_bytes()
    })
    .await
}

/// Names and labels in UTF-8.
pub(crate) async fn utf8() -> Server {
    target(TEXT, |round| {
        format!(
            "{{\"exact.dotted\",\"label ü\"=\"välue\"}} {round}\n\
             {{\"花火\",\"a.b\"=\"c.d\"}} {round}.5\nplain{{v=\"\u{1f631}\"}} {round}\n"
        )
        .into_bytes()
    })
    .await
}

/// Native histograms that grow, and get a new bucket now and then.
pub(crate) async fn histograms() -> Server {
    target(CONTENT_TYPE, |round| {
        let grown = round + 1;
        let buckets = 1 + round as usize % 4;
        let latency = Metric {
            histogram: Some(Histogram {
                sample_count: Some((2 + 3 * buckets as u64) * grown),
                sample_sum: Some(18.5 * grown as f64),
                schema: Some(1),
                zero_threshold: Some(0.001),
                zero_count: Some(2 * grown),
                positive_span: spans(&[(0, buckets as u32)]),
                positive_delta: std::iter::once(3 * grown as i64)
                    .chain(std::iter::repeat_n(0, buckets - 1))
                    .collect(),
                ..Histogram::default()
            }),
            ..labelled(&[("path", "/a")])
        };
        delimited(&[family("latency", MetricType::Histogram, vec![latency])])
    })
    .await
}
