//! Certificates of listeners that end soon: an event two weeks before, then one a day.

use crate::clock::Clock;
use crate::config::Settings;
use crate::event::certificate_notices::{CertificateNotices, describe};
use std::sync::Arc;

/// Looks at them when it is asked to.
pub(super) struct CertificateWatch {
    clock: Arc<dyn Clock>,
    /// By listener, and `admin`.
    notices: CertificateNotices,
}

impl CertificateWatch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> CertificateWatch {
        CertificateWatch { clock, notices: CertificateNotices::default() }
    }

    /// What is to be told now: one sentence for each listener whose certificate ends soon or has ended.
    pub(super) fn due(&mut self, settings: &Settings) -> Vec<String> {
        let (now, monotonic) = (self.clock.wall(), self.clock.monotonic());
        let mut due = Vec::new();
        let of_listeners = settings
            .listeners
            .iter()
            .map(|listener| (format!("listener {}", listener.name), &listener.certificate));
        for (whose, certificate) in of_listeners.chain([("admin".to_owned(), &settings.admin.certificate)]) {
            let Some(certificate) = certificate else { continue };
            if self.notices.is_due(&whose, certificate.ends, now, monotonic) {
                due.push(format!(
                    "{whose}: {} ({}): replace it and reload",
                    certificate.describe_end(),
                    describe(certificate.ends, now)
                ));
            }
        }
        due
    }
}
