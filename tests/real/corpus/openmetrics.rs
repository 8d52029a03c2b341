//! OpenMetrics expositions with and without `# EOF`. `<now-60000>e-3` is replaced by a time in
//! seconds.

use super::cases::Group;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The reason why old samples differ.
pub(super) const TOO_OLD: &str =
    "the TSDB takes nothing from before its head; here sample_age_limit and the receiver decide";

const GROUP: Group = Group {
    name: "",
    job: "",
    labels: "",
    content_type: Some(OPEN_METRICS),
    bodies: &[],
    differs: None,
};

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "OpenMetrics ends",
        bodies: &[
            b"",
            b"# EOF",
            b"# EOF\n",
            b"# EOF\n\n",
            b"# EOF\r\n",
            b"# EOF ",
            b"# EOFx",
            b"# EO",
            b"#EOF\n",
            b"#  EOF\n",
            b"foo 1\n",
            b"foo 1",
            b"foo 1\n# EOF",
            b"foo 1\n# EOF\n",
            b"foo 1\n# EOF\nbar 2\n",
            b"foo 1# EOF",
            b"\n# EOF\n",
            b"foo 1\n\n# EOF\n",
            b"  \n# EOF\n",
            b"\0# EOF\n",
            b"foo 1\n\0\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics 0.0.1",
        content_type: Some("application/openmetrics-text; version=0.0.1"),
        bodies: &[b"foo 1 <now-60000>e-3\n# EOF\n", b"foo 1\n"],
        ..GROUP
    },
    Group {
        name: "OpenMetrics lines",
        bodies: &[
            b"foo  1\n# EOF\n",
            b"foo\t1\n# EOF\n",
            b"foo 1 \n# EOF\n",
            b"foo 1\r\n# EOF\n",
            b" foo 1\n# EOF\n",
            b"foo\n# EOF\n",
            b"foo{} 1\nbar{a=\"b\"} 2\n# EOF\n",
            b"foo{a=\"b\"}2\n# EOF\n",
            b"foo {a=\"b\"} 2\n# EOF\n",
            b"foo-1\n# EOF\n",
            b"# a comment\nfoo 1\n# EOF\n",
            b"#\nfoo 1\n# EOF\n",
            b"\xef\xbb\xbffoo 1\n# EOF\n",
            b"foo\xff 1\n# EOF\n",
            b"foo 1\xff\n# EOF\n",
            b"1foo 1\n# EOF\n",
            b":foo:bar 1\n# EOF\n",
            b"foo 1\nfoo 2\n# EOF\n",
            b"foo{a=\"1\",b=\"2\"} 1\nfoo{b=\"2\",a=\"1\"} 2\n# EOF\n",
            b"a 1\nb 2\nbroken\nc 3\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics values",
        bodies: &[
            b"a 1\nb -1.5e3\nc +2\nd .5\ne 5.\n# EOF\n",
            b"a NaN\nb nan\nc Inf\nd +Inf\ne -inf\nf infinity\n# EOF\n",
            b"a -NaN\n# EOF\n",
            b"a 0x10\n# EOF\n",
            b"a 1_0\n# EOF\n",
            b"a 1e400\n# EOF\n",
            b"a -0\nb 0\n# EOF\n",
            b"a x\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics timestamps",
        bodies: &[
            b"a 1 <now-60000>e-3\nb 1 <now-60001>e-3\nc 1 <now-1>e-3\n# EOF\n",
            b"a 1 <now+540000>e-3\nb 1 <now+660000>e-3\n# EOF\n",
            b"a 1 <now-60000>e-3\na 2 <now-50000>e-3\na 3 <now-55000>e-3\n# EOF\n",
            b"a 1 NaN\n# EOF\n",
            b"a 1 Inf\n# EOF\n",
            b"a 1 x\n# EOF\n",
            b"a 1 1e300\nb 2\n# EOF\n",
            b"a 1 1e400\nb 2\n# EOF\n",
            b"a 1 1 1\n# EOF\n",
            b"a 1  1\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics, long ago",
        bodies: &[b"a 1 -5\nb 2\n# EOF\n"],
        differs: Some(TOO_OLD),
        ..GROUP
    },
    Group {
        name: "OpenMetrics, honor_timestamps",
        job: "honor_timestamps: false",
        bodies: &[b"a 1 <now-60000>e-3\nb 2\n# EOF\n"],
        ..GROUP
    },
    Group {
        name: "OpenMetrics labels",
        bodies: &[
            b"foo{a=\"1\",b=\"2\",} 1\n# EOF\n",
            b"foo{a=\"1\" b=\"2\"} 1\n# EOF\n",
            b"foo{a=\"1\", b=\"2\"} 1\n# EOF\n",
            b"foo{ a=\"1\"} 1\n# EOF\n",
            b"foo{a =\"1\"} 1\n# EOF\n",
            b"foo{a= \"1\"} 1\n# EOF\n",
            b"foo{,} 1\n# EOF\n",
            b"foo{a=\"1\",,} 1\n# EOF\n",
            b"foo{a=\"x\ny\"} 1\n# EOF\n",
            b"foo{a=\"\\n\\\\\\\"\\t\"} 1\n# EOF\n",
            b"foo{a=\"b\0c\"} 1\n# EOF\n",
            b"foo{a=\"\xff\"} 1\n# EOF\n",
            b"foo{a:b=\"c\"} 1\n# EOF\n",
            b"foo{a=\"\"} 1\n# EOF\n",
            b"foo{a=\"1\",a=\"2\"} 1\n# EOF\n",
            b"foo{a='1'} 1\n# EOF\n",
            b"foo{a} 1\n# EOF\n",
            b"foo{a,} 1\n# EOF\n",
            b"{foo} 1\n# EOF\n",
            b"{foo,a=\"1\"} 1\n# EOF\n",
            b"{\"foo.bar\"} 1\n# EOF\n",
            b"{\"foo.bar\",\"a b\"=\"c\"} 1\n# EOF\n",
            b"{a=\"1\",\"foo.bar\"} 1\n# EOF\n",
            b"{a=\"1\"} 1\n# EOF\n",
            b"foo{\"bar\"} 1\n# EOF\n",
            b"{\"a\\n\\\\\"} 1\n# EOF\n",
            b"{\"\"} 1\n# EOF\n",
            b"{\"a\nb\"} 1\n# EOF\n",
            b"{\"a\0b\"} 1\n# EOF\n",
            b"{\"\xff\"} 1\n# EOF\n",
            b"foo{instance=\"x\",job=\"y\"} 1\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics metadata",
        bodies: &[
            b"# HELP foo x\\n y \n# TYPE foo gauge\n# UNIT foo \nfoo 1\n# EOF\n",
            b"# HELP foo\nfoo 1\n# EOF\n",
            b"# HELP foo \nfoo 1\n# EOF\n",
            b"# HELP  foo x\nfoo 1\n# EOF\n",
            b"# HELP foo \xff\nfoo 1\n# EOF\n",
            b"# HELP foo a\0b\nfoo 1\n# EOF\n",
            b"# HELP 1 x\nfoo 1\n# EOF\n",
            b"# HELP \"a b\" x\nfoo 1\n# EOF\n",
            b"# TYPE foo untyped\nfoo 1\n# EOF\n",
            b"# TYPE foo unknown\nfoo 1\n# EOF\n",
            b"# TYPE foo info\nfoo_info 1\n# TYPE bar stateset\nbar{bar=\"x\"} 1\n# EOF\n",
            b"# TYPE foo Counter\nfoo 1\n# EOF\n",
            b"# TYPE foo counter \nfoo 1\n# EOF\n",
            b"# UNIT foo_seconds seconds\nfoo_seconds 1\n# EOF\n",
            b"# UNIT foo_seconds second\nfoo_seconds 1\n# EOF\n",
            b"# UNIT fooseconds seconds\nfooseconds 1\n# EOF\n",
            b"# UNIT seconds seconds\nseconds 1\n# EOF\n",
            b"# TYPE foo counter\n# TYPE foo gauge\nfoo 1\n# EOF\n",
            b"#TYPE foo counter\nfoo 1\n# EOF\n",
            b"# FOO bar\nfoo 1\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics types",
        bodies: &[
            b"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2.50\"} 2\n\
              h_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 4\n# EOF\n",
            b"# TYPE h gaugehistogram\nh_bucket{le=\"1\"} 1\nh_gcount 1\nh_gsum 1\n# EOF\n",
            b"# TYPE s summary\ns{quantile=\"1\"} 1\ns_count 1\ns_sum 1\n# EOF\n",
            b"# TYPE h unknown\nh{le=\"1\"} 1\nh{quantile=\"1\"} 1\n# EOF\n",
            b"# TYPE h histogram\n# TYPE c counter\nc_total{le=\"1\"} 1\n# EOF\n",
            b"# TYPE foo counter\nfoo_total 17\nfoo_created 1520872607.123\nbar_created 1\n# EOF\n",
            b"# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n\
              h_created 1520872607.123\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics exemplars",
        bodies: &[
            b"a_total 1 # {} 1\nb_total 2 # {trace=\"x\"} 2 3\n\
              c_total 3 <now-60000>e-3 # {trace=\"x\",} 2 <now-60000>e-3\n# EOF\n",
            b"a 1 # {\"a b\"=\"c\"} 1\n# EOF\n",
            b"a 1 # {\"a\"} 1\n# EOF\n",
            b"a 1 # {a} 1\n# EOF\n",
            b"a 1 # {a=\"b\"}\n# EOF\n",
            b"a 1 # {a=\"b\"} x\n# EOF\n",
            b"a 1 # {a=\"b\"} 1 NaN\n# EOF\n",
            b"a 1 # {a=\"b\"} 1 1 1\n# EOF\n",
            b"a 1 # {a=\"\xff\"} 1\n# EOF\n",
            b"a 1 # {a=\"b\" c=\"d\"} 1\n# EOF\n",
            b"a 1 #{} 1\n# EOF\n",
            b"a 1 # foo\n# EOF\n",
            b"a 1 # {} 1\nb 1 # {a=\"x\ny\"} 1\n# EOF\n",
        ],
        ..GROUP
    },
    Group {
        name: "OpenMetrics in place of text",
        content_type: Some("text/plain; version=0.0.4"),
        bodies: &[
            b"foo 1 <now-60000>\n# EOF\n",
            b"# UNIT foo_s s\nfoo_s 1\n# EOF\nbar 1\n",
        ],
        ..GROUP
    },
    Group {
        name: "fallback to OpenMetrics",
        job: "fallback_scrape_protocol: OpenMetricsText1.0.0",
        content_type: None,
        bodies: &[b"foo 1 <now-60000>e-3\n# EOF\n", b"foo 1\n"],
        ..GROUP
    },
    Group {
        name: "fallback to text",
        job: "fallback_scrape_protocol: PrometheusText0.0.4",
        content_type: Some("text/html"),
        bodies: &[b"foo 1\n"],
        ..GROUP
    },
    Group {
        name: "fallback of what cannot be read",
        job: "fallback_scrape_protocol: PrometheusText1.0.0",
        content_type: Some(";;"),
        bodies: &[b"foo 1\n"],
        ..GROUP
    },
    Group {
        name: "no fallback where none is needed",
        job: "fallback_scrape_protocol: PrometheusText0.0.4",
        bodies: &[b"foo 1 <now-60000>e-3\n# EOF\n", b"foo 1\n"],
        ..GROUP
    },
];
