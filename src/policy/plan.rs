//! What is to happen to a message (rule 6): decided here and nowhere else, when an attempt starts, from the settings and
//! the message as it is stored.
//!
//! The order: its site is gone, a mode that has ended, nobody to report to, sending is off, simulate, debug, redirect, as it is
//! addressed.
//!
//! What keeps redirected mail from its recipients lies in five places: this plan; [`Message::under_mode`], set when a message is
//! accepted, settled or reviewed under a mode and cleared only by an operator's release; `Attempt::must_stop` before
//! each MAIL; the engine, which gives back what it has claimed when settings change; and [`super::changes`], which sees to
//! reverse-path and receipts.

use crate::config::handling::{DebugMode, Handling, Redirect};
use crate::mail::{Address, HoldReason, Message, Mode, Outcome, Recipient, RecipientState, Role};

/// What an attempt is to do.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The mode that applies.
    pub mode: Option<Mode>,
    /// Report copies that are still open and that nobody is to get any more.
    pub dropped_copies: Vec<Address>,
    /// Original recipients that are open and whose outcome follows from that of the report copies.
    pub redirected: Vec<Address>,
    pub action: Action,
}

impl Plan {
    /// What is to be sent.
    pub fn envelopes(&self) -> &[PlannedEnvelope] {
        match &self.action {
            Action::Send(envelopes) => envelopes,
            _ => &[],
        }
    }
}

/// All that can happen to a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Sending is off: it waits, and no time passes for it.
    Wait,
    /// It is held, because of that.
    Hold(HoldReason),
    /// Every recipient is deferred with a simulated error; nothing leaves.
    Simulate,
    /// Every recipient is logged, and counts as delivered or, by chance, is deferred; nothing leaves.
    LogOnly(DebugMode),
    /// These envelopes are sent. With none, nothing is left to be sent.
    Send(Vec<PlannedEnvelope>),
}

/// One envelope of a message: whoever is in it may share a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedEnvelope {
    /// Whom it is for, and so what is changed on the way out.
    pub kind: EnvelopeKind,
    /// The recipients that are open, never none.
    pub recipients: Vec<Address>,
}

/// Whom an envelope is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnvelopeKind {
    Direct,
    /// Report addresses, which get the message in place of these original recipients.
    ReportCopy(Vec<Address>),
}

impl PlannedEnvelope {
    /// The role of its recipients.
    pub fn role(&self) -> Role {
        match self.kind {
            EnvelopeKind::Direct => Role::Original,
            EnvelopeKind::ReportCopy(_) => Role::ReportCopy,
        }
    }
}

/// What is to happen to `message`. `handling` is that of its site: none where the site is not configured.
pub fn plan(handling: Option<&Handling>, message: &Message) -> Plan {
    let hold = |reason, mode, dropped_copies| Plan {
        mode,
        dropped_copies,
        redirected: Vec::new(),
        action: Action::Hold(reason),
    };
    let Some(handling) = handling else { return hold(HoldReason::SiteGone, None, Vec::new()) };
    let mode = handling.mode();
    if let Some(reason) = hold_reason(Some(handling), message) {
        let redirect_ended = mode != Some(Mode::Redirect);
        return hold(reason, mode, if redirect_ended { open_copies(message) } else { Vec::new() });
    }
    if handling.sending_off {
        return Plan { mode, dropped_copies: Vec::new(), redirected: Vec::new(), action: Action::Wait };
    }
    let (action, dropped_copies) = match mode {
        Some(Mode::Simulate) => (Action::Simulate, open_copies(message)),
        Some(Mode::Debug) => (Action::LogOnly(handling.debug.clone()), open_copies(message)),
        Some(Mode::Redirect) => return redirect(&handling.redirect, message),
        None => {
            let all = open(message, Role::Original).map(address).collect();
            (Action::Send(envelope(EnvelopeKind::Direct, all).into_iter().collect()), open_copies(message))
        }
    };
    Plan { mode, dropped_copies, redirected: Vec::new(), action }
}

/// Why the message is to be held, whether sending is on or off. What an operator holds is not looked at.
pub fn hold_reason(handling: Option<&Handling>, message: &Message) -> Option<HoldReason> {
    let Some(handling) = handling else { return Some(HoldReason::SiteGone) };
    let originals_open = open(message, Role::Original).next().is_some();
    match handling.mode() {
        None if message.under_mode && originals_open => Some(HoldReason::ModeEnded),
        Some(Mode::Redirect) => {
            let redirected = |recipient: &Recipient| !handling.redirect.allows(&recipient.address);
            let needs_copy = open(message, Role::Original).any(redirected);
            let nobody = handling.redirect.enabled_addresses().next().is_none();
            (needs_copy && nobody).then_some(HoldReason::NobodyToReportTo)
        }
        _ => None,
    }
}

/// Those whom `allow` names get their own mail; one copy for each enabled report address stands for all others.
fn redirect(redirect: &Redirect, message: &Message) -> Plan {
    let (allowed, others): (Vec<_>, Vec<_>) =
        open(message, Role::Original).partition(|one| redirect.allows(&one.address));
    // For whom a copy stands: also for those that count as delivered because another copy was taken.
    let stands_for = |one: &&Recipient| {
        one.role == Role::Original
            && !redirect.allows(&one.address)
            && (one.state.is_open() || one.mode == Some(Mode::Redirect))
    };
    let originals: Vec<Address> = message.recipients.iter().filter(stands_for).map(address).collect();
    let is_enabled = |address: &Address| redirect.enabled_addresses().any(|enabled| enabled == address);
    let stored = |address: &Address| {
        message.recipients.iter().find(|one| one.role == Role::ReportCopy && one.address == *address)
    };
    let some_open = message.recipients.iter().any(|one| one.role == Role::ReportCopy && one.state.is_open());
    let wanted = |address: &Address| match stored(address) {
        Some(copy) if copy.state.is_open() => true,
        // Whoever is still open was not in a copy that was taken: `allow` named him then.
        Some(copy) if copy.state == RecipientState::Delivered => !others.is_empty(),
        // Refused: not asked again, unless for somebody whom no copy has stood for.
        Some(_) => !others.is_empty() && !some_open,
        // Once a copy was taken, nobody who is enabled later gets another.
        None => !others.is_empty(),
    };
    let mut copies: Vec<Address> = Vec::new();
    for address in redirect.enabled_addresses().filter(|address| wanted(address)) {
        if !copies.iter().any(|copy| copy.as_str().eq_ignore_ascii_case(address.as_str())) {
            copies.push(address.clone());
        }
    }
    // Where all recipients are allowed now, a copy would stand for nobody.
    copies.retain(|_| !originals.is_empty());
    let is_dropped = |one: &Address| originals.is_empty() || !is_enabled(one);
    let dropped_copies = open(message, Role::ReportCopy).map(address).filter(is_dropped).collect();
    let redirected = others.into_iter().map(address).collect();
    let direct = envelope(EnvelopeKind::Direct, allowed.into_iter().map(address).collect());
    let copied = envelope(EnvelopeKind::ReportCopy(originals), copies);
    let action = Action::Send(direct.into_iter().chain(copied).collect());
    Plan { mode: Some(Mode::Redirect), dropped_copies, redirected, action }
}

fn envelope(kind: EnvelopeKind, recipients: Vec<Address>) -> Option<PlannedEnvelope> {
    (!recipients.is_empty()).then_some(PlannedEnvelope { kind, recipients })
}

fn open(message: &Message, role: Role) -> impl Iterator<Item = &Recipient> {
    message.recipients.iter().filter(move |one| one.role == role && one.state.is_open())
}

fn open_copies(message: &Message) -> Vec<Address> {
    open(message, Role::ReportCopy).map(address).collect()
}

fn address(recipient: &Recipient) -> Address {
    recipient.address.clone()
}

/// What becomes of the originals of a redirected message by the states of all its copies: `None` while it is open. They are
/// delivered once any report address took it, and fail when the last copy has failed and none was taken.
pub fn redirected_outcome(copies: &[RecipientState]) -> Option<Outcome> {
    if copies.contains(&RecipientState::Delivered) {
        return Some(Outcome::Delivered);
    }
    if copies.is_empty() || copies.iter().any(|state| state.is_open()) {
        return None;
    }
    let expired = copies.iter().all(|state| *state == RecipientState::Expired);
    Some(if expired { Outcome::Expired } else { Outcome::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::handling::ReportAddress;
    use crate::mail::{QueueId, ReversePath};
    use RecipientState::{Deferred, Delivered, Failed, Pending};

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn message(recipients: &[(Role, &str, RecipientState)]) -> Message {
        let recipient = |(role, text, state): &(Role, &str, RecipientState)| Recipient {
            role: *role,
            state: *state,
            ..Recipient::pending(at(text))
        };
        Message {
            recipients: recipients.iter().map(recipient).collect(),
            ..Message::new(QueueId::from_number(1), ReversePath::Null)
        }
    }

    fn to(addresses: &[&str]) -> Message {
        let all: Vec<_> = addresses.iter().map(|text| (Role::Original, *text, Pending)).collect();
        message(&all)
    }

    fn redirect_to(report: &[(&str, bool)], allow: &[&str]) -> Handling {
        let report =
            report.iter().map(|(email, enabled)| ReportAddress { email: at(email), enabled: *enabled });
        let redirect = Redirect {
            enabled: true,
            report_emails: report.collect(),
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        };
        Handling { redirect, ..Handling::default() }
    }

    fn direct(recipients: &[&str]) -> PlannedEnvelope {
        PlannedEnvelope {
            kind: EnvelopeKind::Direct,
            recipients: recipients.iter().map(|text| at(text)).collect(),
        }
    }

    fn copy(recipients: &[&str], originals: &[&str]) -> PlannedEnvelope {
        PlannedEnvelope {
            kind: EnvelopeKind::ReportCopy(originals.iter().map(|text| at(text)).collect()),
            recipients: recipients.iter().map(|text| at(text)).collect(),
        }
    }

    #[test]
    fn with_no_mode_everybody_who_is_open_gets_the_mail() {
        let message = message(&[
            (Role::Original, "a@x.test", Delivered),
            (Role::Original, "b@x.test", Deferred),
            (Role::Original, "c@x.test", Failed),
        ]);
        let plan = plan(Some(&Handling::default()), &message);
        assert_eq!((plan.mode, plan.action), (None, Action::Send(vec![direct(&["b@x.test"])])));
    }

    #[test]
    fn redirect_sends_one_copy_to_the_enabled_ones_and_their_own_to_the_allowed_ones() {
        let handling = redirect_to(
            &[("qa@r.test", true), ("off@r.test", false), ("ops@r.test", true), ("qa@r.test", true)],
            &["@ours.test"],
        );
        let plan = plan(Some(&handling), &to(&["a@x.test", "dev@ours.test", "b@x.test", "ops@r.test"]));
        let originals = ["a@x.test", "b@x.test", "ops@r.test"];
        let expected = vec![direct(&["dev@ours.test"]), copy(&["qa@r.test", "ops@r.test"], &originals)];
        assert_eq!(plan.action, Action::Send(expected));
    }

    #[test]
    fn redirect_with_nobody_enabled_holds_unless_everybody_is_allowed() {
        let handling = redirect_to(&[("qa@r.test", false)], &["dev@ours.test"]);
        let held = plan(Some(&handling), &to(&["a@x.test", "dev@ours.test"]));
        assert_eq!(held.action, Action::Hold(HoldReason::NobodyToReportTo));
        let sent = plan(Some(&handling), &to(&["dev@ours.test"]));
        assert_eq!(sent.action, Action::Send(vec![direct(&["dev@ours.test"])]));
    }

    #[test]
    fn a_copy_that_was_taken_or_refused_is_not_sent_again() {
        let handling = redirect_to(&[("qa@r.test", true), ("ops@r.test", true), ("new@r.test", true)], &[]);
        let mut message = message(&[
            (Role::Original, "a@x.test", Deferred),
            (Role::ReportCopy, "qa@r.test", Failed),
            (Role::ReportCopy, "ops@r.test", Deferred),
        ]);
        let expected = copy(&["ops@r.test", "new@r.test"], &["a@x.test"]);
        assert_eq!(plan(Some(&handling), &message).action, Action::Send(vec![expected]));
        (message.recipients[0].state, message.recipients[0].mode) = (Delivered, Some(Mode::Redirect));
        let expected = copy(&["ops@r.test"], &["a@x.test"]);
        assert_eq!(plan(Some(&handling), &message).action, Action::Send(vec![expected]));
    }

    #[test]
    fn copies_for_somebody_who_was_disabled_or_of_a_mode_that_ended_are_dropped() {
        let message = message(&[
            (Role::Original, "a@x.test", Delivered),
            (Role::ReportCopy, "qa@r.test", Delivered),
            (Role::ReportCopy, "ops@r.test", Deferred),
        ]);
        for handling in [
            redirect_to(&[("qa@r.test", true), ("ops@r.test", false)], &[]),
            redirect_to(&[], &[]),
            Handling::default(),
        ] {
            let plan = plan(Some(&handling), &Message { under_mode: true, ..message.clone() });
            assert_eq!(plan.dropped_copies, [at("ops@r.test")]);
            assert_eq!(plan.action, Action::Send(Vec::new()));
        }
    }

    #[test]
    fn whom_allow_names_no_longer_is_in_another_copy_although_one_was_taken() {
        let mut message = message(&[
            (Role::Original, "a@x.test", Delivered),
            (Role::Original, "dev@ours.test", Deferred),
            (Role::ReportCopy, "qa@r.test", Delivered),
        ]);
        message.recipients[0].mode = Some(Mode::Redirect);
        let of = |allow: &[&str]| plan(Some(&redirect_to(&[("qa@r.test", true)], allow)), &message).action;
        let expected = copy(&["qa@r.test"], &["a@x.test", "dev@ours.test"]);
        assert_eq!(of(&[]), Action::Send(vec![expected]));
        assert_eq!(of(&["@ours.test"]), Action::Send(vec![direct(&["dev@ours.test"])]));
    }

    #[test]
    fn a_copy_that_would_stand_for_nobody_is_dropped() {
        let message =
            message(&[(Role::Original, "a@x.test", Deferred), (Role::ReportCopy, "qa@r.test", Deferred)]);
        let plan = plan(Some(&redirect_to(&[("qa@r.test", true)], &["a@x.test"])), &message);
        assert_eq!(plan.dropped_copies, [at("qa@r.test")]);
        assert_eq!(plan.action, Action::Send(vec![direct(&["a@x.test"])]));
    }

    #[test]
    fn report_addresses_that_differ_in_case_alone_are_one() {
        let handling = redirect_to(&[("qa@r.test", true), ("QA@R.Test", true)], &[]);
        let plan = plan(Some(&handling), &to(&["a@x.test"]));
        assert_eq!(plan.action, Action::Send(vec![copy(&["qa@r.test"], &["a@x.test"])]));
    }

    #[test]
    fn what_a_mode_has_touched_is_held_when_none_applies() {
        let message = Message { under_mode: true, ..to(&["a@x.test"]) };
        let action = |handling: &Handling| plan(Some(handling), &message).action;
        assert_eq!(action(&Handling::default()), Action::Hold(HoldReason::ModeEnded));
        assert_eq!(action(&Handling { simulate: true, ..Handling::default() }), Action::Simulate);
        let debug = DebugMode { enabled: true, ..DebugMode::default() };
        let handling = Handling { debug: debug.clone(), ..Handling::default() };
        assert_eq!(action(&handling), Action::LogOnly(debug));
        assert_eq!(plan(None, &message).action, Action::Hold(HoldReason::SiteGone));
    }

    #[test]
    fn with_sending_off_it_waits() {
        let handling = Handling { sending_off: true, ..redirect_to(&[("qa@r.test", true)], &[]) };
        assert_eq!(plan(Some(&handling), &to(&["a@x.test"])).action, Action::Wait);
    }

    #[test]
    fn originals_follow_their_copies() {
        assert_eq!(redirected_outcome(&[]), None);
        assert_eq!(redirected_outcome(&[Deferred, Failed]), None);
        assert_eq!(redirected_outcome(&[Deferred, Delivered]), Some(Outcome::Delivered));
        assert_eq!(redirected_outcome(&[Failed, RecipientState::Expired]), Some(Outcome::Failed));
        assert_eq!(redirected_outcome(&[RecipientState::Expired]), Some(Outcome::Expired));
    }
}
