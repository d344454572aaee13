//! A test of one upstream: the steps to a session as deliveries take them, on a new connection, or its pickup folder; and a test
//! message if asked for.
//!
//! It takes no slot and asks no circuit, so that it works for upstreams that are disabled, busy or left alone, and tells their
//! health nothing, a success included: that an open circuit closes is left to its probe, because a test from a moment when no
//! mail was on its way says nothing of `connection_limit` and little of an account that has been throttled. What it learns of
//! tokens holds for deliveries, too.

use super::connection::Connection;
use super::envelope::{OutboundEnvelope, OutboundRecipient};
use super::history;
use super::outgoing::Outgoing;
use super::peer_cache::PeerCache;
use super::pickup_folder::PickupFolder;
use super::remedies::remedy;
use super::session_error::SessionError;
use super::session_steps::{EndedStep, SessionStep, StepOutcome, StepWatcher};
use super::transaction_result::RecipientAnswer;
use super::way_out::WayOut;
use crate::config::settings::Upstream;
use crate::event::{EventType, Fact, code};
use crate::mail::{BodyType, DsnRequest, QueueId, ReversePath, Role, printable};
use crate::policy::test_mail::{TestMail, TestMailRefused};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// A step of a test that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestStep {
    pub step: SessionStep,
    pub outcome: StepOutcome,
    /// How long it took.
    pub ms: u64,
    /// What came of it, on one line.
    pub detail: String,
    /// What to change where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What came of a test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestResult {
    pub ok: bool,
    /// All of it.
    pub ms: u64,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<TestStep>,
}

impl TestResult {
    /// The event that tells of it. `to`: who was to get a message.
    pub fn fact(&self, now: Timestamp, upstream: &Upstream, to: Option<&str>) -> Fact {
        let Upstream { name, .. } = upstream;
        let what = to.map(|to| format!(", with a message to {to}")).unwrap_or_default();
        let (kind, text) = match &self.failed {
            None => (EventType::Information, format!("{name} was tested{what}: it works")),
            Some(TestStep { step, detail, .. }) => {
                (EventType::Warning, format!("{name} was tested{what}: {step} failed: {detail}"))
            }
        };
        Fact {
            upstream: Some(name.clone()),
            duration_ms: Some(self.ms),
            ..Fact::new(now, kind, "Upstream", code::TESTED, text)
        }
    }
}

/// Makes the test message, or says why none may leave; asked when all but that is done, since modes may change meanwhile.
pub type MakeTestMail<'a> = &'a (dyn Fn() -> Result<TestMail, TestMailRefused> + Sync);

/// Tests it, and tells of each step when it has ended. `instance`: this installation's own name.
pub async fn test_upstream(
    upstream: &Arc<Upstream>,
    (hostname, instance): (&str, &str),
    peer_cache: &Arc<PeerCache>,
    mail: Option<MakeTestMail<'_>>,
    mut on_step: impl FnMut(TestStep) + Send,
) -> TestResult {
    let begin = Instant::now();
    let mut failed = None;
    let mut tell = |ended: EndedStep| {
        let EndedStep { step, outcome, ms, detail } = ended;
        let remedy = (outcome == StepOutcome::Failed).then(|| remedy(upstream, step, &detail)).flatten();
        let step = TestStep { step, outcome, ms, detail, remedy };
        if outcome == StepOutcome::Failed {
            failed = Some(step.clone());
        }
        on_step(step);
    };
    // Why it failed, the step has told.
    if let Ok(mut way_out) = open(upstream, hostname, instance, peer_cache, &mut tell).await {
        if let Some(mail) = mail {
            let id = QueueId::fresh_at(peer_cache.clock.wall());
            tell(send(&mut way_out, id, mail).await);
        }
        if let WayOut::Connection(connection) = way_out {
            connection.quit().await;
        }
    }
    TestResult { ok: failed.is_none(), ms: ms_since(begin), failed }
}

async fn open(
    upstream: &Arc<Upstream>,
    hostname: &str,
    instance: &str,
    peer_cache: &Arc<PeerCache>,
    tell: StepWatcher<'_>,
) -> Result<WayOut, SessionError> {
    let Some(path) = &upstream.pickup_directory else {
        let opened = Connection::open_watched(upstream, hostname, peer_cache, tell).await?;
        return Ok(WayOut::Connection(Box::new(opened)));
    };
    let begin = Instant::now();
    let opened = PickupFolder::open(upstream, path, instance, peer_cache).await;
    let shown = printable(&path.display().to_string());
    tell(folder_step(SessionStep::Folder, begin, &opened, &shown));
    let folder = opened?;
    let begin = Instant::now();
    let written = folder.try_to_write().await;
    tell(folder_step(SessionStep::Write, begin, &written, "a file was made there, synced and removed"));
    written?;
    Ok(WayOut::Pickup(Box::new(folder)))
}

fn folder_step<T>(
    step: SessionStep,
    begin: Instant,
    result: &Result<T, SessionError>,
    done: &str,
) -> EndedStep {
    let (outcome, detail) = match result {
        Ok(_) => (StepOutcome::Ok, done.to_owned()),
        Err(error) => (StepOutcome::Failed, error.to_string()),
    };
    EndedStep { step, outcome, ms: ms_since(begin), detail }
}

async fn send(way_out: &mut WayOut, id: QueueId, mail: MakeTestMail<'_>) -> EndedStep {
    let begin = Instant::now();
    let (outcome, detail) = match mail() {
        Ok(mail) => send_mail(way_out, id, mail).await,
        Err(refused) => (StepOutcome::Failed, refused.to_string()),
    };
    EndedStep { step: SessionStep::Message, outcome, ms: ms_since(begin), detail }
}

async fn send_mail(way_out: &mut WayOut, id: QueueId, mail: TestMail) -> (StepOutcome, String) {
    let TestMail { sender, recipient, content } = mail;
    let path = format!("from {sender} to {recipient}");
    let envelope = OutboundEnvelope {
        body: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
        smtp_utf8: !sender.is_ascii() || !recipient.is_ascii(),
        size: content.len() as u64,
        reverse_path: ReversePath::Address(sender),
        recipients: vec![OutboundRecipient::from(recipient)],
        dsn: DsnRequest::default(),
    };
    let mut content = Outgoing::memory("", content, false);
    let result = way_out.transact(id, Role::Original, &envelope, &mut content, std::future::pending()).await;
    match (result.answers.first(), result.lost) {
        (Some(RecipientAnswer::Accepted(reply)), _) => (StepOutcome::Ok, format!("{path}: {reply}")),
        (Some(RecipientAnswer::Undecided) | None, Some(lost)) => {
            (StepOutcome::Failed, format!("{path}: {lost}"))
        }
        (Some(RecipientAnswer::Unknown(what)), _) => {
            (StepOutcome::Failed, format!("{path}: {what}: it may have arrived"))
        }
        (Some(RecipientAnswer::Refused { step, reply, .. }), _) => {
            (StepOutcome::Failed, format!("{path}: {} refused: {reply}", history::name(*step)))
        }
        (answer, _) => {
            let why = answer.map(RecipientAnswer::describe).unwrap_or_default();
            (StepOutcome::Failed, format!("{path}: {why}"))
        }
    }
}

fn ms_since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
}
