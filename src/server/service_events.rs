//! Events about the proxy itself: each is recorded, and logged too.

use crate::clock::Clock;
use crate::config::{DroppedChange, Proposal, Topic};
use crate::event::{EventType, Fact, code, named_site};
use crate::queue::EventLog;
use std::sync::Arc;

/// Records and logs what happens to the proxy as a whole.
pub(super) struct ServiceEvents {
    events: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
}

impl ServiceEvents {
    pub(super) fn new(events: Arc<dyn EventLog>, clock: Arc<dyn Clock>) -> ServiceEvents {
        ServiceEvents { events, clock }
    }

    pub(super) fn information(&self, code: &str, text: String) {
        tracing::info!("{text}");
        self.record(EventType::Information, code, text);
    }

    pub(super) fn error(&self, code: &str, text: String) {
        tracing::error!("{text}");
        self.record(EventType::Error, code, text);
    }

    pub(super) fn warning(&self, code: &str, text: String) {
        tracing::warn!("{text}");
        self.record(EventType::Warning, code, text);
    }

    /// What happens to mail was switched by somebody; `site` is empty for all mail.
    pub(super) fn mode(&self, site: &str, text: String) {
        tracing::warn!(site = (!site.is_empty()).then_some(site), "{text}");
        let fact = Fact::new(self.clock.wall(), EventType::Warning, "Configuration", code::MODE, text);
        self.events.record(vec![Fact { site: named_site(site), ..fact }.on(Topic::Mode)]);
    }

    /// Somebody changed the configuration; changes of before that do not hold any more are dropped.
    pub(super) fn changed(&self, proposal: &Proposal, by: &str) {
        for one in &proposal.changed {
            let text = format!("{one} (by {by})");
            tracing::warn!("{text}");
            self.record_change(&one.key, EventType::Information, text);
        }
        self.dropped(&proposal.loaded.dropped);
    }

    /// What verbs and pages changed before does not hold any more.
    pub(super) fn dropped(&self, dropped: &[DroppedChange]) {
        for one in dropped {
            tracing::warn!("{}", one.text);
            self.record_change(&one.key, EventType::Warning, one.text.clone());
        }
    }

    fn record_change(&self, key: &str, kind: EventType, text: String) {
        let name_in = |table: &str| {
            let rest = key.strip_prefix(table)?;
            rest.split('.').next().map(str::to_owned)
        };
        let fact = Fact::new(self.clock.wall(), kind, "Configuration", code::CHANGED, text);
        self.events.record(vec![Fact { upstream: name_in("upstream."), site: name_in("site."), ..fact }]);
    }

    /// Recorded while the queue can still be written; the log says so only when all has ended.
    pub(super) fn stopped(&self) {
        self.record(EventType::Information, code::STOPPED, "postroom stopped".to_owned());
    }

    fn record(&self, kind: EventType, code: &str, text: String) {
        self.events.record(vec![Fact::new(self.clock.wall(), kind, "Service", code, text)]);
    }
}
