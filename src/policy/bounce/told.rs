//! Who is told of which recipients (rule 9).

use super::super::changes::reverse_path_after_sender;
use crate::config::Settings;
use crate::config::settings::BounceTo;
use crate::mail::{
    Address, EnhancedCode, Grounds, Message, Notify, Outcome, Recipient, Return, ReversePath, Role, Verdict,
};
use crate::queue::RecipientVerdict;
use std::collections::HashMap;

/// What became of a recipient (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DsnAction {
    /// It will not be delivered.
    Failed,
    /// It is late, and tried again.
    Delayed,
    /// It was handed to a server that does not report on delivery.
    Relayed,
}

/// One recipient that is told of.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// As it was before the verdict.
    pub recipient: &'a Recipient,
    /// What was decided now.
    pub verdict: &'a Verdict,
    /// What is said of it.
    pub action: DsnAction,
}

/// A notice that is due.
#[derive(Clone, Debug)]
pub struct DueNotice<'a> {
    /// Who gets it, never nobody.
    pub to: Vec<Address>,
    /// Of whom it tells, never nobody.
    pub told: Vec<Told<'a>>,
    /// The whole message was asked for; else its header is returned.
    pub wants_all: bool,
    /// Whoever gets it reads UTF-8 in any part of it (RFC 6533).
    pub utf8: bool,
}

impl DueNotice<'_> {
    /// How many of them became this.
    pub fn count(&self, action: DsnAction) -> usize {
        self.told.iter().filter(|one| one.action == action).count()
    }

    /// A server has refused the content: a notice that returns it would be refused like it.
    pub fn is_content_refused(&self) -> bool {
        let failed = self.told.iter().filter(|one| one.action == DsnAction::Failed);
        failed.into_iter().any(|one| refuses_content(one.verdict))
    }
}

/// Whether what is refused is the content, or its size (5.2.3, 5.3.4, 552 to MAIL).
pub fn refuses_content(verdict: &Verdict) -> bool {
    let is_permanent = verdict.reply.starts_with('5') && verdict.grounds == Grounds::Content;
    let is_size = matches!(verdict.enhanced, EnhancedCode(5, 2, 3) | EnhancedCode(5, 3, 4))
        || (verdict.grounds == Grounds::Mail && verdict.reply.starts_with("552"));
    is_permanent || is_size
}

/// The notice about these verdicts of one commit, if one is due. `is_late`: the message waits for so long that its sender may
/// want to know. `offers_dsn`: whether that upstream does, and so reports on delivery itself.
///
/// Nobody is told of what a mode has decided, and never of a message that has the null reverse-path or is a notice itself.
pub fn due<'a>(
    settings: &Settings,
    message: &'a Message,
    verdicts: &'a [RecipientVerdict],
    is_late: bool,
    offers_dsn: impl Fn(&str) -> bool,
) -> Option<DueNotice<'a>> {
    if message.is_notice || message.reverse_path == ReversePath::Null {
        return None;
    }
    let originals: HashMap<&Address, &Recipient> =
        message.originals().map(|one| (&one.address, one)).collect();
    let told = |one: &'a RecipientVerdict| {
        let verdict = &one.verdict;
        let recipient = *originals.get(&one.address)?;
        let handed_on = || !verdict.upstream.as_deref().is_some_and(&offers_dsn);
        let action = match verdict.outcome {
            Outcome::Failed | Outcome::Expired => DsnAction::Failed,
            Outcome::Deferred => DsnAction::Delayed,
            Outcome::Delivered => DsnAction::Relayed,
        };
        let news = match action {
            DsnAction::Failed => !recipient.failure_told,
            DsnAction::Delayed => is_late && !message.delay_told,
            DsnAction::Relayed => handed_on(),
        };
        (news && is_asked_for(recipient.notify, action)).then_some(Told { recipient, verdict, action })
    };
    let ours = verdicts.iter().filter(|one| one.role == Role::Original && one.mode.is_none());
    let told: Vec<Told<'a>> = ours.filter_map(told).collect();
    let handling = settings.handling_or_global(&message.site);
    let to: Vec<Address> = match settings.queue.bounce {
        BounceTo::Nobody => Vec::new(),
        BounceTo::Sender => {
            let sender = reverse_path_after_sender(message, handling);
            sender.address().map(|address| after_aliases(settings, address)).into_iter().collect()
        }
        BounceTo::Report => handling.redirect.enabled_addresses().cloned().collect(),
    };
    if told.is_empty() || to.is_empty() {
        return None;
    }
    let failed = told.iter().any(|one| one.action == DsnAction::Failed);
    // Whoever sends SMTPUTF8 reads it (RFC 6533 section 5).
    let declared = message.smtp_utf8 && settings.queue.bounce == BounceTo::Sender;
    Some(DueNotice {
        // RFC 3461 section 4.3: RET speaks of failures alone.
        wants_all: failed && message.returns == Some(Return::Full),
        utf8: declared || to.iter().all(|address| !address.is_ascii()),
        to,
        told,
    })
}

/// Where a notice for that address goes: cron's mail comes from `root@default_domain`, whom `[aliases]` knows without the domain.
fn after_aliases(settings: &Settings, address: &Address) -> Address {
    let is_ours = address.domain().eq_ignore_ascii_case(&settings.default_domain);
    let alias = settings.aliases.find(address.local_part()).filter(|_| is_ours);
    alias.unwrap_or(address).clone()
}

/// Where nothing was said, failures alone are told of.
pub(super) fn is_asked_for(notify: Notify, action: DsnAction) -> bool {
    match (notify, action) {
        (Notify::Unsaid, action) => action == DsnAction::Failed,
        (Notify::Never, _) => false,
        (Notify::Of { failure, .. }, DsnAction::Failed) => failure,
        (Notify::Of { delay, .. }, DsnAction::Delayed) => delay,
        (Notify::Of { success, .. }, DsnAction::Relayed) => success,
    }
}
