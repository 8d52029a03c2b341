//! What the errors of S3 mean: a pure table.

use super::super::{FailureKind, Op};

/// What an error response means for the caller (S3 API reference, error responses): what can be
/// done, and a hint for people.
pub(super) fn classify(op: Op, status: u16, code: &str) -> (FailureKind, Option<&'static str>) {
    const REGION: &str = "the bucket is in another region: set AWS_REGION to that one";
    match (status, code) {
        (404, "NoSuchBucket") => (
            FailureKind::Denied,
            Some("create the bucket, or name another one in forwarder.spool.url"),
        ),
        (404, _) if op == Op::PutIfMatch => (FailureKind::Changed, None),
        (404, _) => (FailureKind::NotFound, None),
        (412, _) => (FailureKind::Changed, None),
        // ConditionalRequestConflict: another call on the same key was under way.
        (409 | 429 | 503, _) => (FailureKind::Busy, None),
        // The request did not arrive as a whole, so nothing was done.
        (408, _) | (400, "RequestTimeout" | "IncompleteBody") => (FailureKind::Busy, None),
        (507, _) => (
            FailureKind::Full,
            Some("make room in the store, or lower forwarder.spool.max_bytes"),
        ),
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed") => {
            (FailureKind::Denied, Some(REGION))
        }
        (403, "RequestTimeTooSkewed") => {
            (FailureKind::Denied, Some("set this machine's clock by NTP"))
        }
        (403, "InvalidAccessKeyId" | "SignatureDoesNotMatch")
        | (400, "ExpiredToken" | "InvalidToken") => (
            FailureKind::Denied,
            Some("the AWS credentials are not valid: renew them, or use the function's role"),
        ),
        (403, "InvalidObjectState") => (
            FailureKind::Denied,
            Some("the object is in an archive class: restore it, or remove it"),
        ),
        (401 | 403, _) => (
            FailureKind::Denied,
            Some(
                "the role needs s3:GetObject, s3:PutObject and s3:DeleteObject on the prefix and \
                 s3:ListBucket on the bucket (without the last, a missing object is a 403), and \
                 the key of an encrypted bucket",
            ),
        ),
        (400..=499, _) => (FailureKind::Denied, None),
        // 500 InternalError, or something on the way: it may have been done.
        _ => (FailureKind::NoAnswer, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_caller_can_do() {
        let rows = [
            (Op::Get, 404, "NoSuchKey", FailureKind::NotFound, ""),
            (Op::PutIfMatch, 404, "NoSuchKey", FailureKind::Changed, ""),
            (
                Op::Get,
                404,
                "NoSuchBucket",
                FailureKind::Denied,
                "create the bucket",
            ),
            (
                Op::PutIfAbsent,
                412,
                "PreconditionFailed",
                FailureKind::Changed,
                "",
            ),
            (
                Op::PutIfMatch,
                409,
                "ConditionalRequestConflict",
                FailureKind::Busy,
                "",
            ),
            (Op::PutIfAbsent, 503, "SlowDown", FailureKind::Busy, ""),
            (
                Op::PutIfAbsent,
                400,
                "RequestTimeout",
                FailureKind::Busy,
                "",
            ),
            (Op::PutIfMatch, 400, "IncompleteBody", FailureKind::Busy, ""),
            (Op::Get, 408, "", FailureKind::Busy, ""),
            (
                Op::PutIfAbsent,
                500,
                "InternalError",
                FailureKind::NoAnswer,
                "",
            ),
            (
                Op::List,
                403,
                "AccessDenied",
                FailureKind::Denied,
                "s3:ListBucket",
            ),
            (
                Op::Get,
                403,
                "InvalidObjectState",
                FailureKind::Denied,
                "restore it",
            ),
            (
                Op::Get,
                403,
                "InvalidAccessKeyId",
                FailureKind::Denied,
                "renew them",
            ),
            (
                Op::Get,
                403,
                "RequestTimeTooSkewed",
                FailureKind::Denied,
                "NTP",
            ),
            (
                Op::Get,
                301,
                "PermanentRedirect",
                FailureKind::Denied,
                "AWS_REGION",
            ),
            (
                Op::PutIfAbsent,
                507,
                "XMinioStorageFull",
                FailureKind::Full,
                "make room",
            ),
            (
                Op::PutIfAbsent,
                400,
                "EntityTooLarge",
                FailureKind::Denied,
                "",
            ),
        ];
        for (op, status, code, kind, hint) in rows {
            let (found, advice) = classify(op, status, code);
            assert_eq!(found, kind, "{op} {status} {code}");
            assert!(
                advice.unwrap_or_default().contains(hint),
                "{op} {status} {code}: {advice:?}"
            );
        }
    }
}
