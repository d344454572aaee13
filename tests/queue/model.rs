//! Random lives, compared with a plain model in memory after every step.

use super::*;
use postroom::event::Event;
use postroom::queue::{ActionResult, Filter, OperatorAction};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
enum Step {
    Put { recipients: usize, size: usize },
    Claim { limit: usize },
    Settle { which: usize, outcomes: Vec<Outcome> },
    PutBack { which: usize },
    Act { action: OperatorAction, which: usize },
    Wait { minutes: u64 },
    RemoveFailed { minutes: u64 },
    Record { kinds: Vec<EventType> },
    Restart,
}

/// How many events of each type are kept.
const KEPT: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    use Outcome::{Deferred, Delivered, Expired, Failed};
    let outcomes = prop::collection::vec(prop::sample::select(vec![Delivered, Deferred, Failed, Expired]), 3);
    let action = prop::sample::select(vec![
        OperatorAction::Retry,
        OperatorAction::Hold,
        OperatorAction::Release,
        OperatorAction::Delete,
    ]);
    let kind = prop::sample::select(vec![EventType::Information, EventType::Warning, EventType::Error]);
    prop_oneof![
        4 => (1..4_usize, prop::sample::select(vec![0, 10, 4_100, 5_000])).prop_map(|(recipients, size)| {
            Step::Put { recipients, size }
        }),
        3 => (1..4_usize).prop_map(|limit| Step::Claim { limit }),
        4 => (0..8_usize, outcomes).prop_map(|(which, outcomes)| Step::Settle { which, outcomes }),
        1 => (0..8_usize).prop_map(|which| Step::PutBack { which }),
        4 => (action, 0..12_usize).prop_map(|(action, which)| Step::Act { action, which }),
        2 => (1..8_u64).prop_map(|minutes| Step::Wait { minutes }),
        1 => (0..5_u64).prop_map(|minutes| Step::RemoveFailed { minutes }),
        1 => prop::collection::vec(kind, 1..8).prop_map(|kinds| Step::Record { kinds }),
        1 => Just(Step::Restart),
    ]
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<QueueId, Message>,
    changed: BTreeMap<QueueId, Timestamp>,
    /// By id: when the lease ends.
    leases: BTreeMap<QueueId, Moment>,
    /// Retried while leased: due at once when the attempt has ended.
    made_due: BTreeSet<QueueId>,
    facts: usize,
    /// Everything that was ever recorded, as it was told to those who follow.
    events: Vec<Arc<Event>>,
    /// First attempts that went ahead of waiting retries since the last retry.
    ahead: u32,
}

impl Model {
    /// First attempts before retries, each the longest due first; every tenth is a retry that waits behind them.
    fn claim(&mut self, now: Moment, limit: usize) -> Vec<QueueId> {
        let free = |id: &QueueId| self.leases.get(id).is_none_or(|until| *until <= now);
        let lane = |retry: bool| {
            let due = self.messages.values().filter_map(|message| Some((message.due?, message)));
            let due = due.filter(|(due, message)| *due <= now && free(&message.id));
            let mut due: Vec<_> = due
                .filter(|(_, message)| (message.attempts > 0 || message.deferrals > 0) == retry)
                .map(|(due, message)| (due, message.id))
                .collect();
            due.sort();
            VecDeque::from(due)
        };
        let (mut first, mut retries, mut claimed) = (lane(false), lane(true), Vec::new());
        while claimed.len() < limit {
            let both = !first.is_empty() && !retries.is_empty();
            let from_behind = both && self.ahead == 9;
            self.ahead = if both && !from_behind { self.ahead + 1 } else { 0 };
            let from = if first.is_empty() || from_behind { &mut retries } else { &mut first };
            let Some((_, id)) = from.pop_front() else { break };
            claimed.push(id);
        }
        claimed
    }

    /// The newest of each type, in the order of their ids.
    fn kept(&self) -> Vec<Event> {
        let newer = |event: &Event| {
            self.events.iter().filter(|one| one.id > event.id && one.fact.kind == event.fact.kind).count()
        };
        self.events.iter().filter(|event| newer(event) < KEPT).map(|event| Event::clone(event)).collect()
    }

    fn settle(&mut self, claim: &Claim, outcomes: &[Outcome], now: Moment, next_due: Moment) {
        self.leases.remove(&claim.message.id);
        let made_due = self.made_due.remove(&claim.message.id);
        self.facts += 1;
        let Some(message) = self.messages.get_mut(&claim.message.id) else { return };
        message.attempts += 1;
        message.deferrals += u32::from(outcomes.contains(&Outcome::Deferred));
        let held = message.held_since.is_some();
        for ((place, _), outcome) in claim.message.open_recipients().zip(outcomes) {
            let recipient = &mut message.recipients[place];
            let decided = verdict(*outcome);
            (recipient.reply, recipient.upstream) = (Some(decided.reply), decided.upstream);
            recipient.state = match outcome {
                Outcome::Delivered => RecipientState::Delivered,
                Outcome::Deferred if held => RecipientState::Held,
                Outcome::Deferred => RecipientState::Deferred,
                Outcome::Failed => RecipientState::Failed,
                Outcome::Expired => RecipientState::Expired,
            };
        }
        let open: Vec<_> = message.open_recipients().map(|(place, _)| place).collect();
        let reopened = open.iter().any(|place| !claim.message.recipients[*place].state.is_open());
        message.due =
            (!open.is_empty() && !held).then_some(if reopened || made_due { now } else { next_due });
        if open.is_empty() {
            message.held_since = None;
            message.hold.clear();
        }
        if message.state() == MessageState::Sent {
            self.messages.remove(&claim.message.id);
        }
    }

    fn act(&mut self, action: OperatorAction, id: QueueId, now: Moment) -> ActionResult {
        let Some(message) = self.messages.get_mut(&id) else { return ActionResult::NotFound };
        let held = message.state() == MessageState::Held;
        let open = message.open_recipients().count();
        let each_open = |message: &mut Message, state| {
            message.recipients.iter_mut().filter(|one| one.state.is_open()).for_each(|one| one.state = state);
        };
        match action {
            OperatorAction::Delete => drop(self.messages.remove(&id)),
            OperatorAction::Hold if !held && open > 0 => {
                each_open(message, RecipientState::Held);
                (message.held_since, message.due) = (Some(now), None);
                message.hold.insert(HoldReason::Operator);
            }
            OperatorAction::Release if held => {
                let state =
                    if message.attempts > 0 { RecipientState::Deferred } else { RecipientState::Pending };
                each_open(message, state);
                message.hold.clear();
                let time = now.since(message.held_since.take().unwrap());
                (message.due, message.life_start) = (Some(now), message.life_start.after(time));
            }
            OperatorAction::Retry if !held => {
                let gone = [RecipientState::Failed, RecipientState::Expired];
                let failed: Vec<_> =
                    message.recipients.iter_mut().filter(|one| gone.contains(&one.state)).collect();
                if open == 0 && failed.is_empty() {
                    return ActionResult::Unchanged;
                }
                if !failed.is_empty() {
                    failed.into_iter().for_each(|one| one.state = RecipientState::Pending);
                    (message.attempts, message.deferrals, message.life_start) = (0, 0, now);
                }
                message.due = Some(message.due.map_or(now, |due| due.min(now)));
                if self.leases.contains_key(&id) {
                    self.made_due.insert(id);
                }
            }
            _ => return ActionResult::Unchanged,
        }
        self.facts += 1;
        ActionResult::Done
    }
}

async fn live(steps: Vec<Step>) {
    let home = Home::new();
    let open = || {
        let queue = home.open();
        queue.keep_events(KEPT as u64);
        let followed = queue.subscribe();
        (queue, followed)
    };
    let (mut queue, mut followed) = open();
    let mut model = Model::default();
    let mut claims: Vec<Claim> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let now = queue.now();
        let wall = queue.wall(now);
        match &step {
            Step::Put { recipients, size } => {
                let message = message(&queue, &["a@x.test", "b@x.test", "c@x.test"][..*recipients], *size);
                put(&queue, &message).await.unwrap();
                model.facts += 1;
                model.messages.insert(message.id, message);
            }
            Step::Claim { limit } => {
                let got = claim(&queue, *limit).await;
                let expected = model.claim(now, *limit);
                assert_eq!(claimed(&got), expected, "step {number} {step:?}");
                for claim in got {
                    assert_eq!(*claim.message, model.messages[&claim.message.id], "step {number}");
                    assert_eq!(read(&queue, &claim.message).await.unwrap(), content(&claim.message));
                    // Whoever had it before is fenced off.
                    claims.retain(|other| other.message.id != claim.message.id);
                    model.leases.insert(claim.message.id, now.after(5 * MINUTE));
                    model.made_due.remove(&claim.message.id);
                    claims.push(claim);
                }
            }
            Step::Settle { which, outcomes } if !claims.is_empty() => {
                let claim = claims.remove(which % claims.len());
                let outcomes = &outcomes[..claim.message.open_recipients().count()];
                model.settle(&claim, outcomes, now, now.after(MINUTE));
                model.changed.insert(claim.message.id, wall);
                settle(&queue, claim, outcomes).await;
            }
            Step::PutBack { which } if !claims.is_empty() => {
                let claim = claims.remove(which % claims.len());
                model.leases.remove(&claim.message.id);
                model.made_due.remove(&claim.message.id);
                queue.put_back(claim);
            }
            Step::Act { action, which } if !model.messages.is_empty() => {
                let id = *model.messages.keys().nth(which % model.messages.len()).unwrap();
                let expected = model.act(*action, id, now);
                if expected == ActionResult::Done {
                    model.changed.insert(id, wall);
                }
                assert_eq!(queue.act(*action, vec![id]).await.unwrap(), [expected], "step {number} {step:?}");
            }
            Step::Wait { minutes } => home.clock.advance(*minutes as u32 * MINUTE),
            Step::RemoveFailed { minutes } => {
                let before = wall - *minutes as u32 * MINUTE;
                let old =
                    |one: &Message| one.state() == MessageState::Failed && model.changed[&one.id] < before;
                let old: Vec<_> = model.messages.values().filter(|one| old(one)).map(|one| one.id).collect();
                let before = queue.common_now().before(*minutes as u32 * MINUTE);
                assert_eq!(
                    queue.remove_failed(before).await.unwrap(),
                    old.len() as u64,
                    "step {number} {step:?}"
                );
                for id in old {
                    model.act(OperatorAction::Delete, id, now);
                }
            }
            Step::Record { kinds } => {
                model.facts += kinds.len();
                let fact = |kind: &EventType| Fact::new(wall, *kind, "Test", "TEST", "");
                queue.record(kinds.iter().map(fact).collect());
                // Answered when what was asked before is done.
                queue.act(OperatorAction::Hold, vec![QueueId::from_number(0)]).await.unwrap();
            }
            Step::Restart => {
                queue.close().await.unwrap();
                drop(queue);
                (queue, followed) = open();
                claims.clear();
                model.leases.clear();
                model.made_due.clear();
            }
            _ => {}
        }
        let page = queue.list(Filter::default(), None, 1_000).await.unwrap();
        let listed: Vec<Message> = page.messages.iter().rev().map(|one| (**one).clone()).collect();
        assert_eq!(listed, model.messages.values().cloned().collect::<Vec<_>>(), "step {number} {step:?}");
        let health = queue.status();
        for (state, counted) in [
            (MessageState::Queued, health.queued),
            (MessageState::Deferred, health.deferred),
            (MessageState::Held, health.held),
            (MessageState::Failed, health.failed),
        ] {
            let filter = Filter::of_states(vec![state]);
            let of_state = queue.list(filter, None, 1_000).await.unwrap().messages.len();
            let expected = model.messages.values().filter(|one| one.state() == state).count();
            assert_eq!((of_state, counted), (expected, expected as u64), "step {number} {step:?} {state:?}");
        }
        model.events.extend(std::iter::from_fn(|| followed.try_recv().ok()).map(as_stored));
        assert_eq!(model.events.len(), model.facts, "step {number} {step:?}");
        let kept = model.kept();
        assert_eq!(queue.events(Some(0), 10_000).await.unwrap(), kept, "step {number} {step:?}");
        let newest = kept.len().min(3);
        assert_eq!(
            queue.events(None, 3).await.unwrap(),
            kept[kept.len() - newest..],
            "step {number} {step:?}"
        );
        let now = queue.now();
        let free = |one: &&Message| model.leases.get(&one.id).is_none_or(|until| *until <= now);
        let next =
            model.messages.values().filter(free).filter_map(|one| one.due).min().map(|due| due.max(now));
        assert_eq!(next_due(&queue).await, next, "step {number} {step:?}");
    }
    queue.close().await.unwrap();
}

/// What webhooks are told by is not stored.
fn as_stored(mut event: Arc<Event>) -> Arc<Event> {
    Arc::make_mut(&mut event).fact.topic = None;
    event
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_queue_does_what_a_plain_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(steps));
    }
}
