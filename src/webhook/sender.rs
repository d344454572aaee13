//! The task of one webhook: sends its events one after the other.

use super::answer::PostResult;
use super::backlog::Backlog;
use super::client::WebhookClient;
use super::figures::{WebhookFigures, add};
use super::tries::{MOST_TRIES, Tries};
use super::trouble::Trouble;
use crate::event::Event;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a stop waits for what still waits.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Sender {
    backlog: Arc<Backlog>,
    figures: Arc<WebhookFigures>,
    client: WebhookClient,
    trouble: Trouble,
    /// It took the last event.
    takes: bool,
    tries: Tries,
    not_before: Option<Instant>,
}

impl Sender {
    pub(super) fn new(
        backlog: Arc<Backlog>,
        figures: Arc<WebhookFigures>,
        client: WebhookClient,
        trouble: Trouble,
    ) -> Sender {
        Sender { backlog, figures, client, trouble, takes: true, tries: Tries::default(), not_before: None }
    }

    /// Works until `stop`, and then as long as the receiver takes what waits.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(event) = self.next(&stop).await {
            if !self.send(&event, &stop).await {
                return;
            }
            self.trouble.note_dropped();
            if self.backlog.try_first().is_none() {
                self.client.rest();
                if self.takes {
                    self.trouble.end();
                }
            }
        }
    }

    async fn next(&self, stop: &CancellationToken) -> Option<Arc<Event>> {
        tokio::select! {
            biased;
            event = self.backlog.first() => Some(event),
            () = stop.cancelled() => None,
        }
    }

    /// Until it is taken or given up. False: the proxy stops, and the receiver does not take it now.
    async fn send(&mut self, event: &Event, stop: &CancellationToken) -> bool {
        self.takes = false;
        self.tries.next_event();
        loop {
            if let Some(time) = self.not_before.take() {
                tokio::select! {
                    () = sleep_until(time) => {}
                    () = stop.cancelled() => {}
                }
            }
            match self.client.post(event).await {
                PostResult::Taken => {
                    self.takes = true;
                    self.tries.answered();
                    add(&self.figures.taken, 1);
                    self.backlog.remove(event);
                    return true;
                }
                PostResult::Refused(why) => {
                    self.tries.answered();
                    self.trouble.begin(&format!("{why}; events are given up"));
                    break;
                }
                PostResult::NotNow(why, asked) => {
                    add(&self.figures.failures, 1);
                    self.trouble.begin(&format!("{why}; each event is tried {MOST_TRIES} times"));
                    if stop.is_cancelled() {
                        return false;
                    }
                    let after = self.tries.failed(asked, fastrand::f64());
                    self.not_before = Some(Instant::now() + after.wait);
                    if after.gives_up {
                        break;
                    }
                }
            }
        }
        add(&self.figures.given_up, 1);
        self.backlog.remove(event);
        true
    }
}
