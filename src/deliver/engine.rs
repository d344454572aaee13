//! The engine: claims due mail, starts an attempt for each as soon as an upstream is available, sleeps when there is
//! nothing to do. New mail wakes it at once; nothing polls.
//!
//! Mail is claimed only while some upstream is available, so with all of them down it waits in the queue, keeps its
//! state and counts no attempt. Only its age is looked at then, once a minute: what is past `expire_after` expires.

use super::attempt::{self, Context, End};
use super::health::{Health, Slot};
use super::known::Known;
use super::pool::Pool;
use super::route::{self, Journey};
use super::settling;
use super::under_way::{Losses, UnderWay};
use crate::caught::{Panicked, caught};
use crate::clock::{Clock, Moment};
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::event::logemails::LogEmails;
use crate::mail::Message;
use crate::queue::{Claim, Queue, QueueError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than any attempt may last: the engine is the only one that claims, and gives back what it does not settle.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the age of waiting mail and idle connections are looked at.
const ROUND: Duration = Duration::from_secs(60);
/// A claim that has waited for longer is compared with the queue before its attempt starts.
const TRUSTED: Duration = Duration::from_secs(1);
/// Before the queue is asked again after it could not answer.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// Messages looked at in one go when nobody can be asked.
const OLD_AT_A_TIME: usize = 500;

/// What the engine is made of; the same parts serve its attempts.
pub struct Engine {
    /// Mail.
    pub queue: Arc<dyn Queue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Of the upstreams.
    pub health: Arc<Health>,
    /// Idle connections.
    pub pool: Arc<Pool>,
    /// In KiB, shared with reception.
    pub content_memory: Arc<Semaphore>,
    /// In force; an attempt takes the present ones when it starts.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Made new with the settings.
    pub known: watch::Receiver<Arc<Known>>,
    /// In force with the settings.
    pub log_emails: watch::Receiver<Option<Arc<LogEmails>>>,
}

/// How the engine is told to end.
#[derive(Clone, Default)]
pub struct Stop {
    /// No new attempts.
    pub gently: CancellationToken,
    /// Attempts under way are given up: their mail is put back.
    pub now: CancellationToken,
}

struct Running {
    engine: Engine,
    stop: Stop,
    attempts: TaskTracker,
    /// Number of attempts that have not ended.
    under_way: Arc<AtomicUsize>,
    /// Claimed, and waiting for an upstream.
    waiting: VecDeque<Waiting>,
    losses: Losses,
    last_round: Duration,
    claim_failed: bool,
    /// Nothing but what is claimed is due before then, unless the queue says that something has changed. None: not known.
    quiet_until: Option<Moment>,
    /// The age of waiting mail is to be looked at.
    age_is_due: bool,
}

/// A claim that waits for an upstream: for a busy one, or, where the free ones have refused it, for another.
struct Waiting {
    claim: Claim,
    /// Monotonic.
    since: Duration,
}

impl Engine {
    /// Runs until told to stop; returns when the last attempt has ended and its mail is settled or put back.
    pub async fn run(self, stop: Stop) {
        let last_round = self.clock.monotonic();
        let attempts = TaskTracker::new();
        let mut running = Running {
            engine: self,
            stop,
            attempts,
            under_way: Arc::default(),
            waiting: VecDeque::new(),
            losses: Losses::default(),
            last_round,
            claim_failed: false,
            quiet_until: None,
            age_is_due: false,
        };
        running.work().await;
        running.put_back_all();
        running.attempts.close();
        running.attempts.wait().await;
        running.engine.pool.close().await;
    }
}

impl Running {
    async fn work(&mut self) {
        let (woken, freed) = (self.engine.queue.woken(), self.engine.health.changed());
        while !self.stop.gently.is_cancelled() {
            let settings = self.engine.settings.borrow_and_update().clone();
            let looked = self.engine.clock.monotonic();
            self.engine.queue.freeze(!settings.sending_enabled);
            if !settings.sending_enabled {
                self.put_back_all();
            }
            self.start_attempts(&settings).await;
            if self.waiting.len() >= settings.queue.batch_size && self.can_send(&settings) {
                self.put_off_refused(&settings, Duration::ZERO).await;
            }
            if self.claim_more(&settings).await {
                continue;
            }
            self.expire_if_nobody_can_be_asked(&settings).await;
            let wake = self.next_wake(&settings, looked);
            tokio::select! {
                () = self.stop.gently.cancelled() => {}
                () = woken.notified() => self.quiet_until = None,
                () = freed.notified() => {}
                changed = self.engine.settings.changed() => {
                    self.quiet_until = None;
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.engine.clock.sleep_until(wake) => {}
            }
            if self.engine.clock.monotonic() >= self.last_round + ROUND {
                self.last_round = self.engine.clock.monotonic();
                self.look_around(&settings).await;
            }
        }
    }

    /// Every claimed message that some upstream is available for goes its way.
    async fn start_attempts(&mut self, settings: &Arc<Settings>) {
        let mut unlucky = VecDeque::new();
        while let Some(waiting) = self.waiting.pop_front() {
            if self.is_full(settings) {
                self.waiting.push_front(waiting);
                break;
            }
            let Some(slot) = choose(&waiting.claim, settings, &self.engine.health) else {
                unlucky.push_back(waiting);
                continue;
            };
            match self.still_stands(&waiting).await {
                true => self.start(waiting.claim, slot, settings),
                false => self.engine.queue.put_back(waiting.claim),
            }
        }
        unlucky.append(&mut self.waiting);
        self.waiting = unlucky;
    }

    /// Whether the message is as it was when it was claimed: an operator may have held or deleted it since.
    async fn still_stands(&self, waiting: &Waiting) -> bool {
        if self.engine.clock.monotonic() < waiting.since + TRUSTED {
            return true;
        }
        let claimed = &waiting.claim.message;
        let as_claimed = |now: Arc<Message>| now.due == claimed.due && now.recipients == claimed.recipients;
        self.engine.queue.show(claimed.id).await.is_ok_and(as_claimed)
    }

    /// Puts off what has waited for that long because upstreams have refused it: so it does not keep the rest from being
    /// claimed, and its age is looked at. What only waits for a busy upstream stays.
    async fn put_off_refused(&mut self, settings: &Arc<Settings>, waited: Duration) {
        let now = self.engine.clock.monotonic();
        let (refused, others) = std::mem::take(&mut self.waiting).into_iter().partition(|one: &Waiting| {
            one.since + waited <= now && !refused_by(&one.claim, settings).is_empty()
        });
        self.waiting = others;
        let refused = Vec::from_iter(VecDeque::into_iter(refused).map(|one| one.claim));
        self.put_off_all(settings, refused, "waits for the upstreams that have not refused it").await;
    }

    /// All together, so that they share commits.
    async fn put_off_all(&self, settings: &Arc<Settings>, claims: Vec<Claim>, why: &str) {
        let context = self.context(settings.clone());
        let mut under_way = JoinSet::new();
        for claim in claims {
            let (context, why) = (context.clone(), why.to_owned());
            under_way.spawn(async move { settling::put_off(&context, &claim, &why, false).await });
        }
        tokio::select! {
            // The queue has been asked; while the disk is full its answer may take long.
            () = self.stop.gently.cancelled() => {}
            () = async { while under_way.join_next().await.is_some() {} } => {}
        }
    }

    fn put_back_all(&mut self) {
        for waiting in self.waiting.drain(..) {
            self.engine.queue.put_back(waiting.claim);
        }
    }

    /// Claims more when somebody is available. True if there was anything.
    async fn claim_more(&mut self, settings: &Settings) -> bool {
        self.claim_failed = false;
        let room = settings.queue.batch_size.saturating_sub(self.waiting.len());
        let now = self.engine.queue.now();
        if room == 0 || !self.can_send(settings) || self.quiet_until.is_some_and(|until| now < until) {
            return false;
        }
        match self.claim_due(now, room).await {
            Ok(some) => some,
            Err(error) => {
                tracing::error!("no mail can be claimed: {error}");
                self.claim_failed = true;
                false
            }
        }
    }

    async fn claim_due(&mut self, now: Moment, room: usize) -> Result<bool, QueueError> {
        let claims = self.engine.queue.claim(now, LEASE, room).await?;
        let (count, since) = (claims.len(), self.engine.clock.monotonic());
        self.waiting.extend(claims.into_iter().map(|claim| Waiting { claim, since }));
        if count < room {
            // So a connection that is free again need not make us ask.
            self.quiet_until = Some(self.engine.queue.next_due().await?.unwrap_or(Moment(u64::MAX)));
        }
        Ok(count > 0)
    }

    fn is_full(&self, settings: &Settings) -> bool {
        self.under_way.load(Ordering::Relaxed) >= most_attempts(settings)
    }

    fn can_send(&self, settings: &Settings) -> bool {
        settings.sending_enabled
            && !self.is_full(settings)
            && route::candidates(&settings.upstreams)
                .any(|upstream| self.engine.health.free(upstream).is_some())
    }

    /// The next time by which something may have to be done without anybody telling (monotonic). Upstreams that were
    /// available at `looked` are no reason.
    fn next_wake(&self, settings: &Settings, looked: Duration) -> Duration {
        let (mono, now) = (self.engine.clock.monotonic(), self.engine.queue.now());
        let mut wake = self.last_round + ROUND;
        if let Some(change) = self.engine.health.next_change(&settings.upstreams, looked) {
            wake = wake.min(change);
        }
        if self.claim_failed {
            wake = wake.min(mono + PAUSE_AFTER_ERROR);
        } else if self.can_send(settings)
            && self.waiting.len() < settings.queue.batch_size
            && let Some(due) = self.quiet_until
        {
            wake = wake.min(mono + due.since(now));
        }
        // Never in the past: what is overdue by then has been seen to by the caller.
        wake.max(mono + Duration::from_millis(1))
    }

    fn start(&self, claim: Claim, slot: Slot, settings: &Arc<Settings>) {
        let context = self.context(settings.clone());
        let (ended, queue) = (self.engine.health.changed(), self.engine.queue.clone());
        let under_way = UnderWay::new(&self.under_way, ended, queue, claim.clone());
        let (losses, give_up) = (self.losses.clone(), self.stop.now.clone());
        self.attempts.spawn(async move {
            let id = claim.message.id;
            let end = tokio::select! {
                end = caught(attempt::run(&context, &claim, slot, losses.of(id))) => end,
                () = give_up.cancelled() => {
                    tracing::warn!(queue_id = %id, "the attempt was cut short by the stop: may be sent twice");
                    return;
                }
            };
            match end {
                Ok(End::Waiting { lost_sessions }) => losses.count(id, lost_sessions),
                Ok(End::Settled) => {
                    losses.forget(id);
                    under_way.settled();
                }
                Err(Panicked) => {
                    let why = "the attempt broke off: this is a bug in Postroom; may be sent twice";
                    tracing::error!(queue_id = %id, "{why}");
                    settling::put_off(&context, &claim, why, true).await;
                    under_way.settled();
                }
            }
        });
    }

    fn context(&self, settings: Arc<Settings>) -> Context {
        Context {
            queue: self.engine.queue.clone(),
            clock: self.engine.clock.clone(),
            health: self.engine.health.clone(),
            pool: self.engine.pool.clone(),
            known: self.engine.known.borrow().clone(),
            log_emails: self.engine.log_emails.borrow().clone(),
            content_memory: self.engine.content_memory.clone(),
            settings,
        }
    }

    /// Once a round: idle connections, failed mail that is kept long enough, and the age of mail that waits.
    async fn look_around(&mut self, settings: &Arc<Settings>) {
        self.engine.pool.expire(tokio::time::Instant::now());
        // Should anything have become due without a word, it waits for a minute and not for ever.
        self.quiet_until = None;
        self.put_off_refused(settings, ROUND).await;
        let days = jiff::SignedDuration::from_hours(24 * i64::from(settings.queue.failed_days));
        if let Ok(before) = self.engine.clock.wall().checked_sub(days)
            && let Err(error) = self.engine.queue.remove_failed(before).await
        {
            tracing::error!("failed mail that is kept long enough cannot be removed: {error}");
        }
        self.age_is_due = true;
    }

    /// Once a round, at a time when no upstream is available: with a circuit about to be probed it is too early to say so.
    async fn expire_if_nobody_can_be_asked(&mut self, settings: &Arc<Settings>) {
        let available = |upstream: &Arc<Upstream>| self.engine.health.free(upstream).is_some();
        if self.age_is_due
            && settings.sending_enabled
            && !route::candidates(&settings.upstreams).any(available)
        {
            self.age_is_due = false;
            self.expire_waiting(settings).await;
        }
    }

    async fn expire_waiting(&mut self, settings: &Arc<Settings>) {
        let now = self.engine.queue.now();
        let life = u64::try_from(settings.queue.expire_after.as_millis()).unwrap_or(u64::MAX);
        let born_by = Moment(now.0.saturating_sub(life));
        let mut last_errors: Vec<String> = route::candidates(&settings.upstreams)
            .filter_map(|upstream| {
                Some(format!("{}: {}", upstream.name, self.engine.health.standing(upstream).last_error?))
            })
            .collect();
        last_errors.sort();
        let reply = match last_errors.is_empty() {
            true => "no upstream was available".to_owned(),
            false => format!("no upstream was available; {}", last_errors.join("; ")),
        };
        // What is claimed and waits is looked at like the rest.
        self.put_back_all();
        while !self.stop.gently.is_cancelled() {
            let old =
                self.engine.queue.claim_old(now, born_by, LEASE, OLD_AT_A_TIME).await.unwrap_or_default();
            if old.is_empty() {
                return;
            }
            self.put_off_all(settings, old, &reply).await;
        }
    }
}

/// So many attempts may be on their way or waiting for their verdicts to be on disk: a connection is free for the next
/// message while the last one's verdict is being written, but the disk may not fall behind without bound.
fn most_attempts(settings: &Settings) -> usize {
    let connections: usize =
        route::candidates(&settings.upstreams).map(|upstream| upstream.connection_limit).sum();
    connections + settings.queue.batch_size
}

fn choose(claim: &Claim, settings: &Settings, health: &Arc<Health>) -> Option<Slot> {
    let failed_last = claim.message.failed_upstream.as_deref();
    let journey = Journey { failed_last, tried: &[], refused_by: &refused_by(claim, settings) };
    route::choose(&settings.upstreams, journey, health)
}

/// The upstreams that no recipient of it can be sent through.
fn refused_by(claim: &Claim, settings: &Settings) -> Vec<String> {
    let open = claim.message.open_recipients();
    route::common(open.map(|(_, recipient)| route::refusals(&recipient.refused_by, &settings.upstreams)))
}
