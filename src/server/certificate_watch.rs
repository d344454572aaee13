//! Certificates that end soon: an event two weeks before, then one a day.

use crate::clock::Clock;
use crate::config::Settings;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long before its end a certificate is worth an event.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The time between two events about one listener.
const REPEAT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Remembers what was told.
pub(super) struct CertificateWatch {
    clock: Arc<dyn Clock>,
    /// By listener: the end of its certificate, and when that was told, in monotonic time.
    told: HashMap<String, (Timestamp, Duration)>,
}

impl CertificateWatch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> CertificateWatch {
        CertificateWatch { clock, told: HashMap::new() }
    }

    /// What is to be told now: one sentence for each listener whose certificate ends soon or has ended.
    pub(super) fn due(&mut self, settings: &Settings) -> Vec<String> {
        let (now, monotonic) = (self.clock.wall(), self.clock.monotonic());
        self.told.retain(|name, _| settings.listeners.iter().any(|listener| listener.name == *name));
        let mut due = Vec::new();
        for listener in &settings.listeners {
            let Some(certificate) = &listener.certificate else { continue };
            let ends = certificate.ends;
            if ends.duration_since(now) > NOTICE {
                continue;
            }
            if self.is_news(&listener.name, ends, monotonic) {
                let has = if certificate.is_expired(now) { "has ended" } else { "ends soon" };
                due.push(format!(
                    "listener {}: {} ({has}): replace it and reload",
                    listener.name,
                    certificate.describe_end()
                ));
            }
        }
        due
    }

    /// Whether the end of this listener's certificate was not told within a day; from now on it was.
    fn is_news(&mut self, listener: &str, ends: Timestamp, monotonic: Duration) -> bool {
        let was_told = self
            .told
            .get(listener)
            .is_some_and(|(end, at)| *end == ends && monotonic.saturating_sub(*at) < REPEAT_AFTER);
        if !was_told {
            self.told.insert(listener.to_owned(), (ends, monotonic));
        }
        !was_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn an_end_is_told_once_a_day_and_that_of_another_certificate_at_once() {
        let mut watch = CertificateWatch::new(Arc::new(SystemClock::default()));
        let end = |second| Timestamp::from_second(second).unwrap();
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        assert!(watch.is_news("a", end(1), hours(0)) && watch.is_news("b", end(1), hours(0)));
        assert!(!watch.is_news("a", end(1), hours(23)));
        assert!(watch.is_news("a", end(1), hours(24)) && !watch.is_news("a", end(1), hours(25)));
        assert!(watch.is_news("a", end(2), hours(25)), "another one, which ends soon as well");
    }
}
