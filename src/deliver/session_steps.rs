//! The steps to a usable session, for whoever wants to see each of them when it has ended: `postroom test` does, attempts do
//! not.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Instant;
use utoipa::ToSchema;

/// A step on the way to a session, and what a test does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionStep {
    /// Name to addresses.
    Lookup,
    Connect,
    Greeting,
    /// EHLO, or HELO where the server does not know that; again behind STARTTLS.
    Ehlo,
    /// STARTTLS and the handshake.
    Tls,
    /// An OAuth 2 token.
    Token,
    Auth,
    /// A pickup folder, in place of all those.
    Folder,
    /// A file in it, made and removed.
    Write,
    /// A test message.
    Message,
}

impl fmt::Display for SessionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SessionStep::Lookup => "lookup",
            SessionStep::Connect => "connect",
            SessionStep::Greeting => "greeting",
            SessionStep::Ehlo => "ehlo",
            SessionStep::Tls => "tls",
            SessionStep::Token => "token",
            SessionStep::Auth => "auth",
            SessionStep::Folder => "folder",
            SessionStep::Write => "write",
            SessionStep::Message => "message",
        })
    }
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    Ok,
    /// It failed, and what comes does without it.
    Warning,
    /// It failed, and nothing comes after it.
    Failed,
}

/// A step that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedStep {
    pub step: SessionStep,
    pub outcome: StepOutcome,
    /// How long it took.
    pub ms: u64,
    /// What came of it, on one printable line, without secrets.
    pub detail: String,
}

/// Who is told of ended steps.
pub type StepWatcher<'a> = &'a mut (dyn FnMut(EndedStep) + Send);

/// Where a session that is being opened stands. Without a watcher it costs nothing worth speaking of.
pub(super) struct SessionSteps<'a> {
    watcher: Option<StepWatcher<'a>>,
    current: SessionStep,
    began: Instant,
}

impl<'a> SessionSteps<'a> {
    pub(super) fn unwatched() -> SessionSteps<'static> {
        SessionSteps { watcher: None, current: SessionStep::Lookup, began: Instant::now() }
    }

    pub(super) fn watched_by(watcher: StepWatcher<'a>) -> SessionSteps<'a> {
        SessionSteps { watcher: Some(watcher), ..SessionSteps::unwatched() }
    }

    pub(super) fn begin(&mut self, step: SessionStep) {
        (self.current, self.began) = (step, Instant::now());
    }

    /// The step that was begun last is done. `detail` is asked for only where somebody wants it.
    pub(super) fn done(&mut self, detail: impl FnOnce() -> String) {
        self.end(StepOutcome::Ok, detail);
    }

    /// The step that was begun last failed. `detail` says why.
    pub(super) fn end(&mut self, outcome: StepOutcome, detail: impl FnOnce() -> String) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(watcher) = &mut self.watcher {
            watcher(EndedStep { step: self.current, outcome, ms, detail: detail() });
        }
    }
}
