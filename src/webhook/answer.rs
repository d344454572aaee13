//! What a receiver's answer means.

use hyper::http::HeaderMap;
use hyper::{StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use std::time::Duration;

/// A receiver may ask for more time, but not for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// What became of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PostResult {
    Taken,
    /// Another try would fare no better.
    Refused(String),
    /// May go another time, not before so long.
    NotNow(String, Option<Duration>),
}

/// By the status alone: what else a receiver says may repeat secrets, so nobody reads it.
pub(super) fn judge(status: StatusCode, header: &HeaderMap, now: Timestamp) -> PostResult {
    let said = || format!("it answered {status}");
    match status {
        status if status.is_success() => PostResult::Taken,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            PostResult::NotNow(said(), asked(header, now))
        }
        status if status.is_server_error() => PostResult::NotNow(said(), asked(header, now)),
        status if status.is_redirection() => PostResult::Refused(format!(
            "{}; redirects are not followed: give the URL that it sends others to",
            said()
        )),
        _ => PostResult::Refused(said()),
    }
}

/// `Retry-After`: seconds or a date (RFC 9110 section 10.2.3).
fn asked(header: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = header.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn judged(status: u16, retry_after: Option<&str>) -> PostResult {
        let mut header = HeaderMap::new();
        if let Some(text) = retry_after {
            header.insert(header::RETRY_AFTER, text.parse().unwrap());
        }
        judge(StatusCode::from_u16(status).unwrap(), &header, NOW.parse().unwrap())
    }

    fn asked_for(status: u16, retry_after: &str) -> Option<u64> {
        match judged(status, Some(retry_after)) {
            PostResult::NotNow(_, asked) => asked.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_status_means_one_thing() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), PostResult::Taken, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(judged(status, None), PostResult::NotNow(_, None)), "{status}");
        }
        for status in [101, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 410, 413, 422, 600] {
            assert!(matches!(judged(status, None), PostResult::Refused(_)), "{status}");
        }
        let PostResult::Refused(redirect) = judged(302, None) else { panic!("it is a failure") };
        assert!(redirect.contains("302 Found") && redirect.contains("not followed"), "{redirect}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
        assert_eq!(asked_for(429, "7"), Some(7));
        assert_eq!(asked_for(503, " 0 "), Some(0));
        assert_eq!(asked_for(429, "Sat, 21 Nov 2026 12:01:30 GMT"), Some(90));
        assert_eq!(asked_for(429, "Sat, 21 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(asked_for(429, "99999999999"), Some(3600));
        for nonsense in ["soon", "-1", "", "1.5", "99999999999999999999999"] {
            assert_eq!(asked_for(429, nonsense), None, "{nonsense}");
        }
    }
}
