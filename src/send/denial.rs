//! What a 401, 403, 404 or 405 of AMP means and what to do: the one table.

use ::http::HeaderMap;

/// What the advice depends on beside the answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenialContext {
    /// Whether the request was signed.
    pub signed: bool,
    /// Whether the request carried other credentials.
    pub authorized: bool,
    /// Whether the URL's path ends with a slash.
    pub trailing_slash: bool,
}

/// Likely cause and next step. `x-amzn-errortype` counts where the receiver sends it, else the
/// text.
#[must_use]
pub fn denial_hint(
    status: u16,
    headers: &HeaderMap,
    body: &str,
    context: DenialContext,
) -> &'static str {
    let kind = headers
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let text = format!("{kind} {body}").to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));

    if context.authorized {
        return match status {
            404 => "the receiver knows no such path: check the url",
            405 => "the url takes no POST: check its path",
            _ => {
                "the receiver does not take these credentials: check basic_auth, authorization or oauth2 of the entry"
            }
        };
    }
    if context.trailing_slash && context.signed {
        return "remove the slash at the end of the url: AMP answers it with 403";
    }
    if !context.signed {
        match status {
            404 => {
                return "the receiver knows no such path: check the url (Prometheus takes samples at /api/v1/write, with --web.enable-remote-write-receiver)";
            }
            405 => return "the url takes no POST: check its path",
            _ => {}
        }
    }
    match status {
        404 => return "no such workspace: check the workspace id and the region in the url",
        405 => return "the url takes no POST: it must end with /api/v1/remote_write",
        _ => {}
    }
    if !context.signed {
        return "the request was not signed: AMP needs a sigv4 section, other receivers basic_auth, authorization or oauth2";
    }
    if says(&[
        "signature expired",
        "signature not yet current",
        "requesttimetooskewed",
        "requestexpired",
    ]) {
        return "the clocks differ by more than 5 minutes: set this machine's clock";
    }
    if says(&[
        "expiredtoken",
        "token included in the request is expired",
        "token has expired",
    ]) {
        return "the session has expired: in Lambda the next tick gets a new one, elsewhere log in again (aws sso login)";
    }
    if says(&[
        "scoped to a valid region",
        "scoped to correct region",
        "wrong region",
    ]) {
        return "the signature is for another region: sigv4.region must be the region in the url";
    }
    if says(&["scoped to correct service"]) {
        return "the signature is for another service: sigv4.service_name must be aps";
    }
    if says(&[
        "signature we calculated does not match",
        "signaturedoesnotmatch",
        "invalidsignature",
    ]) {
        return "the signature does not match: check secret_key and sigv4.region, and that no proxy changes the request";
    }
    if says(&[
        "unrecognizedclient",
        "invalidclienttokenid",
        "token included in the request is invalid",
    ]) {
        return "AWS does not know this access key: check access_key or the profile, and that the key is active";
    }
    if says(&["missing authentication token", "missingauthenticationtoken"]) {
        return "AMP knows no such path: the url must be https://aps-workspaces.<region>.amazonaws.com/workspaces/<id>/api/v1/remote_write";
    }
    if says(&["vpc endpoint policy", "vpce endpoint policy"]) {
        return "the policy of the VPC endpoint forbids it: allow aps:RemoteWrite for this role there";
    }
    if says(&[
        "service control policy",
        "permissions boundary",
        "explicit deny",
    ]) {
        return "a policy denies aps:RemoteWrite explicitly: look at service control policies, permissions boundaries and Deny statements";
    }
    if says(&["not authorized to perform", "accessdenied"]) {
        return "allow aps:RemoteWrite on arn:aws:aps:<region>:<account>:workspace/<id> for this role";
    }
    "check that the role may aps:RemoteWrite on this workspace, that sigv4.region is the region in the url, and that the url ends with /api/v1/remote_write"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_denial_names_its_remedy() {
        let rows = [
            (
                403,
                "",
                "User: arn:aws:sts::1:assumed-role/f/f is not authorized to perform: aps:RemoteWrite on resource: x because no identity-based policy allows the aps:RemoteWrite action",
                "allow aps:RemoteWrite",
            ),
            (403, "AccessDeniedException", "", "allow aps:RemoteWrite"),
            (
                403,
                "",
                "not authorized to perform: aps:RemoteWrite with an explicit deny in a VPC endpoint policy",
                "VPC endpoint",
            ),
            (
                403,
                "",
                "not authorized to perform: aps:RemoteWrite with an explicit deny in a service control policy",
                "service control",
            ),
            (
                403,
                "",
                "{\"message\":\"The request signature we calculated does not match the signature you provided.\"}",
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
