//! When the end of a certificate is told: from two weeks before it on, once a day.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

/// How long before its end a certificate is worth an event.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The time between two events about one certificate.
const REPEAT_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Certificates of one owner that are told within that time: a hostile server could show another one each time.
const MOST_OF_ONE: usize = 10;

/// Remembers what was told.
#[derive(Debug, Default)]
pub struct CertificateNotices {
    /// By whose certificate it is: its end, and when that was told, in monotonic time.
    told: HashMap<String, Vec<(Timestamp, Duration)>>,
}

impl CertificateNotices {
    /// Whether it is to be told now that the certificate of `whose` ends then. Who asks tells it.
    pub fn is_due(&mut self, whose: &str, ends: Timestamp, now: Timestamp, monotonic: Duration) -> bool {
        if ends.duration_since(now) > NOTICE {
            return false;
        }
        let told = self.told.entry(whose.to_owned()).or_default();
        told.retain(|(_, at)| monotonic.saturating_sub(*at) < REPEAT_AFTER);
        if told.len() >= MOST_OF_ONE || told.iter().any(|(end, _)| *end == ends) {
            return false;
        }
        told.push((ends, monotonic));
        true
    }
}

/// `has ended` or `ends soon`.
pub fn describe(ends: Timestamp, now: Timestamp) -> &'static str {
    if ends <= now { "has ended" } else { "ends soon" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(3600 * hours)
    }

    #[test]
    fn an_end_is_told_once_a_day_and_that_of_another_certificate_at_once() {
        let mut notices = CertificateNotices::default();
        let mut is_due = |whose, end, hour| notices.is_due(whose, at(end), at(0), hours(hour));
        assert!(is_due("a", 1, 0) && is_due("b", 1, 0));
        assert!(!is_due("a", 1, 23));
        assert!(is_due("a", 1, 24) && !is_due("a", 1, 25));
        assert!(is_due("a", 2, 25), "another one, which ends soon as well");
        assert!(!is_due("a", 1, 26) && !is_due("a", 2, 26), "two that take turns are not told each time");
    }

    #[test]
    fn it_is_told_from_two_weeks_before_the_end_on_and_after_it() {
        let due = |end| CertificateNotices::default().is_due("a", at(end), at(0), hours(0));
        assert!(!due(14 * DAY + 1));
        assert!(due(14 * DAY) && due(0) && due(-DAY));
        assert_eq!((describe(at(1), at(0)), describe(at(0), at(0))), ("ends soon", "has ended"));
    }

    #[test]
    fn a_server_with_another_certificate_each_time_is_told_ten_times_a_day() {
        let mut notices = CertificateNotices::default();
        let told = (0..1000).filter(|end| notices.is_due("a", at(*end), at(0), hours(1))).count();
        assert_eq!(told, MOST_OF_ONE);
    }
}
