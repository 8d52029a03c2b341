//! The table of the likely cause and the next step of a network error.

use super::phase::{NetFault, Peer, Phase};

/// Returns the advice for an error, if there is any.
#[allow(clippy::too_many_lines, reason = "a table is read as one list")]
pub(super) fn hint(phase: Phase, peer: Peer, fault: NetFault) -> Option<&'static str> {
    use NetFault::{
        Certificate, ClientCertificateRefused, ClientCertificateWanted, Closed, Expired, NotHttp,
        NotYetValid, Refused, Reset, TimedOut, TlsVersion, UnknownIssuer, UnknownName, Unreachable,
        WrongName,
    };
    use Peer::{Aws, Home, Remote, Store};
    use Phase::{Body, Connect, Dns, Http, Tls};

    Some(match (phase, peer, fault) {
        (Dns, Home, TimedOut) => {
            "the name server does not answer: a VPC resolves home names only through a Route 53 \
             Resolver outbound endpoint; or use the IP address"
        }
        (Dns, Home, _) => {
            "the name is not known here: check its spelling, or use the IP address; in a VPC, home \
             names need a Route 53 Resolver rule or a private hosted zone"
        }
        (Dns, Remote, _) => {
            "check region and spelling of the host; in a VPC, enableDnsSupport and \
             enableDnsHostnames must be on and an interface endpoint needs private DNS"
        }
        (Dns, Store | Aws, _) => "check the region; in a VPC, enableDnsSupport must be on",

        (Connect, Home, TimedOut) => {
            "nothing answers: check the address and the home's firewall policy; in a VPC also the \
             subnet's route to the VPN gateway and the route back, the function's security group, \
             and that the tunnel is up"
        }
        (Connect, Home, Refused) => {
            "the host answers but nothing listens on this port: check the port (in Kubernetes the \
             NodePort), and that Prometheus runs and listens on more than localhost"
        }
        (Connect, Home, Unreachable) => {
            "no route: check the address and this machine's network; in a VPC, add the home \
             network to the subnet's route table, or switch on route propagation of the VPN gateway"
        }
        (Connect, Remote, TimedOut | Unreachable) => {
            "nothing answers: check the url and this machine's network; a function in a VPC has no \
             public IP address, even in a public subnet: add an interface endpoint for \
             aps-workspaces whose security group allows port 443 in, or a NAT gateway"
        }
        (Connect, Remote, Refused) => {
            "the host answers but nothing listens on this port: check scheme and port of the url"
        }
        (Connect, Store, TimedOut | Unreachable) => {
            "check this machine's network; in a VPC, add an S3 gateway endpoint to the subnet's \
             route table, and allow the security group out to its prefix list on port 443"
        }
        (Connect, Store, Refused) => {
            "the host answers but nothing listens on this port: check AWS_ENDPOINT_URL_S3 if it is \
             set; if it is not, find out what intercepts the way to S3"
        }
        (Connect, Aws, TimedOut | Unreachable) => {
            "check this machine's network; a function in a VPC has no public IP address: add an \
             interface endpoint for this service, or a NAT gateway"
        }

        (Tls, Home | Remote, UnknownIssuer) => {
            "its issuer is not trusted: name the authority that signed it, or a self-signed \
             certificate itself, in tls_config.ca_file (the system's own store is not read), or \
             find out whether a firewall inspects TLS"
        }
        (Tls, Store | Aws, UnknownIssuer) => {
            "its issuer is not a public authority: find out whether a firewall inspects TLS"
        }
        (Tls, Home | Remote, WrongName) => {
            "the certificate is for other names: set tls_config.server_name to one of them, or \
             make a certificate that has this name as subjectAltName"
        }
        (Tls, Home | Remote, Expired) => {
            "renew the certificate on that server; if it is still valid, this machine's clock is \
             wrong"
        }
        (Tls, Home | Remote, NotYetValid) => {
            "the certificate is not valid yet: the clock of this machine or of the one that made \
             it is wrong"
        }
        (Tls, _, WrongName | Expired | NotYetValid | Certificate) => {
            "the certificate is not trusted for this host: check the host name, the clock, and \
             whether a firewall inspects TLS"
        }
        (Tls, _, ClientCertificateWanted) => {
            "the server requires a client certificate: set cert_file and key_file in tls_config"
        }
        (Tls, _, ClientCertificateRefused) => {
            "the server does not accept our certificate: check cert_file and key_file in \
             tls_config, its expiry, and the authority that the server expects"
        }
        (Tls, _, TlsVersion) => {
            "no common version: this program speaks TLS 1.2 and 1.3, within min_version and \
             max_version of tls_config"
        }
        (Tls, _, UnknownName) => "the server knows no such host: set tls_config.server_name",
        (Tls, Home, TimedOut) => {
            "the port is open, but the TLS handshake does not end: use scheme http if the port \
             does not speak TLS; if it does, full-size packets are lost in the tunnel (MTU, MSS)"
        }
        (Tls, _, TimedOut) => {
            "the port is open, but the TLS handshake does not end: check scheme and port, and that \
             full-size packets get through (MTU)"
        }
        (Tls, Home, _) => "check that this port speaks TLS; if it does not, use scheme http",
        (Tls, _, _) => "check that this port speaks TLS and that no firewall cuts the handshake",

        (Http, Home, TimedOut) => {
            "connected, but no answer in time: raise scrape_timeout or narrow match[]; if small \
             answers pass and large ones do not, full-size packets are lost in the tunnel (MTU, \
             MSS)"
        }
        (Http, Home, Reset) => {
            "the connection was reset: a firewall or load balancer on the way drops it, or \
             Prometheus restarted"
        }
        (Http, Remote, TimedOut) => {
            "connected, but no answer in time: lower max_samples_per_send or max_shards; if small \
             requests pass and large ones do not, full-size packets are lost on the way (MTU)"
        }
        (Http, _, NotHttp) => {
            "what answers there does not speak HTTP: check host and port, and whether the scheme \
             must be https"
        }
        (Http, Home, Closed) => {
            "the connection was closed without an answer: check host and port, and whether the \
             scheme must be https; if they are right, see the log of the home Prometheus"
        }
        (Http, Remote, Closed) => {
            "the connection was closed without an answer: check host and port of the url, and \
             whether its scheme must be https"
        }
        (Body, Home, TimedOut) => {
            "the headers came but the body did not end in time: if it stalls, full-size packets \
             are lost in the tunnel, so clamp the MSS to 1350 or lower the MTU on the VPN \
             interface; if it flows, raise scrape_timeout"
        }
        (Body, Home, _) => {
            "the answer was cut: the home Prometheus or something on the way gave up; see its log"
        }

        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_classic_failure_names_its_remedy() {
        let rows = [
            (
                Phase::Connect,
                Peer::Remote,
                NetFault::TimedOut,
                "no public IP address, even in a public subnet",
            ),
            (Phase::Connect, Peer::Home, NetFault::TimedOut, "route"),
            (
                Phase::Connect,
                Peer::Home,
                NetFault::TimedOut,
                "security group",
            ),
            (
                Phase::Connect,
                Peer::Home,
                NetFault::TimedOut,
                "firewall policy",
            ),
            (Phase::Connect, Peer::Home, NetFault::Refused, "NodePort"),
            (
                Phase::Connect,
                Peer::Home,
                NetFault::Unreachable,
                "route table",
            ),
            (
                Phase::Connect,
                Peer::Store,
                NetFault::TimedOut,
                "gateway endpoint to the subnet's route table",
            ),
            (
                Phase::Connect,
                Peer::Store,
                NetFault::Refused,
                "AWS_ENDPOINT_URL_S3",
            ),
            (
                Phase::Connect,
                Peer::Aws,
                NetFault::TimedOut,
                "interface endpoint",
            ),
            (Phase::Http, Peer::Home, NetFault::NotHttp, "must be https"),
            (Phase::Http, Peer::Remote, NetFault::Closed, "of the url"),
            (Phase::Body, Peer::Home, NetFault::TimedOut, "MSS"),
            (Phase::Body, Peer::Home, NetFault::TimedOut, "MTU"),
            (Phase::Dns, Peer::Home, NetFault::Other, "Route 53 Resolver"),
            (
                Phase::Dns,
                Peer::Remote,
                NetFault::Other,
                "enableDnsSupport",
            ),
            (Phase::Tls, Peer::Store, NetFault::Certificate, "clock"),
            (
                Phase::Tls,
                Peer::Home,
                NetFault::UnknownIssuer,
                "tls_config.ca_file",
            ),
            (
                Phase::Tls,
                Peer::Home,
                NetFault::WrongName,
                "tls_config.server_name",
            ),
            (Phase::Tls, Peer::Remote, NetFault::Expired, "renew"),
            (Phase::Tls, Peer::Home, NetFault::TimedOut, "scheme http"),
            (
                Phase::Tls,
                Peer::Home,
                NetFault::ClientCertificateWanted,
                "cert_file and key_file",
            ),
            (Phase::Tls, Peer::Home, NetFault::Other, "scheme http"),
        ];
        for (phase, peer, fault, remedy) in rows {
            let text = hint(phase, peer, fault).unwrap_or_default();
            assert!(
                text.contains(remedy),
                "{phase} {peer:?} {fault:?}: {text:?} lacks {remedy:?}"
            );
        }
    }

    #[test]
    fn what_has_no_known_cause_gets_no_advice() {
        assert_eq!(hint(Phase::Http, Peer::Store, NetFault::Other), None);
    }
}
