//! The table of what a 401, 403, 404 or 405 means, and what to do.

use ::http::HeaderMap;

/// The properties of a request that the advice depends on, in addition to the answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenialContext {
    /// Whether the request was signed.
    pub signed: bool,
    /// Whether the request carried other credentials.
    pub authorized: bool,
    /// Whether the URL's path ends with a slash.
    pub trailing_slash: bool,
}

/// Returns the likely cause and the next step. It is found by the `x-amzn-errortype` header and by
/// the words of the body.
#[must_use]
pub fn denial_hint(
    status: u16,
    headers: &HeaderMap,
    body: &str,
    context: DenialContext,
) -> &'static str {
    if context.authorized {
        return match status {
            404 => "the receiver knows no such path: check the url",
            405 => "the url takes no POST: check its path",
            _ => {
                "the receiver does not take these credentials: check basic_auth, authorization or \
                 oauth2 of the entry"
            }
        };
    }
    if !context.signed {
        return match status {
            404 => {
                "the receiver knows no such path: check the url (Prometheus takes samples at \
                 /api/v1/write, with --web.enable-remote-write-receiver)"
            }
            405 => "the url takes no POST: check its path",
            _ => {
                "the request was not signed: AMP needs a sigv4 section, other receivers \
                 basic_auth, authorization or oauth2"
            }
        };
    }
    if context.trailing_slash {
        return "remove the slash at the end of the url: AMP answers it with 403";
    }
    match status {
        404 => "no such workspace: check the workspace id and the region in the url",
        405 => "the url takes no POST: it must end with /api/v1/remote_write",
        _ => signed_hint(headers, body),
    }
}

/// The advice for a signed request that AWS denies with 401 or 403.
fn signed_hint(headers: &HeaderMap, body: &str) -> &'static str {
    let kind = headers
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let text = format!("{kind} {body}").to_ascii_lowercase();
    let row = DENIALS
        .iter()
        .find(|row| row.words.iter().any(|word| text.contains(word)));
    row.map_or(UNKNOWN_DENIAL, |row| row.advice)
}

/// A row of the table of denials.
struct Denial {
    /// Words in the answer, in lower case. Any of them is enough.
    words: &'static [&'static str],
    advice: &'static str,
}

/// The denials that AWS words in its own way. The first row that matches counts.
const DENIALS: &[Denial] = &[
    Denial {
        words: &[
            "signature expired",
            "signature not yet current",
            "requesttimetooskewed",
            "requestexpired",
        ],
        advice: "the clocks differ by more than 5 minutes: set this machine's clock",
    },
    Denial {
        words: &[
            "expiredtoken",
            "token included in the request is expired",
            "token has expired",
        ],
        advice: "the session has expired: in Lambda the next tick gets a new one, elsewhere log in \
                 again (aws sso login)",
    },
    Denial {
        words: &[
            "scoped to a valid region",
            "scoped to correct region",
            "wrong region",
        ],
        advice: "the signature is for another region: sigv4.region must be the region in the url",
    },
    Denial {
        words: &["scoped to correct service"],
        advice: "the signature is for another service: sigv4.service_name must be aps",
    },
    Denial {
        words: &[
            "signature we calculated does not match",
            "signaturedoesnotmatch",
            "invalidsignature",
        ],
        advice: "the signature does not match: check secret_key and sigv4.region, and that no \
                 proxy changes the request",
    },
    Denial {
        words: &[
            "unrecognizedclient",
            "invalidclienttokenid",
            "token included in the request is invalid",
        ],
        advice: "AWS does not know this access key: check access_key or the profile, and that the \
                 key is active",
    },
    Denial {
        words: &["missing authentication token", "missingauthenticationtoken"],
        advice: "AMP knows no such path: the url must be \
                 https://aps-workspaces.<region>.amazonaws.com/workspaces/<id>/api/v1/remote_write",
    },
    Denial {
        words: &["vpc endpoint policy", "vpce endpoint policy"],
        advice: "the policy of the VPC endpoint forbids it: allow aps:RemoteWrite for this role \
                 there",
    },
    Denial {
        words: &[
            "service control policy",
            "permissions boundary",
            "explicit deny",
        ],
        advice: "a policy denies aps:RemoteWrite explicitly: look at service control policies, \
                 permissions boundaries and Deny statements",
    },
    Denial {
        words: &["not authorized to perform", "accessdenied"],
        advice: "allow aps:RemoteWrite on arn:aws:aps:<region>:<account>:workspace/<id> for this \
                 role",
    },
];

/// The advice for a denial in other words.
const UNKNOWN_DENIAL: &str = "check that the role may call aps:RemoteWrite on this workspace, that \
                              sigv4.region is the region in the url, and that the url ends with \
                              /api/v1/remote_write";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_denial_names_its_remedy() {
        let rows = [
            (
                403,
                "",
                "User: arn:aws:sts::1:assumed-role/f/f is not authorized to perform: \
                 aps:RemoteWrite on resource: x because no identity-based policy allows the \
                 aps:RemoteWrite action",
                "allow aps:RemoteWrite",
            ),
            (403, "AccessDeniedException", "", "allow aps:RemoteWrite"),
            (
                403,
                "",
                "not authorized to perform: aps:RemoteWrite with an explicit deny in a VPC \
                 endpoint policy",
                "VPC endpoint",
            ),
            (
                403,
                "",
                "not authorized to perform: aps:RemoteWrite with an explicit deny in a service \
                 control policy",
                "service control",
            ),
            (
                403,
                "",
                "{\"message\":\"The request signature we calculated does not match the signature \
                 you provided.\"}",
                "secret_key",
            ),
            (
                403,
                "InvalidSignatureException",
                "Signature expired: 20261122T120000Z is now earlier than 20261122T121000Z",
                "clock",
            ),
            (
                403,
                "InvalidSignatureException",
                "Signature not yet current: 20261122T120000Z",
                "clock",
            ),
            (403, "ExpiredTokenException", "", "session has expired"),
            (
                403,
                "",
                "{\"message\":\"The security token included in the request is expired\"}",
                "session has expired",
            ),
            (
                403,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
                "access key",
            ),
            (
                403,
                "",
                "{\"message\":\"Credential should be scoped to a valid region. \"}",
                "sigv4.region",
            ),
            (
                403,
                "",
                "{\"message\":\"Credential should be scoped to correct service: 'aps'. \"}",
                "service_name",
            ),
            (
                403,
                "",
                "{\"message\":\"Missing Authentication Token\"}",
                "/workspaces/<id>/api/v1/remote_write",
            ),
            (403, "", "", "aps:RemoteWrite on this workspace"),
            (401, "", "", "aps:RemoteWrite on this workspace"),
            (404, "ResourceNotFoundException", "", "workspace id"),
            (405, "", "", "remote_write"),
        ];
        for (status, kind, body, remedy) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("x-amzn-errortype", kind.parse().unwrap());
            let context = DenialContext {
                signed: true,
                authorized: false,
                trailing_slash: false,
            };
            let hint = denial_hint(status, &headers, body, context);
            assert!(hint.contains(remedy), "{status} {kind} {body}: {hint}");
        }
    }

    #[test]
    fn what_we_know_of_the_request_comes_first() {
        let hint = |context| {
            denial_hint(
                403,
                &HeaderMap::new(),
                "Missing Authentication Token",
                context,
            )
        };
        assert!(
            hint(DenialContext {
                signed: true,
                authorized: false,
                trailing_slash: true
            })
            .contains("slash")
        );
        assert!(hint(DenialContext::default()).contains("not signed"));
        assert!(
            hint(DenialContext {
                authorized: true,
                ..DenialContext::default()
            })
            .contains("basic_auth")
        );
    }
}
