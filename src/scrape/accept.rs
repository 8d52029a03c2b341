//! The header `Accept` of a scrape: which formats the home may answer with, best first.

use crate::config::{NameEscaping, ScrapeProtocol};

/// Writes the header `Accept` as `scrape/scrape.go` `acceptHeader` does: the best format first, and
/// anything else last.
///
/// `/federate` escapes UTF-8 names unless the client asks for `escaping=allow-utf-8`, whatever the
/// format (prometheus/common `expfmt.Negotiate`). A federation therefore asks for it with protobuf,
/// too.
#[must_use]
pub(super) fn accept(
    protocols: &[ScrapeProtocol],
    escaping: NameEscaping,
    federation: bool,
) -> String {
    let mut accept = String::new();
    // From one more than there are formats downwards: len(ScrapeProtocolsHeaders) + 1.
    let mut weight = 6;
    for protocol in protocols {
        let media_type = match protocol {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited"
            }
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        };
        let escapes = match protocol {
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0 => true,
            ScrapeProtocol::PrometheusProto => federation,
            _ => false,
        };
        accept += media_type;
        if escapes {
            accept += &format!(";escaping={}", escaping.as_str());
        }
        accept += &format!(";q=0.{weight},");
        weight -= 1;
    }
    accept + &format!("*/*;q=0.{weight}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FEDERATE_PROTOCOLS;
    use crate::config::NameEscaping::AllowUtf8;

    #[test]
    fn the_header_is_what_prometheus_sends() {
        use ScrapeProtocol::{
            OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4,
            PrometheusText1_0_0,
        };
        // As captured from Prometheus 3.5.
        let default = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                       text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(
            accept(
                &[
                    OpenMetricsText1_0_0,
                    OpenMetricsText0_0_1,
                    PrometheusText1_0_0,
                    PrometheusText0_0_4
                ],
                AllowUtf8,
                false
            ),
            default
        );
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        assert_eq!(
            accept(&[PrometheusProto], AllowUtf8, false),
            format!("{protobuf};q=0.6,*/*;q=0.5")
        );
        let federation = accept(&FEDERATE_PROTOCOLS, AllowUtf8, true);
        let text = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
        assert_eq!(
            federation,
            format!("{protobuf};escaping=allow-utf-8;q=0.6,{text}")
        );
    }
}
