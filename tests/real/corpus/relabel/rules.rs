//! Rules, and what they are tried on.

/// Rules, and lines that they are tried on.
pub(super) const RULES: &[(&str, &str)] = &[
    ("{target_label: new, replacement: v}", "m 1\n"),
    ("{target_label: x, replacement: ''}", "m{x=\"1\"} 1\n"),
    ("{target_label: x, replacement: }", "m{x=\"1\"} 1\n"),
    (
        "{source_labels: [x], target_label: y}",
        "m{x=\"1\",y=\"2\"} 1\nm{y=\"2\"} 1\nm{x=\"1\"} 3\n",
    ),
    (
        "{source_labels: [x, y], target_label: z}",
        "m{x=\"1\",y=\"2\"} 1\nm{y=\"2\"} 1\nm 1\n",
    ),
    (
        "{source_labels: [x, y], separator: '', target_label: z}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x, y], separator: , target_label: z}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x, y], separator: ' - ', regex: '(.*) - (.*)', target_label: z, \
         replacement: '$2 $1'}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x], regex: , target_label: y, replacement: was-empty}",
        "m{x=\"1\"} 1\nm{y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x], regex: '', target_label: y, replacement: was-empty}",
        "m{x=\"1\"} 1\nm{y=\"2\"} 1\n",
    ),
    (
        "{source_labels: [x], regex: 5, target_label: 1, replacement: 6}",
        "m{x=\"5\"} 1\n",
    ),
    (
        "{source_labels: [x], target_label: __name__}",
        "m{x=\"a b\"} 1\n",
    ),
    (
        "{source_labels: [x], target_label: __name__}",
        "m{x=\"n\"} 1\nn{x=\"n\"} 2\nm{x=\"o\"} 3\n",
    ),
    (
        "{target_label: __name__, replacement: same}",
        "m 1\nn 2\no 1\n",
    ),
    ("{target_label: __name__, replacement: ''}", "m 1\n"),
    (
        "{source_labels: [x], target_label: __name__}",
        "m{x=\"n\"} 1\nm 2\n",
    ),
    (
        "{action: Keep, source_labels: [__name__], regex: m.*}",
        "m 1\nm2 1\nn 1\n",
    ),
    (
        "{action: KEEP, source_labels: [x], regex: '1|2'}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"12\"} 1\nm 1\n",
    ),
    ("{action: keep}", "m 1\n"),
    ("{action: keep, regex: x}", "m 1\n"),
    ("{action: keep, source_labels: [nope], regex: ''}", "m 1\n"),
    (
        "{action: drop, source_labels: [__name__], regex: m.*}",
        "m 1\nm 2\nm2 1\nn 1\n",
    ),
    (
        "{action: drop, source_labels: [x, y], regex: '1;2'}",
        "m{x=\"1\",y=\"2\"} 1\nm{x=\"1\"} 1\n",
    ),
    ("{action: drop}", "m 1\nn 1\n"),
    ("{action: drop, regex: x}", "m 1\n"),
    (
        "{action: keepequal, source_labels: [x], target_label: y}",
        "m{x=\"1\",y=\"1\"} 1\nm{x=\"1\",y=\"2\"} 1\nm{x=\"1\"} 1\nn 1\n",
    ),
    (
        "{action: dropequal, source_labels: [x], target_label: y}",
        "m{x=\"1\",y=\"1\"} 1\nm{x=\"1\",y=\"2\"} 1\nm{x=\"1\"} 1\nn 1\n",
    ),
    (
        "{action: keepequal, source_labels: [x, y], target_label: z}",
        "m{x=\"1\",y=\"1\",z=\"1;1\"} 1\nm{x=\"1\",y=\"1\"} 1\n",
    ),
    (
        "{action: keepequal, target_label: x}",
        "m{x=\"1\"} 1\nm 2\n",
    ),
    (
        "{action: hashmod, source_labels: [x], modulus: 8, target_label: h}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"é\"} 1\nm 1\n",
    ),
    (
        "{action: hashmod, source_labels: [x, __name__], modulus: 18446744073709551615, \
         target_label: h}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\n",
    ),
    (
        "{action: hashmod, source_labels: [x], modulus: 0x10, target_label: 'a b', regex: \
         nope, separator: x}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: hashmod, source_labels: [x], modulus: 2, target_label: __tmp}, {action: \
         keep, source_labels: [__tmp], regex: 1}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: my_(.*)}",
        "m{my_x=\"1\",my_y=\"2\",y=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: '(x|y)', replacement: 'out_$1'}",
        "m{x=\"1\",y=\"2\",z=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x|y|z', replacement: one}",
        "m{y=\"2\",z=\"3\",x=\"1\"} 1\nm{y=\"4\"} 2\n",
    ),
    (
        "{target_label: x, replacement: last}, {action: labelmap, regex: 'x|y|z', replacement: \
         one}",
        "m{y=\"2\",z=\"3\",x=\"1\"} 1\n",
    ),
    (
        "{target_label: w, replacement: last}, {action: labelmap, regex: 'w|x|y|z', \
         replacement: one}",
        "m{y=\"2\",z=\"3\",x=\"1\"} 1\n",
    ),
    (
        "{target_label: x, replacement: a}, {target_label: x, replacement: ''}, {target_label: \
         x, replacement: b}, {action: labelmap, regex: 'x|y', replacement: one}",
        "m{y=\"2\",x=\"1\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x', replacement: __name__}",
        "m{x=\"n\"} 1\n",
    ),
    (
        "{action: labelmap, regex: '(x)|y', replacement: '$1'}",
        "m{y=\"2\"} 1\nm{x=\"1\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x)|(y', replacement: '<$1>'}",
        "m{xx=\"2\",yy=\"3\"} 1\n",
    ),
    (
        "{action: labelmap, regex: 'x)|(|y', replacement: '-'}",
        "m{axb=\"2\"} 1\n",
    ),
    (
        "{action: labelmap, regex: x, replacement: 'a b'}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: labeldrop, regex: x.*}",
        "m{x=\"1\",xy=\"2\",y=\"3\"} 1\n",
    ),
    (
        "{action: labeldrop, regex: x}",
        "m{x=\"1\"} 1\nm{x=\"2\"} 2\nm 3\nm{x=\"4\"} 3\n",
    ),
    ("{action: labeldrop, regex: __name__}", "m 1\n"),
    ("{action: labeldrop, regex: 'job|instance'}", "m 1\n"),
    (
        "{action: labelkeep, regex: '__name__|corpus_case|x'}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{action: labelkeep, regex: 'corpus_case|x'}",
        "m{x=\"1\",y=\"2\"} 1\n",
    ),
    (
        "{action: labelkeep, regex: nope}",
        "m{x=\"1\",y=\"2\"} 1\nn 2\n",
    ),
    (
        "{action: lowercase, source_labels: [x], target_label: x}",
        "m{x=\"FooÉ\"} 1\nm 2\n",
    ),
    (
        "{action: uppercase, source_labels: [x, y], target_label: z, regex: nope}",
        "m{x=\"fooé\",y=\"b\"} 1\nm{z=\"gone?\"} 2\n",
    ),
    (
        "{action: lowercase, source_labels: [nope], target_label: x}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{source_labels: [exported_job, job], target_label: j}",
        "m{job=\"own\"} 1\nm 2\n",
    ),
    (
        "{source_labels: [x], target_label: instance}, {action: labeldrop, regex: job}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: drop, source_labels: [__name__], regex: up}",
        "up 1\nm 1\n",
    ),
    (
        "{source_labels: [x], regex: (.*), target_label: y, replacement: $1$1}",
        "m{x=\"1\"} 1\n",
    ),
    (
        "{action: drop, source_labels: [x], regex: 1}",
        "m{x=\"1\",x=\"2\"} 1\nn 1\n",
    ),
    (
        "{action: labeldrop, regex: x}",
        "m{x=\"1\",x=\"2\"} 1\nn 1\n",
    ),
    (
        "{target_label: x, replacement: 3}",
        "m{x=\"1\",x=\"2\"} 1\nn 1\n",
    ),
    (
        "{source_labels: [x], target_label: y}",
        "m{x=\"\",y=\"1\"} 1\n",
    ),
    (
        "{source_labels: [a], target_label: b}, {source_labels: [b], target_label: c}, \
         {action: labeldrop, regex: 'a|b'}",
        "m{a=\"1\"} 1\nm{b=\"1\"} 2\n",
    ),
    (
        "{action: drop, source_labels: [x], regex: drop}, {source_labels: [x], target_label: y}",
        "m{x=\"drop\"} 1\nm{x=\"stay\"} 2\n",
    ),
];

/// Other keys of a job, rules for its series, and an exposition: how keys and rules act together.
pub(super) const WITH_KEYS: &[(&str, &str, &str)] = &[
    (
        "sample_limit: 2",
        "{action: drop, source_labels: [__name__], regex: n}",
        "n 1\nm 1\nn{a=\"1\"} 1\nm2 1\n",
    ),
    (
        "sample_limit: 2",
        "{action: drop, source_labels: [__name__], regex: n}",
        "n 1\nm 1\nm2 1\nm3 1\nn 1\n",
    ),
    (
        "honor_labels: true",
        "{source_labels: [job], target_label: j}",
        "m{job=\"own\"} 1\nm 2\nm{job=\"\"} 3\n",
    ),
    (
        "label_limit: 4",
        "{action: labeldrop, regex: x.*}",
        "m{x1=\"1\",x2=\"2\",x3=\"3\"} 1\n",
    ),
    (
        "label_limit: 4",
        "{target_label: new, replacement: v}",
        "m 1\n",
    ),
    (
        "label_value_length_limit: 30",
        "{source_labels: [x], target_label: y, replacement: '$1$1'}",
        "m{x=\"0123456789012345678\"} 1\n",
    ),
];

/// Rules for the target.
pub(super) const OF_TARGETS: &[&str] = &[
    "{target_label: __metrics_path__, replacement: /other}",
    "{source_labels: [__metrics_path__], target_label: path}",
    "{source_labels: [__scheme__, __scrape_interval__, __scrape_timeout__], target_label: all}",
    "{source_labels: [__address__], regex: '.*:(.*)', target_label: __address__, replacement: \
     'localhost:$1'}",
    "{target_label: instance, replacement: me}",
    "{target_label: job, replacement: other}",
    "{target_label: job, replacement: ''}",
    "{source_labels: [job], target_label: __tmp_x}, {source_labels: [__tmp_x], target_label: x}",
    "{target_label: __param_a, replacement: b}",
    "{source_labels: [__param_x, __param_z], target_label: p}",
    "{target_label: __param_x, replacement: c}",
    "{target_label: __param_x, replacement: ''}",
    "{action: labelmap, regex: '__meta_(.*)'}",
    "{action: labelmap, regex: '__(.*)__'}, {action: labeldrop, regex: address}",
    "{action: labeldrop, regex: '__meta_.*|own'}",
    "{action: keep, source_labels: [own], regex: '1'}",
    "{action: lowercase, source_labels: [own2], target_label: own2}",
    "{target_label: __scrape_timeout__, replacement: 3s}",
    "{action: hashmod, source_labels: [own], modulus: 7, target_label: shard}",
    "{target_label: __new, replacement: v}, {target_label: _new, replacement: v}",
];
