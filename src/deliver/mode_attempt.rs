//! An attempt that no upstream is needed for: debug and simulate decide (rule 7), or nothing is left to be sent.

use super::attempt_record;
use super::context::AttemptContext;
use super::mode_words;
use super::settlement::{AttemptOutcome, Deferral, settle};
use crate::event::outcome::Delays;
use crate::mail::{Address, EnhancedCode, Grounds, Outcome, Role, Verdict};
use crate::policy::plan::{Action, Plan};
use crate::queue::{Claim, RecipientVerdict};
use std::time::Duration;

/// Runs it to its end and settles it. `plan` is not one that sends anything.
pub(super) async fn run(context: &AttemptContext, claim: &Claim, plan: &Plan) {
    let decides = matches!(plan.action, Action::Simulate | Action::LogOnly(_));
    if decides {
        attempt_record::write(context, &claim.message).await;
    }
    let decide: &(dyn Fn(&Address) -> (Outcome, String) + Sync) = match &plan.action {
        Action::Simulate => &|address| (Outcome::Deferred, mode_words::simulated(address)),
        Action::LogOnly(debug) => &|address| match context.services.dice.fails(debug) {
            true => (Outcome::Deferred, mode_words::failed(address)),
            false => (Outcome::Delivered, mode_words::LOGGED_ONLY.to_owned()),
        },
        _ => &|_| (Outcome::Deferred, "nothing is left to be sent".to_owned()),
    };
    let verdict = |address: &Address| {
        let (outcome, reply) = decide(address);
        let enhanced =
            if outcome == Outcome::Delivered { EnhancedCode(2, 0, 0) } else { EnhancedCode(4, 0, 0) };
        let grounds = Grounds::NotAsked;
        let verdict = Verdict { outcome, upstream: None, reply, grounds, enhanced, refused_by: Vec::new() };
        RecipientVerdict { role: Role::Original, address: address.clone(), verdict, mode: plan.mode }
    };
    let open = claim.message.open_recipients().filter(|(_, one)| one.role == Role::Original && decides);
    let verdicts = open.map(|(_, recipient)| verdict(&recipient.address)).collect();
    let in_queue = context.services.clock.wall().duration_since(claim.message.received_at);
    let delays = Delays {
        before_queue: Duration::from_millis(claim.message.reception_ms),
        in_queue: in_queue.try_into().unwrap_or_default(),
        ..Delays::default()
    };
    let outcome = AttemptOutcome {
        verdicts,
        plan,
        counted: decides,
        failed_upstream: None,
        offer_dsn: Vec::new(),
        delays,
        records: Vec::new(),
    };
    settle(context, claim, outcome, Deferral::Decided).await;
}
