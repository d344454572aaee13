//! What an attempt knows of one recipient: what the answers so far come to, and whether another upstream may be asked.

use super::disposition::Disposition;
use super::route;
use super::transaction_result::RecipientAnswer;
use crate::config::settings::Upstream;
use crate::mail::{
    Address, EnhancedCode, Grounds, Mode, Outcome, Recipient, RecipientDsn, Refusal, Role, Verdict, shortened,
};
use crate::queue::RecipientVerdict;
use std::sync::Arc;

/// Characters of a reply that are kept with the recipient, told and logged.
const LONGEST_REPLY: usize = 1024;

/// One open recipient on its way through the attempt.
pub(super) struct RecipientProgress {
    pub(super) role: Role,
    /// The number of its envelope in the plan.
    pub(super) envelope: usize,
    pub(super) address: Address,
    /// What its sender asked of notices about it; nothing for a report copy.
    pub(super) dsn: RecipientDsn,
    pub(super) refused_by: Vec<Refusal>,
    /// The upstream and reply of an earlier attempt, where one of those refused it.
    previous_refusal: Option<(Option<String>, String)>,
    /// That of the last answer that said something of this recipient.
    verdict: Option<Verdict>,
    /// The verdict is final, or no other upstream may be asked in this attempt.
    pub(super) is_decided: bool,
}

impl RecipientProgress {
    pub(super) fn new(
        recipient: &Recipient,
        envelope: usize,
        candidates: &[Arc<Upstream>],
    ) -> RecipientProgress {
        let dsn = match recipient.role {
            Role::Original => RecipientDsn {
                notify: recipient.notify,
                original_recipient: recipient.original_recipient.clone(),
            },
            Role::ReportCopy => RecipientDsn::default(),
        };
        RecipientProgress {
            dsn,
            role: recipient.role,
            envelope,
            address: recipient.address.clone(),
            refused_by: route::refusals_in_force(&recipient.refused_by, candidates),
            previous_refusal: recipient.previous_refusal(),
            verdict: None,
            is_decided: false,
        }
    }

    /// Whether that upstream is to be asked about it.
    pub(super) fn is_open_at(&self, upstream: &Upstream) -> bool {
        !self.is_decided && !self.is_refused_by(upstream)
    }

    /// Whether some upstream has said something of it in this attempt.
    pub(super) fn is_answered(&self) -> bool {
        self.verdict.is_some()
    }

    /// Records an upstream's answer and what it means here.
    pub(super) fn record(&mut self, upstream: &Upstream, answer: &RecipientAnswer, means: Disposition) {
        let (outcome, is_decided) = match means {
            Disposition::Delivered => (Outcome::Delivered, true),
            Disposition::Failed => (Outcome::Failed, true),
            Disposition::Unknown => (Outcome::Deferred, true),
            Disposition::NextTransaction | Disposition::NextUpstream => (Outcome::Deferred, false),
            Disposition::RefusedHere => {
                let (upstream, revision) = (upstream.name.clone(), upstream.revision());
                self.refused_by.push(Refusal { upstream, revision });
                (Outcome::Deferred, false)
            }
            // That is about the upstream.
            Disposition::NoSession | Disposition::SessionLost => return,
        };
        self.is_decided = is_decided;
        self.verdict = Some(Verdict {
            outcome,
            upstream: Some(upstream.name.clone()),
            reply: shortened(answer.describe(), LONGEST_REPLY),
            grounds: answer.grounds(),
            enhanced: answer.enhanced_code(),
            refused_by: Vec::new(),
        });
    }

    /// The verdict when no other upstream is to be asked now. `last_error`: the upstream that could not be used last, and
    /// why. Where time ran out in this attempt that is newer than the reply of an earlier attempt.
    pub(super) fn into_verdict(
        self,
        candidates: &[Arc<Upstream>],
        last_error: Option<(Option<String>, String)>,
        out_of_time: bool,
    ) -> RecipientVerdict {
        let all_refused =
            !self.refused_by.is_empty() && candidates.iter().all(|candidate| self.is_refused_by(candidate));
        let mut verdict = self.verdict.unwrap_or_else(|| {
            let previous = self.previous_refusal;
            let (first, second) = if out_of_time { (last_error, previous) } else { (previous, last_error) };
            let (upstream, reply) =
                first.or(second).unwrap_or_else(|| (None, "no upstream was available".into()));
            Verdict {
                outcome: Outcome::Deferred,
                upstream,
                reply,
                grounds: Grounds::NotAsked,
                enhanced: EnhancedCode(4, 4, 2),
                refused_by: Vec::new(),
            }
        });
        if !self.is_decided && all_refused {
            verdict.outcome = Outcome::Failed;
        }
        verdict.refused_by = self.refused_by;
        let mode = (self.role == Role::ReportCopy).then_some(Mode::Redirect);
        RecipientVerdict { role: self.role, address: self.address, verdict, mode }
    }

    fn is_refused_by(&self, upstream: &Upstream) -> bool {
        self.refused_by.iter().any(|refusal| refusal.upstream == upstream.name)
    }
}
