//! Signature version 4, verified with only HMAC-SHA256. It is an independent reading of AWS'
//! description, so that an error of the sender's signing library is noticed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::options::{AccessKey, GatewayOptions};
use super::refusal::{Reason, Refusal};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "aps";

/// The parts of an `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Checks the signature of a request, in the order and with the words of AWS' front end.
///
/// # Errors
/// Refuses with 403 and the reason.
pub fn verify(
    parts: &Parts,
    body: &[u8],
    options: &GatewayOptions,
    now: SystemTime,
) -> Result<(), Refusal> {
    let header = text_header(&parts.headers, "authorization")
        .ok_or_else(|| denied(Reason::MissingToken, "Missing Authentication Token"))?;
    let authorization = parse(header)?;
    for required in ["host", "x-amz-date"] {
        if !authorization.signed_headers.contains(&required) {
            let message = format!("'{required}' must be a 'SignedHeader' in the AWS Authorization");
            return Err(denied(Reason::IncompleteSignature, message));
        }
    }
    // All of AWS' headers that are sent must be signed, the session token above all.
    for name in parts.headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with("x-amz-") && !authorization.signed_headers.contains(&name) {
            return Err(denied(
                Reason::IncompleteSignature,
                format!("'{name}' is not among the signed headers"),
            ));
        }
    }
    if authorization.region != options.region {
        return Err(denied(
            Reason::WrongRegion,
            "Credential should be scoped to a valid region. ",
        ));
    }
    if authorization.service != SERVICE {
        return Err(denied(
            Reason::WrongService,
            format!("Credential should be scoped to correct service: '{SERVICE}'. "),
        ));
    }
    let date = text_header(&parts.headers, "x-amz-date").unwrap_or_default();
    check_date(date, authorization.date, options.clock_skew, now)?;
    let key = options
        .keys
        .get(authorization.access_key)
        .ok_or_else(unknown_key)?;
    check_token(&parts.headers, key)?;
    if let Some(claimed) = text_header(&parts.headers, "x-amz-content-sha256")
        && claimed != "UNSIGNED-PAYLOAD"
        && claimed != hex(&Sha256::digest(body))
    {
        return Err(mismatch());
    }
    let expected = signature(parts, body, &authorization, date, &key.secret)?;
    if expected != authorization.signature {
        return Err(mismatch());
    }
    if !key.allowed {
        let message = format!(
            "User: arn:aws:sts::111122223333:assumed-role/forwarder is not authorized to perform: \
             {} on resource: arn:aws:aps:{}:111122223333:workspace/{}",
            action(parts.uri.path()),
            options.region,
            options.workspace
        );
        return Err(denied(Reason::AccessDenied, message));
    }
    Ok(())
}

/// The action that a path stands for.
fn action(path: &str) -> &'static str {
    if path.ends_with("/api/v1/query") {
        "aps:QueryMetrics"
    } else {
        "aps:RemoteWrite"
    }
}

fn denied(reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal::json(403, reason, message)
}

fn unknown_key() -> Refusal {
    denied(
        Reason::UnknownKey,
        "The security token included in the request is invalid.",
    )
}

fn mismatch() -> Refusal {
    denied(
        Reason::SignatureMismatch,
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method. \
         Consult the service documentation for details.",
    )
}

fn parse(header: &str) -> Result<Authorization<'_>, Refusal> {
    let incomplete = |what: &str| {
        denied(
            Reason::IncompleteSignature,
            format!("Authorization header requires '{what}' parameter."),
        )
    };
    let rest = header
        .strip_prefix(ALGORITHM)
        .ok_or_else(|| incomplete(ALGORITHM))?;
    let (mut credential, mut signed, mut signature) = (None, None, None);
    for part in rest.split(',').map(str::trim) {
        match part.split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => signed = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => {}
        }
    }
    let credential = credential.ok_or_else(|| incomplete("Credential"))?;
    let mut scope = credential.split('/');
    let (Some(access_key), Some(date), Some(region), Some(service), Some("aws4_request"), None) = (
        scope.next(),
        scope.next(),
        scope.next(),
        scope.next(),
        scope.next(),
        scope.next(),
    ) else {
        return Err(incomplete("Credential"));
    };
    let signed_headers: Vec<&str> = signed
        .ok_or_else(|| incomplete("SignedHeaders"))?
        .split(';')
        .collect();
    if !signed_headers.is_sorted()
        || signed_headers
            .iter()
            .any(|name| name.chars().any(char::is_uppercase))
    {
        return Err(incomplete("SignedHeaders"));
    }
    let signature = signature.ok_or_else(|| incomplete("Signature"))?;
    Ok(Authorization {
        access_key,
        date,
        region,
        service,
        signed_headers,
        signature,
    })
}

fn check_date(
    date: &str,
    scope_date: &str,
    skew: Duration,
    now: SystemTime,
) -> Result<(), Refusal> {
    let Some(signed_at) = parse_date(date) else {
        return Err(denied(
            Reason::IncompleteSignature,
            "Date in X-Amz-Date is not in the form YYYYMMDD'T'HHMMSS'Z'",
        ));
    };
    if !date.starts_with(scope_date) {
        let message = format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: \
             {scope_date} {date}"
        );
        return Err(denied(Reason::IncompleteSignature, message));
    }
    let (early, late) = (now - skew, now + skew);
    if signed_at < early {
        return Err(denied(
            Reason::Expired,
            format!(
                "Signature expired: {date} is now earlier than {}",
                format_date(early)
            ),
        ));
    }
    if signed_at > late {
        return Err(denied(
            Reason::Expired,
            format!(
                "Signature not yet current: {date} is still later than {}",
                format_date(late)
            ),
        ));
    }
    Ok(())
}

fn check_token(headers: &HeaderMap, key: &AccessKey) -> Result<(), Refusal> {
    if text_header(headers, "x-amz-security-token") == key.session_token.as_deref() {
        Ok(())
    } else {
        Err(unknown_key())
    }
}

fn signature(
    parts: &Parts,
    body: &[u8],
    authorization: &Authorization<'_>,
    date: &str,
    secret: &str,
) -> Result<String, Refusal> {
    let canonical = canonical_request(parts, body, &authorization.signed_headers)?;
    let Authorization {
        date: day,
        region,
        service,
        ..
    } = authorization;
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{day}/{region}/{service}/aws4_request\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), day);
    for part in [*region, *service, "aws4_request"] {
        key = hmac(&key, part);
    }
    Ok(hex(&hmac(&key, &to_sign)))
}

fn canonical_request(
    parts: &Parts,
    body: &[u8],
    signed_headers: &[&str],
) -> Result<String, Refusal> {
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        parts.method,
        encode_path(parts.uri.path()),
        canonical_query(parts.uri.query())
    );
    for name in signed_headers {
        let mut values = parts.headers.get_all(*name).iter().peekable();
        if values.peek().is_none() {
            return Err(denied(
                Reason::IncompleteSignature,
                format!("the signed header '{name}' is missing"),
            ));
        }
        let values: Vec<String> = values
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes())
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        canonical.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    canonical.push_str(&format!("\n{}\n", signed_headers.join(";")));
    match text_header(&parts.headers, "x-amz-content-sha256") {
        Some(hash) if signed_headers.contains(&"x-amz-content-sha256") => canonical.push_str(hash),
        _ => canonical.push_str(&hex(&Sha256::digest(body))),
    }
    Ok(canonical)
}

/// Encodes the path of the request once more, as every service except S3 asks for.
fn encode_path(path: &str) -> String {
    encode(path, |byte| byte == b'/')
}

fn canonical_query(query: Option<&str>) -> String {
    let mut pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(query.unwrap_or_default().replace('+', "%2B").as_bytes())
            .map(|(name, value)| (encode(&name, |_| false), encode(&value, |_| false)))
            .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

fn encode(text: &str, also: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn text_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses a date such as `20150830T123600Z`.
fn parse_date(date: &str) -> Option<SystemTime> {
    let bytes = date.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !date.is_ascii() {
        return None;
    }
    let number = |range: std::ops::Range<usize>| date[range].parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    // Days since the epoch of the civil calendar, with March as the first month of the year.
    let (shifted_year, shifted_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1;
    Some(
        UNIX_EPOCH
            + Duration::from_secs((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second),
    )
}

fn format_date(time: SystemTime) -> String {
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let date = httpdate::fmt_http_date(time);
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    .iter()
    .position(|name| *name == &date[8..11])
    .unwrap_or_default();
    format!(
        "{}{:02}{}T{}Z",
        &date[12..16],
        month + 1,
        &date[5..7],
        date[17..25].replace(':', "")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS' "Create a signed AWS API request" (service iam).
    #[test]
    fn the_published_example() {
        let (parts, ()) = http::Request::get("/?Action=ListUsers&Version=2010-05-08")
            .header(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .header("host", "iam.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .body(())
            .unwrap()
            .into_parts();
        let header = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                      SignedHeaders=content-type;host;x-amz-date, \
                      Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        let authorization = parse(header).unwrap();
        let canonical = canonical_request(&parts, b"", &authorization.signed_headers).unwrap();
        assert_eq!(
            hex(&Sha256::digest(canonical)),
            "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
        );
        let computed = signature(
            &parts,
            b"",
            &authorization,
            "20150830T123600Z",
            super::super::options::SECRET_KEY,
        )
        .unwrap();
        assert_eq!(computed, authorization.signature);
    }

    #[test]
    fn dates() {
        let date = parse_date("20150830T123600Z").unwrap();
        assert_eq!(
            date.duration_since(UNIX_EPOCH).unwrap().as_secs(),
            1_440_938_160
        );
        assert_eq!(format_date(date), "20150830T123600Z");
        assert_eq!(
            parse_date("20000229T000000Z")
                .unwrap()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs(),
            951_782_400
        );
        for wrong in [
            "",
            "20150830T123600",
            "2015083OT123600Z",
            "20151330T123600Z",
            "20150830 123600Z",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_are_encoded_once_more() {
        assert_eq!(encode_path("/a%20b/c~d"), "/a%2520b/c~d");
        assert_eq!(canonical_query(Some("b=2&a=x+y&a=1")), "a=1&a=x%2By&b=2");
    }
}
