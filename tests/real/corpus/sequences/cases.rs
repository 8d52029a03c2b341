//! The sequences.

use super::Step::{Cut, Error, Html, Text};
use super::{Sequence, case};

/// `!seriesCached && sampleAdded` in `scrape/scrape.go` `append`, from 3.6 on.
const REFUSED: Option<&str> = Some(
    "Prometheus 3.5 marks series that a limit or their timestamps kept out, so that nothing \
     was ever stored of them; later ones do not, nor do we",
);

const TRACKED: &str = "track_timestamps_staleness: true";

pub(super) const SEQUENCES: &[Sequence] = &[
    case(
        "one goes",
        "",
        &[Text("foo 1\nbar 2\n"), Text("foo 1\n"), Text("foo 1\n")],
    ),
    case(
        "one goes and comes back",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\n"),
            Text("foo 1\nbar 3\n"),
            Text("foo 1\nbar 4\n"),
        ],
    ),
    case(
        "they take turns",
        "",
        &[
            Text("foo 1\n"),
            Text("bar 1\n"),
            Text("foo 2\n"),
            Text("bar 2\n"),
            Text("qux 3\n"),
        ],
    ),
    case(
        "a failure",
        "",
        &[Text("foo 1\nbar 2\n"), Error, Text("foo 1\n")],
    ),
    case(
        "failures in a row",
        "",
        &[Text("foo 1\n"), Error, Error, Text("foo 1\n"), Error],
    ),
    case(
        "a cut body",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Cut("foo 1\nbar 2\nqux 3\n"),
            Cut("foo 1\n"),
            Text("foo 1\n"),
        ],
    ),
    case(
        "a malformed line behind a series",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbad{\n"),
            Text("foo 1\nbar 2\n"),
        ],
    ),
    case(
        "a malformed line behind a series, twice",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbad{\n"),
            Text("foo 1\nbad{\n"),
            Error,
            Text("foo 1\n"),
        ],
    ),
    case(
        "a malformed line, then a failure",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbad{\n"),
            Error,
            Text("foo 1\n"),
        ],
    ),
    case(
        "a malformed line before all",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("bad{\nfoo 1\n"),
            Text("bar 2\n"),
        ],
    ),
    case(
        "a malformed line behind a new series",
        "",
        &[
            Text("foo 1\n"),
            Text("foo 1\nnew 2\nbad{\n"),
            Text("foo 1\n"),
            Text("foo 1\nnew 2\n"),
        ],
    ),
    case(
        "an empty body",
        "",
        &[Text("foo 1\nbar 2\n"), Text(""), Text("foo 1\n"), Text("")],
    ),
    case(
        "a body without series",
        "",
        &[Text("foo 1\nbar 2\n"), Text("\n"), Text("foo 1\n")],
    ),
    case(
        "a wrong content type",
        "",
        &[Text("foo 1\n"), Html("foo 1\n"), Text("foo 1\n")],
    ),
    case(
        "a wrong content type and nothing in it",
        "",
        &[Text("foo 1\n"), Html(""), Text("foo 1\n")],
    ),
    case(
        "fails from the start",
        "",
        &[Error, Error, Text("foo 1\n"), Text("")],
    ),
    case(
        "nothing but failures",
        "",
        &[Error, Cut("foo 1\n"), Text("bad{\n")],
    ),
    case(
        "own timestamps",
        "",
        &[
            Text("foo 1 <now-60000>\n"),
            Text(""),
            Text("foo 1 <now-60000>\n"),
        ],
    ),
    case(
        "own timestamps, a failure",
        "",
        &[
            Text("foo 1 <now-60000>\nbar 2\n"),
            Error,
            Text("foo 1 <now-60000>\nbar 2\n"),
        ],
    ),
    case(
        "own timestamps, repeated and newer",
        "",
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 1 <now-60000>\n"),
            Text("foo 2 <now-50000>\n"),
            Text(""),
        ],
    ),
    case(
        "own timestamps from the second scrape on",
        "",
        &[
            Text("foo 1\n"),
            Text("foo 2 <now+60000>\n"),
            Text("foo 3 <now+90000>\n"),
            Text(""),
        ],
    ),
    case(
        "older timestamps from the second scrape on",
        "",
        &[
            Text("foo 1\n"),
            Text("foo 2 <now-60000>\n"),
            Text("foo 3\n"),
        ],
    ),
    case(
        "own timestamps at first",
        "",
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 2\n"),
            Text("foo 3\n"),
            Text("bar 1\n"),
        ],
    ),
    case(
        "own timestamps for one of two",
        "",
        &[Text("foo 1 <now-60000>\nfoo 2\n"), Text("bar 1\n")],
    ),
    case(
        "timestamps tracked",
        TRACKED,
        &[
            Text("foo 1 <now-60000>\n"),
            Text("bar 2 <now-60000>\n"),
            Text("bar 2 <now-60000>\n"),
            Error,
        ],
    ),
    case(
        "timestamps tracked, newer ones",
        TRACKED,
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 2 <now-50000>\n"),
            Text(""),
            Text("foo 3 <now-40000>\n"),
        ],
    ),
    case(
        "timestamps tracked, an older one",
        TRACKED,
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 2 <now-70000>\n"),
            Text("foo 3\n"),
        ],
    ),
    case(
        "timestamps tracked, ahead",
        TRACKED,
        &[
            Text("foo 1 <now+540000>\n"),
            Text("qux 1\n"),
            Text("foo 2\n"),
        ],
    ),
    Sequence {
        differs: REFUSED,
        ..case(
            "timestamps tracked, too far ahead",
            TRACKED,
            &[Text("bar 1 <now+960000>\n"), Text("qux 1\n")],
        )
    },
    case(
        "timestamps tracked, other text of the same series",
        TRACKED,
        &[
            Text("foo{a=\"1\",b=\"2\"} 1 <now-60000>\n"),
            Text("foo{b=\"2\",a=\"1\"} 2 <now-50000>\n"),
            Text("bar 1\n"),
        ],
    ),
    Sequence {
        differs: Some(
            "a value that changes without its timestamp is taken for unchanged: values are not \
             remembered",
        ),
        ..case(
            "timestamps tracked, another value",
            TRACKED,
            &[
                Text("foo 1 <now-60000>\n"),
                Text("foo 2 <now-60000>\n"),
                Text("bar 1\n"),
            ],
        )
    },
    case(
        "timestamps not honored",
        "honor_timestamps: false",
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 1 <now-60000>\n"),
            Text("bar 1 5\n"),
        ],
    ),
    case(
        "other text of the same series",
        "",
        &[
            Text("foo{a=\"1\",b=\"2\"} 1\n"),
            Text("foo{b=\"2\",a=\"1\"} 2\n"),
            Text("foo{a=\"1\",b=\"2\"} 3\n"),
            Text("bar 1\n"),
        ],
    ),
    case(
        "both texts of the same series",
        "",
        &[
            Text("foo{a=\"1\",b=\"2\"} 1\nfoo{b=\"2\",a=\"1\"} 2\n"),
            Text("foo{b=\"2\",a=\"1\"} 2\n"),
            Text("bar 1\n"),
        ],
    ),
    case(
        "the same series twice",
        "",
        &[Text("foo 1\nfoo 2\n"), Text("foo 1\n"), Text("bar 1\n")],
    ),
    case(
        "NaN is no marker",
        "",
        &[
            Text("foo NaN\nbar NaN\n"),
            Text("foo NaN\n"),
            Text("foo NaN\nbar NaN\n"),
        ],
    ),
    case(
        "buckets",
        "",
        &[
            Text("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n"),
            Text("# TYPE h histogram\nh_bucket{le=\"1\"} 1\n"),
            Text(""),
        ],
    ),
    case(
        "escaped values",
        "",
        &[
            Text("foo{a=\"x\\\\y\\\"z\\n\",b=\"\"} 1\n{\"q.r\",\"s.t\"=\"u\"} 2\n"),
            Text("foo 1\n"),
            Error,
        ],
    ),
    case(
        "labels of the target",
        "honor_labels: false",
        &[
            Text("foo{job=\"x\",instance=\"y\"} 1\n"),
            Text("up 1\n"),
            Text(""),
        ],
    ),
    case(
        "honored labels",
        "honor_labels: true",
        &[
            Text("foo{job=\"x\",instance=\"\"} 1\n"),
            Text("foo{job=\"\"} 1\n"),
            Text(""),
        ],
    ),
    case(
        "a series named like a report",
        "honor_labels: true",
        &[Text("up 5\n"), Text("foo 1\n"), Text("up 6\n")],
    ),
    case(
        "sample_limit",
        "sample_limit: 2",
        &[
            Text("a 1\nb 2\n"),
            Text("c 3\na 1\nb 2\n"),
            Text("a 1\nb 2\n"),
            Text("a 1\n"),
        ],
    ),
    Sequence {
        differs: REFUSED,
        ..case(
            "sample_limit, a new series behind it",
            "sample_limit: 2",
            &[
                Text("a 1\nb 2\n"),
                Text("a 1\nb 2\nc 3\n"),
                Text("a 1\nb 2\n"),
            ],
        )
    },
    case(
        "sample_limit for long",
        "sample_limit: 2",
        &[
            Text("a 1\nb 2\n"),
            Text("c 1\na 1\nb 2\n"),
            Text("c 1\na 1\nb 2\n"),
            Text("a 1\nb 2\n"),
        ],
    ),
    case(
        "label_limit",
        "label_limit: 5",
        &[
            Text("a 1\nb 2\n"),
            Text("a 1\nb{x=\"1\",y=\"2\"} 2\n"),
            Text("a 1\n"),
        ],
    ),
    case(
        "label_value_length_limit",
        "label_value_length_limit: 21",
        &[
            Text("a 1\nb 2\n"),
            Text("b 2\na{x=\"1234567890123456789012\"} 2\n"),
            Text("a 1\n"),
        ],
    ),
    case(
        "legacy names",
        "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
        &[
            Text("a 1\nb 2\n"),
            Text("a 1\n{\"b.c\"} 2\n"),
            Text("b 1\n"),
        ],
    ),
    case(
        "body_size_limit",
        "body_size_limit: 20B",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbar 2\nqux 3\nabc 4\n"),
            Text("foo 1\n"),
        ],
    ),
    case(
        "target_limit kept",
        "target_limit: 1",
        &[Text("foo 1\n"), Text("")],
    ),
    case(
        "many come and go",
        "",
        &[
            Text("a 1\nb 1\nc 1\nd 1\ne 1\nf 1\n"),
            Text("b 1\nd 1\nf 1\n"),
            Text("a 1\nc 1\ne 1\n"),
            Text("f 1\ne 1\nd 1\nc 1\nb 1\na 1\n"),
            Text("c 1\n"),
        ],
    ),
];
