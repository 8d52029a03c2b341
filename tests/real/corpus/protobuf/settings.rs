//! Expositions under the settings of a job.

use amp_forwarder_support::families::{Family, Metric, MetricType, delimited, family};

use super::makers::{
    both, classic, custom, gauge, histograms, native, native_float, of, untyped, wide,
};
use super::{Exposition, exposition};

#[allow(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn expositions(now: i64) -> Vec<Exposition> {
    let mut all = Vec::new();
    let mut under = |name: &str, job: &'static str, families: Vec<Family>| {
        all.push(exposition(name, job, delimited(&families), None));
    };
    under(
        "both forms on request",
        "always_scrape_classic_histograms: true",
        vec![histograms("h", vec![both(), both()])],
    );
    under(
        "both forms on request, mixed",
        "always_scrape_classic_histograms: true",
        vec![histograms("h", vec![both(), classic(), native(), both()])],
    );
    under(
        "both forms on request, classic first",
        "always_scrape_classic_histograms: true",
        vec![histograms("h", vec![classic(), both(), both(), native()])],
    );
    under(
        "honor_timestamps",
        "honor_timestamps: false",
        vec![family(
            "h",
            MetricType::Histogram,
            vec![Metric {
                timestamp_ms: Some(now - 60_000),
                ..of(native())
            }],
        )],
    );
    under(
        "honor_labels",
        "honor_labels: true",
        vec![family(
            "foo",
            MetricType::Untyped,
            vec![untyped(&[("job", "x"), ("instance", "")], 1.0, now)],
        )],
    );
    under(
        "sample_limit",
        "sample_limit: 3",
        vec![histograms(
            "h",
            vec![native(), native(), native(), native_float()],
        )],
    );
    under(
        "sample_limit, just so",
        "sample_limit: 3",
        vec![histograms("h", vec![native(), native(), native_float()])],
    );
    under(
        "sample_limit of classic buckets",
        "sample_limit: 5",
        vec![histograms("h", vec![classic()])],
    );
    under(
        "body_size_limit",
        "body_size_limit: 40B",
        vec![histograms("h", vec![native(), native(), native_float()])],
    );
    for (limit, job) in [
        (3, "native_histogram_bucket_limit: 3"),
        (4, "native_histogram_bucket_limit: 4"),
        (40, "native_histogram_bucket_limit: 40"),
    ] {
        under(
            &format!("bucket limit {limit}"),
            job,
            vec![histograms(
                "h",
                vec![native(), native_float(), wide(100, 3)],
            )],
        );
    }
    under(
        "bucket limit that no resolution reaches",
        "native_histogram_bucket_limit: 1",
        vec![
            family("a", MetricType::Gauge, vec![gauge(1.0)]),
            histograms("h", vec![native(), native_float()]),
            family("z", MetricType::Gauge, vec![gauge(1.0)]),
        ],
    );
    under(
        "bucket limit of custom buckets",
        "native_histogram_bucket_limit: 1",
        vec![histograms("h", vec![custom(2)])],
    );
    under(
        "bucket limit and sample limit",
        "native_histogram_bucket_limit: 1\n  sample_limit: 2",
        vec![histograms(
            "h",
            vec![native(), native_float(), native(), native()],
        )],
    );
    for (factor, job) in [
        (1.05, "native_histogram_min_bucket_factor: 1.05"),
        (1.1, "native_histogram_min_bucket_factor: 1.1"),
        (2.0, "native_histogram_min_bucket_factor: 2"),
        (70_000.0, "native_histogram_min_bucket_factor: 70000"),
        (-1.0, "native_histogram_min_bucket_factor: -1"),
    ] {
        under(
            &format!("bucket factor {factor}"),
            job,
            vec![histograms(
                "h",
                vec![
                    wide(100, 8),
                    wide(100, 4),
                    wide(7, 3),
                    native(),
                    wide(9, -4),
                ],
            )],
        );
    }
    under(
        "bucket factor and limit",
        "native_histogram_min_bucket_factor: 1.1\n  native_histogram_bucket_limit: 5",
        vec![histograms("h", vec![wide(100, 8), wide(100, 2)])],
    );

    all
}
