//! Mail that goes nowhere for now: it is held when it is claimed, and looked at again when settings have changed (rule 6).

use super::context::{AttemptContext, Services};
use super::settlement;
use crate::config::{Settings, Topic};
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::{HoldReason, Message};
use crate::policy::plan::{self, Plan};
use crate::queue::{Claim, HoldChange, QueueError, Settlement};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Held messages that are looked at together.
const PAGE: usize = 500;

/// Holds a claimed message.
pub(super) async fn hold(context: &AttemptContext, claim: &Claim, plan: &Plan, reason: HoldReason) {
    let message = &claim.message;
    let text = format!("message {} is held: {}", message.id, why(reason, message));
    let fact =
        about(message, EventType::Warning, code::HELD, text, context.services.clock.wall()).on(Topic::Held);
    let settlement = Settlement {
        dropped_copies: plan.dropped_copies.clone(),
        mode: plan.mode,
        hold: Some(reason),
        facts: vec![fact],
        ..Settlement::unchanged(context.services.queue.now_of(&message.site))
    };
    settlement::commit(context, claim, settlement).await;
}

fn why(reason: HoldReason, message: &Message) -> String {
    let site = &message.site;
    match reason {
        HoldReason::Operator => "an operator said so".to_owned(),
        HoldReason::ModeEnded => {
            "it was under redirect, debug or simulate, and none of them applies to it any more; release it to send it to its recipients"
                .to_owned()
        }
        HoldReason::NobodyToReportTo => {
            "redirect is on and no report address is enabled; enable one in redirect.report_emails".to_owned()
        }
        HoldReason::SiteGone => format!("its site {site} is not configured any more; release it to send it to its recipients as mail of no site"),
    }
}

fn about(message: &Message, kind: EventType, code: &str, text: String, now: Timestamp) -> Fact {
    Fact {
        queue_id: Some(message.id),
        site: named_site(&message.site),
        ..Fact::new(now, kind, "Mail", code, text)
    }
}

/// Looks at all held messages under the settings in force: reasons that have gone are lifted, new ones are added.
pub(super) async fn review(services: &Arc<Services>) -> Result<(), QueueError> {
    let mut cursor = None;
    loop {
        let page = services.queue.held(cursor, PAGE).await?;
        if page.messages.is_empty() {
            return Ok(());
        }
        // Settings may have changed again since this review was started.
        let settings = services.settings.borrow().clone();
        let now = services.clock.wall();
        let changes: Vec<HoldChange> =
            page.messages.iter().filter_map(|message| change(&settings, message, now)).collect();
        if !changes.is_empty() {
            services.queue.change_holds(changes).await?;
        }
        match page.next {
            None => return Ok(()),
            next => cursor = next,
        }
    }
}

/// What holds a held message under these settings, where that is something else.
fn change(settings: &Settings, message: &Message, now: Timestamp) -> Option<HoldChange> {
    let handling = settings.handling_of(&message.site);
    let under_mode = message.under_mode || handling.is_some_and(|handling| handling.mode().is_some());
    let seen = Message { under_mode, ..message.clone() };
    let by_operator = message.hold.contains(&HoldReason::Operator).then_some(HoldReason::Operator);
    let reason = plan::hold_reason(handling, &seen);
    let hold: BTreeSet<HoldReason> = by_operator.into_iter().chain(reason).collect();
    if hold == message.hold && under_mode == message.under_mode {
        return None;
    }
    let fact = |kind, code, text: String| about(message, kind, code, text, now);
    let id = message.id;
    let mut facts: Vec<Fact> = hold
        .difference(&message.hold)
        .map(|reason| {
            let text = format!("message {id} is held: {}", why(*reason, message));
            fact(EventType::Warning, code::HELD, text).on(Topic::Held)
        })
        .collect();
    if hold.is_empty() {
        let text = format!("message {id} is not held any more: settings have changed");
        facts.push(fact(EventType::Information, code::RELEASED, text));
    }
    Some(HoldChange { id, expected: message.hold.clone(), hold, under_mode, facts })
}
