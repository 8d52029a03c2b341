//! Real programs as child processes: on free ports, ready when they say so, killed with their
//! owner.

mod child;
mod moto;
mod node_exporter;
mod prometheus;
mod victoria_metrics;

pub use child::{Child, Port};
pub use moto::Moto;
pub use node_exporter::NodeExporter;
pub use prometheus::{Job, Prometheus, PrometheusOptions, V2_42, V2_53, V3_5, VERSIONS, WebConfig};
pub use victoria_metrics::VictoriaMetrics;
