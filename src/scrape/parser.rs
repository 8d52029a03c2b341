//! Which parser a body gets (`model/textparse/interface.go` `New`, `extractMediaType`).

use super::exposition::ExpositionError;
use super::media::media_type;
use super::openmetrics::OpenMetricsParser;
use super::protobuf::{self, ProtobufParser};
use super::text::TextParser;
use crate::config::{HistogramConfig, ScrapeProtocol};
use crate::intake::Sink;

/// A parser for one exposition.
pub(super) enum Parser {
    Text(TextParser),
    OpenMetrics(OpenMetricsParser),
    Protobuf(Box<ProtobufParser>),
}

impl Parser {
    /// By the `Content-Type` of the answer: Prometheus 3 guesses nothing.
    ///
    /// # Errors
    /// What was found, and what to do.
    pub(super) fn new(
        content_type: &str,
        fallback: Option<ScrapeProtocol>,
        histograms: HistogramConfig,
    ) -> Result<Self, String> {
        let named = media_type(content_type);
        let media_type = match (named.as_deref(), fallback) {
            (
                Some(
                    known @ ("text/plain"
                    | "application/openmetrics-text"
                    | "application/vnd.google.protobuf"),
                ),
                _,
            ) => known,
            (_, Some(fallback)) => match fallback {
                ScrapeProtocol::PrometheusProto => "application/vnd.google.protobuf",
                ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => {
                    "text/plain"
                }
                ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                    "application/openmetrics-text"
                }
            },
            (None, None) if !content_type.is_empty() => {
                return Err(format!(
                    "Content-Type \"{}\" cannot be read",
                    content_type.escape_default()
                ));
            }
            (None, None) => {
                return Err(
                    "the target sends no Content-Type, and there is no fallback_scrape_protocol: \
                     it is not taken for an exposition"
                        .to_owned(),
                );
            }
            (Some(other), None) => {
                return Err(format!(
                    "Content-Type \"{other}\" is no exposition, and there is no \
                     fallback_scrape_protocol: check address and metrics_path"
                ));
            }
        };
        Ok(match media_type {
            "application/openmetrics-text" => Self::OpenMetrics(OpenMetricsParser::default()),
            "application/vnd.google.protobuf" => {
                let histograms = protobuf::HistogramFormats {
                    native: histograms.native,
                    always_classic: histograms.always_classic,
                };
                Self::Protobuf(Box::new(ProtobufParser::new(histograms)))
            }
            _ => Self::Text(TextParser::default()),
        })
    }

    /// Whether Prometheus appends a newline to the body.
    pub(super) fn wants_newline(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// See [`TextParser::parse`].
    pub(super) fn parse<S: Sink>(
        &mut self,
        block: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<usize, ExpositionError> {
        match self {
            Self::Text(parser) => parser.parse(block, last, sink),
            Self::OpenMetrics(parser) => parser.parse(block, last, sink),
            Self::Protobuf(parser) => parser.parse(block, last, sink),
        }
    }
}
