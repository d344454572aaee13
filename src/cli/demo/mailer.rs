//! Mail of the demo's own, by SMTP to its own listener, as an application sends it.

use super::mails::{AT_THE_START, DemoMail, NOW_AND_THEN};
use crate::cli::submission::submit;
use crate::clock::{Clock, SystemClock};
use crate::config::settings::Upstream;
use crate::deliver::envelope::{OutboundEnvelope, OutboundRecipient};
use crate::deliver::outgoing::Outgoing;
use crate::deliver::transaction_result::RecipientAnswer;
use crate::mail::{Address, BodyType, DsnRequest, QueueId, Reply, ReversePath};
use crate::queue::{OperatorAction, Queue};
use anyhow::{Context, anyhow};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// While as many messages are in the queue, because sending was switched off for example, nothing is added to them.
const MOST_IN_THE_QUEUE: u64 = 500;

/// Sends the demo's mail.
pub(super) struct Mailer {
    /// The proxy's listener, as a server.
    pub(super) listener: Arc<Upstream>,
    pub(super) queue: Arc<dyn Queue>,
    /// Told of what could not be sent.
    pub(super) say: Arc<dyn Fn(String) + Send + Sync>,
}

impl Mailer {
    /// Sends what is sent at the start, where it is the first one with this folder; then a message each time `every` has passed.
    pub(super) async fn run(self, is_first_start: bool, every: Duration) {
        let mut number = 0;
        if is_first_start {
            for mail in AT_THE_START {
                self.send(mail, number).await;
                number += 1;
            }
        }
        let mut due = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for mail in NOW_AND_THEN.iter().cycle() {
            due.tick().await;
            if self.queue.status().messages() < MOST_IN_THE_QUEUE {
                self.send(mail, number).await;
                number += 1;
            }
        }
    }

    async fn send(&self, mail: &DemoMail, number: usize) {
        if let Err(error) = self.submit(mail, number).await {
            (self.say)(format!("   [mail] a message from {} was not sent: {error:#}", mail.from));
        }
    }

    async fn submit(&self, mail: &DemoMail, number: usize) -> anyhow::Result<()> {
        let address = |text: &str| text.parse::<Address>().with_context(|| format!("`{text}` is no address"));
        let now = SystemClock::default().wall().to_zoned(jiff::tz::TimeZone::system());
        let content = mail.content(number, &jiff::fmt::rfc2822::to_string(&now)?);
        let recipients = mail.recipients(number).into_iter().map(address).collect::<Result<Vec<_>, _>>()?;
        let envelope = OutboundEnvelope {
            reverse_path: ReversePath::Address(address(mail.from)?),
            recipients: recipients.into_iter().map(OutboundRecipient::from).collect(),
            body: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
            smtp_utf8: false,
            size: content.len() as u64,
            dsn: DsnRequest::default(),
        };
        let mut content = Outgoing::memory("", content, false);
        let submission = submit(&self.listener, "shop.localhost", &envelope, &mut content).await?;
        let Some(RecipientAnswer::Accepted(reply)) = submission.answers.first() else {
            let said = submission.answers.first().map(RecipientAnswer::describe);
            return Err(anyhow!("{}", said.unwrap_or_default()));
        };
        if mail.held
            && let Some(id) = queue_id(reply)
        {
            self.queue.act(OperatorAction::Hold, vec![id]).await?;
        }
        Ok(())
    }
}

/// From `250 2.0.0 queued as <id>`.
fn queue_id(reply: &Reply) -> Option<QueueId> {
    reply.lines.first()?.rsplit(' ').next()?.parse().ok()
}
