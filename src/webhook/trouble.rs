//! Tells an operator that a webhook has trouble, and that it is over: one event and line for each, not for each request.

use super::figures::WebhookFigures;
use crate::clock::Clock;
use crate::event::{EventType, Fact, code};
use crate::queue::EventLog;
use std::sync::Arc;
use std::time::Duration;

/// A webhook that fails now and then is not told of more often than that.
const PAUSE: Duration = Duration::from_secs(60);

/// The troubles of one webhook. One begins with a failure or a dropped event, and is over when the receiver has taken all that
/// waits.
pub(super) struct Trouble {
    name: String,
    /// Shown with it: scheme and host.
    receiver: String,
    teller: Arc<Teller>,
    figures: Arc<WebhookFigures>,
    /// Monotonic; when one was told last.
    told: Option<Duration>,
    state: TroubleState,
    /// What was given up and dropped when the end of one was told.
    accounted: (u64, u64),
    /// What was dropped when somebody looked last.
    seen_dropped: u64,
}

#[derive(PartialEq)]
enum TroubleState {
    None,
    Told,
    /// Too soon after another one.
    Untold,
}

/// Records events about webhooks, and logs them.
pub(super) struct Teller {
    pub(super) events: Arc<dyn EventLog>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Teller {
    /// Without a topic: no webhook hears of it.
    pub(super) fn tell(&self, kind: EventType, text: String) {
        match kind {
            EventType::Information => tracing::info!("{text}"),
            EventType::Warning | EventType::Error => tracing::warn!("{text}"),
        }
        self.events.record(vec![Fact::new(self.clock.wall(), kind, "Webhook", code::WEBHOOK, text)]);
    }
}

impl Trouble {
    pub(super) fn new(
        name: &str,
        receiver: String,
        teller: Arc<Teller>,
        figures: Arc<WebhookFigures>,
    ) -> Trouble {
        let accounted = lost(&figures);
        let state = TroubleState::None;
        Trouble {
            name: name.to_owned(),
            receiver,
            teller,
            figures,
            told: None,
            state,
            accounted,
            seen_dropped: accounted.1,
        }
    }

    /// A request failed.
    pub(super) fn begin(&mut self, why: &str) {
        let Trouble { name, receiver, .. } = self;
        let text = format!("webhook {name}: {receiver}: {why}");
        self.figures.set_trouble(Some(&text));
        if self.state != TroubleState::None {
            return;
        }
        let now = self.teller.clock.monotonic();
        if self.told.is_some_and(|told| now.saturating_sub(told) < PAUSE) {
            self.state = TroubleState::Untold;
            return;
        }
        self.told = Some(now);
        self.state = TroubleState::Told;
        self.teller.tell(EventType::Warning, text);
    }

    /// Tells of events that were dropped because too many waited, if any were since it was asked last.
    pub(super) fn note_dropped(&mut self) {
        let dropped = lost(&self.figures).1;
        if dropped > self.seen_dropped {
            self.begin("events come faster than it takes them: some are dropped");
        }
        self.seen_dropped = dropped;
    }

    /// The receiver has taken all that waited.
    pub(super) fn end(&mut self) {
        let state = std::mem::replace(&mut self.state, TroubleState::None);
        if state == TroubleState::None {
            return;
        }
        self.figures.set_trouble(None);
        if state == TroubleState::Told {
            let now = lost(&self.figures);
            let (given_up, dropped) = (now.0 - self.accounted.0, now.1 - self.accounted.1);
            self.accounted = now;
            let Trouble { name, receiver, .. } = self;
            let text = format!(
                "webhook {name}: {receiver} takes events again; {given_up} were given up and {dropped} dropped meanwhile"
            );
            self.teller.tell(EventType::Information, text);
        }
    }
}

/// Given up and dropped so far.
fn lost(figures: &WebhookFigures) -> (u64, u64) {
    let counts = figures.counts();
    (counts.given_up, counts.dropped)
}
