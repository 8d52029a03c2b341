//! Expositions under limits and schemes of names.

use super::cases::{GROUP, Group};

/// Four labels are there before any of the exposition's: `__name__`, `job`, `instance` and the
/// case's own, which is the longest (11 bytes).
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "legacy names",
        job: "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
        bodies: &[
            b"foo 1\n",
            b"foo:bar{a_1=\"1\",_=\"2\",A=\"3\"} 1\n_ 2\n:a 3\n",
            b"{\"foo\",\"a\"=\"1\"} 1\n",
            b"{\"foo.bar\"} 1\n",
            b"{\"9foo\"} 1\n",
            b"{\"\xc3\xa9\"} 1\n",
            b"{\"foo bar\"} 1\n",
            b"  foo 1\n",
            b"foo{\"a.b\"=\"1\"} 1\n",
            b"foo{\"a:b\"=\"1\"} 1\n",
            b"foo{\"9\"=\"1\"} 1\n",
            b"foo{\"\xc3\xa9\"=\"1\"} 1\n",
            b"foo{\"a.b\"=\"\"} 1\n",
            b"foo{a=\"\xc3\xa9.:\"} 1\n",
            b"foo{__name__=\"foo.bar\"} 1\n",
            b"foo{__replica__=\"a\"} 1\n",
            b"a 1\nb 2\n{\"c.d\"} 3\ne 4\n",
        ],
        ..GROUP
    },
    Group {
        name: "legacy names, values asked for",
        job: "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: values",
        bodies: &[b"foo 1\n", b"{\"foo.bar\"} 1\n"],
        ..GROUP
    },
    Group {
        name: "any names, dots asked for",
        job: "metric_name_validation_scheme: utf8\n  metric_name_escaping_scheme: dots",
        bodies: &[b"{\"foo.bar\",\"a.b\"=\"1\"} 1\n"],
        ..GROUP
    },
    Group {
        name: "label_limit",
        job: "label_limit: 5",
        bodies: &[
            b"foo 1\n",
            b"foo{a=\"1\"} 1\n",
            b"foo{a=\"1\",b=\"2\"} 1\n",
            b"foo{a=\"1\",b=\"\"} 1\n",
            b"foo{job=\"x\"} 1\n",
            b"foo{job=\"x\",instance=\"y\"} 1\n",
            b"foo{a=\"1\",a=\"2\"} 1\n",
            b"a 1\nb{x=\"1\",y=\"2\"} 2\nc 3\n",
            b"a 1\nb{x=\"1\",y=\"2\"} 2\nbroken\n",
            b"a 1 <now+960000>\nb{x=\"1\",y=\"2\"} 2 <now+960000>\n",
        ],
        ..GROUP
    },
    Group {
        name: "label_limit, honor_labels",
        job: "label_limit: 4\n  honor_labels: true",
        bodies: &[
            b"foo{job=\"x\",instance=\"y\"} 1\n",
            b"foo{job=\"\",instance=\"\",a=\"1\",b=\"2\"} 1\n",
            b"foo{a=\"1\"} 1\n",
        ],
        ..GROUP
    },
    Group {
        name: "a label_limit that no report passes",
        job: "label_limit: 1",
        bodies: &[b"", b"foo 1\n"],
        ..GROUP
    },
    Group {
        name: "label_name_length_limit",
        job: "label_name_length_limit: 11",
        bodies: &[
            b"foo{abcdefghijk=\"1\"} 1\n",
            b"foo{abcdefghijkl=\"1\"} 1\n",
            b"foo{abcdefghijkl=\"\"} 1\n",
            b"foo{\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"=\"1\"} 1\n",
            b"foo{\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"=\"1\"} 1\n",
            b"metric_names_may_be_longer 1\n",
            b"foo{instance=\"x\"} 1\n",
            b"a 1\nfoo{abcdefghijkl=\"1\"} 1\nb 2\n",
        ],
        ..GROUP
    },
    Group {
        name: "label_value_length_limit",
        job: "label_value_length_limit: 21",
        bodies: &[
            b"foo{a=\"123456789012345678901\"} 1\n",
            b"foo{a=\"1234567890123456789012\"} 1\n",
            b"foo{a=\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\
              \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"} 1\n",
            b"foo{a=\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\
              \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"} 1\n",
            b"abcdefghijklmnopqrstu 1\n",
            b"abcdefghijklmnopqrstuv 1\n",
            b"foo{a=\"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"} 1\n",
            b"a 1\nfoo{a=\"1234567890123456789012\",b=\"\"} 1\nb 2\n",
            b"# TYPE h histogram\nh_bucket{le=\"1234567890123456789012\"} 1\n",
        ],
        ..GROUP
    },
    Group {
        name: "all limits at once",
        job: "sample_limit: 2\n  label_limit: 5\n  label_name_length_limit: 11\n  \
              label_value_length_limit: 21\n  body_size_limit: 1KB\n  target_limit: 1\n  \
              keep_dropped_targets: 1",
        bodies: &[
            b"foo{a=\"1\"} 1\nbar 2\n",
            b"foo 1\nbar 2\nqux{a=\"1\",b=\"2\"} 3\n",
            b"foo 1\nbar 2\nqux 3\n",
        ],
        ..GROUP
    },
    Group {
        name: "sample_limit, timestamps tracked",
        job: "sample_limit: 2\n  track_timestamps_staleness: true",
        bodies: &[
            b"foo 1 <now-60000>\nbar 2 <now-60000>\n",
            b"foo 1 <now-60000>\nbar 2\nqux 3\n",
        ],
        ..GROUP
    },
    Group {
        name: "honor_labels, honor_timestamps not",
        job: "honor_labels: true\n  honor_timestamps: false",
        labels: "a: target",
        bodies: &[
            b"foo{a=\"x\",job=\"y\"} 1 <now-60000>\n",
            b"foo{a=\"\"} 1 <now-60000>\nfoo{a=\"\"} 2 <now-50000>\n",
            b"foo{exported_a=\"x\"} 1\n",
        ],
        ..GROUP
    },
];
