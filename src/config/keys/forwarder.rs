//! Keys of `forwarder`, the section of our own.

use super::table::Table;

pub(in crate::config) const FORWARDER: Table = Table {
    name: "forwarder",
    supported: &[&[
        "deadline_margin",
        "memory_limit",
        "max_request_bytes",
        "spool",
        "metadata",
        "remote_read",
        "metrics",
        "own_series",
    ]],
    unsupported: &[],
};

pub(in crate::config) const SPOOL: Table = Table {
    name: "forwarder.spool",
    supported: &[&[
        "url",
        "overflow_after",
        "drain_samples_per_second",
        "max_bytes",
        "segment_bytes",
        "rejected",
        "expired",
    ]],
    unsupported: &[],
};

pub(in crate::config) const ARCHIVE: Table = Table {
    name: "rejected or expired of forwarder.spool",
    supported: &[&["max_objects", "max_bytes"]],
    unsupported: &[],
};

pub(in crate::config) const METADATA: Table = Table {
    name: "forwarder.metadata",
    supported: &[&["enabled", "interval", "path"]],
    unsupported: &[],
};

pub(in crate::config) const METRICS: Table = Table {
    name: "forwarder.metrics",
    supported: &[&["enabled", "namespace", "per_site"]],
    unsupported: &[],
};

pub(in crate::config) const OWN_SERIES: Table = Table {
    name: "forwarder.own_series",
    supported: &[&["enabled", "instance"]],
    unsupported: &[],
};

pub(in crate::config) const REMOTE_READ: Table = Table {
    name: "forwarder.remote_read",
    supported: &[&[
        "mode",
        "path",
        "settle",
        "overlap",
        "resolution",
        "max_samples",
    ]],
    unsupported: &[],
};
