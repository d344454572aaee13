//! The engine: claims due mail, starts an attempt for each as soon as an upstream is available, sleeps when there is
//! nothing to do. New mail wakes it at once; nothing polls.
//!
//! Mail is claimed only while some upstream is available, so with all of them down it waits in the queue, keeps its
//! state and counts no attempt. Only its age is looked at then, once a minute: what is past `expire_after` expires.

use super::attempt::{self, AttemptEnd};
use super::attempt_guard::AttemptGuard;
use super::context::Services;
use super::lost_sessions::LostSessions;
use super::route;
use super::settlement::{self, Deferral};
use super::slot::Slot;
use super::waiting_claim::{RECHECK_CLAIM_AFTER, WaitingClaim};
use crate::clock::Moment;
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::queue::{Claim, QueueError};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than any attempt may last: the engine is the only one that claims, and gives back what it does not settle.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often failed mail is cleaned up and the age of waiting mail checked.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);
/// Before the queue is asked again after it could not answer.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// Messages deferred or expired at a time while no upstream is available.
const EXPIRY_BATCH: usize = 500;
/// So many messages more than there are free connections are claimed at a time, so that not every connection that is free
/// again makes us ask. Few, because what comes in meanwhile goes behind them, however urgent it is.
const LOOK_AHEAD: usize = 5;

/// How the engine is told to end.
#[derive(Clone, Default)]
pub struct Stop {
    /// No new attempts.
    pub gently: CancellationToken,
    /// Attempts under way are given up: their mail is put back.
    pub now: CancellationToken,
}

/// Claims due mail and runs its attempts.
pub struct Engine {
    services: Arc<Services>,
    settings: watch::Receiver<Arc<Settings>>,
    stop: Stop,
    attempts: TaskTracker,
    /// Number of attempts that have not ended.
    under_way: Arc<AtomicUsize>,
    /// Claimed, and waiting for an upstream.
    waiting: VecDeque<WaitingClaim>,
    lost_sessions: LostSessions,
    last_maintenance: Duration,
    /// Those that the last round of work was done under.
    settings_seen: Option<Arc<Settings>>,
    claim_failed: bool,
    /// Nothing but what is claimed is due before then, unless the queue says that something has changed. None: not known.
    nothing_due_until: Option<Moment>,
    /// The age of waiting mail is to be checked.
    age_is_due: bool,
}

impl Engine {
    /// An engine that has not begun; `stop` ends it.
    pub fn new(services: Services, stop: Stop) -> Engine {
        let last_maintenance = services.clock.monotonic();
        let settings = services.settings.clone();
        Engine {
            services: Arc::new(services),
            settings,
            stop,
            attempts: TaskTracker::new(),
            under_way: Arc::default(),
            waiting: VecDeque::new(),
            lost_sessions: LostSessions::default(),
            last_maintenance,
            settings_seen: None,
            claim_failed: false,
            nothing_due_until: None,
            age_is_due: false,
        }
    }

    /// Runs until told to stop; returns when the last attempt has ended and its mail is settled or put back.
    pub async fn run(mut self) {
        self.work().await;
        self.put_back_all();
        self.attempts.close();
        self.attempts.wait().await;
        self.services.pool.close().await;
    }

    async fn work(&mut self) {
        let (due_changed, freed) = (self.services.queue.due_changed(), self.services.health.changed());
        while !self.stop.gently.is_cancelled() {
            let settings = self.settings.borrow_and_update().clone();
            // Compared here and not on the notification, because another wake-up may come first.
            let before = self.settings_seen.replace(settings.clone());
            if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &settings)) {
                self.nothing_due_until = None;
                self.on_upstreams_changed(&before, &settings);
            }
            let round_start = self.services.clock.monotonic();
            self.services.queue.freeze(settings.handling.sending_off);
            if settings.handling.sending_off {
                self.put_back_all();
            }
            self.start_attempts(&settings).await;
            self.defer_refused(&settings).await;
            if self.claim_more(&settings).await {
                continue;
            }
            self.expire_if_nobody_can_be_asked(&settings).await;
            let wake = self.next_wake(&settings, round_start);
            tokio::select! {
                () = self.stop.gently.cancelled() => {}
                () = due_changed.notified() => self.nothing_due_until = None,
                () = freed.notified() => {}
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.services.clock.sleep_until(wake) => {}
            }
            if self.services.clock.monotonic() >= self.last_maintenance + MAINTENANCE_INTERVAL {
                self.last_maintenance = self.services.clock.monotonic();
                self.maintain(&settings).await;
            }
        }
    }

    /// Starts an attempt for every claimed message that an upstream is available for.
    async fn start_attempts(&mut self, settings: &Arc<Settings>) {
        let mut still_waiting = VecDeque::new();
        while self.can_send(settings)
            && let Some(mut waiting) = self.waiting.pop_front()
        {
            let Some(slot) = waiting.take_slot(settings, &self.services.health) else {
                still_waiting.push_back(waiting);
                continue;
            };
            match waiting.is_unchanged(&self.services).await {
                true => self.start(waiting.claim, slot, settings),
                false => self.services.queue.put_back(waiting.claim),
            }
        }
        still_waiting.append(&mut self.waiting);
        self.waiting = still_waiting;
    }

    /// Mail that some upstream has refused stays claimed for a while if another one is merely busy. Otherwise it is
    /// deferred, so that other mail can be claimed in its place and its age is checked.
    async fn defer_refused(&mut self, settings: &Arc<Settings>) {
        let now = self.services.clock.monotonic();
        let (refused, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(WaitingClaim::is_refused);
        self.waiting = others;
        let (mut in_vain, mut too_long) = (Vec::new(), Vec::new());
        for (place, mut waiting) in refused.into_iter().enumerate() {
            let waits_too_long =
                now >= waiting.since + MAINTENANCE_INTERVAL || place >= settings.queue.batch_size;
            if !waiting.is_unchanged(&self.services).await {
                self.services.queue.put_back(waiting.claim);
            } else if !waiting.has_busy_upstream(settings, &self.services.health) {
                in_vain.push(waiting.claim);
            } else if waits_too_long {
                too_long.push(waiting.claim);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        let why = "waits for the upstreams that have not refused it";
        self.defer_all(settings, in_vain, why, Deferral::NobodyAvailable).await;
        self.defer_all(settings, too_long, why, Deferral::OthersBusy).await;
    }

    /// All together, so that they share commits.
    async fn defer_all(&self, settings: &Arc<Settings>, claims: Vec<Claim>, why: &str, deferral: Deferral) {
        let context = self.services.context(settings.clone());
        let mut under_way = JoinSet::new();
        for claim in claims {
            let (context, why) = (context.clone(), why.to_owned());
            under_way.spawn(async move { settlement::defer(&context, &claim, &why, deferral).await });
        }
        tokio::select! {
            // The queue has been asked; while the disk is full its answer may take long.
            () = self.stop.gently.cancelled() => {}
            () = async { while under_way.join_next().await.is_some() {} } => {}
        }
    }

    /// After a reload: refusals by changed upstreams no longer hold, so mail that waits because of them is due at once.
    fn on_upstreams_changed(&mut self, old: &Settings, new: &Settings) {
        if old.upstreams == new.upstreams {
            return;
        }
        self.put_back_all();
        let (queue, stop) = (self.services.queue.clone(), self.stop.gently.clone());
        self.attempts.spawn(async move {
            let made_due = tokio::select! {
                made_due = queue.make_refused_due() => made_due,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = made_due {
                tracing::warn!("mail that upstreams refused waits for its due time: {error}");
            }
        });
    }

    fn put_back_all(&mut self) {
        for waiting in self.waiting.drain(..) {
            self.services.queue.put_back(waiting.claim);
        }
    }

    /// Claims more when an upstream is available. True if anything was claimed.
    async fn claim_more(&mut self, settings: &Settings) -> bool {
        self.claim_failed = false;
        let capacity = self.claim_capacity(settings);
        let now = self.services.queue.now();
        if capacity == 0
            || !self.can_send(settings)
            || self.nothing_due_until.is_some_and(|until| now < until)
        {
            return false;
        }
        match self.claim_due(now, capacity, settings).await {
            Ok(some) => some,
            Err(error) => {
                tracing::error!("no mail can be claimed: {error}");
                self.claim_failed = true;
                false
            }
        }
    }

    async fn claim_due(
        &mut self,
        now: Moment,
        capacity: usize,
        settings: &Settings,
    ) -> Result<bool, QueueError> {
        let sites = sites_that_can_go();
        let claims = self.services.queue.claim(now, LEASE, &sites, capacity).await?;
        let (count, since) = (claims.len(), self.services.clock.monotonic());
        self.waiting.extend(claims.into_iter().map(|claim| WaitingClaim::new(claim, settings, since)));
        if count < capacity {
            // So a connection that is free again need not make us ask.
            self.nothing_due_until =
                Some(self.services.queue.next_due(&sites).await?.unwrap_or(Moment(u64::MAX)));
        }
        Ok(count > 0)
    }

    /// How many more messages are claimed now: as many as there are free connections, and a few.
    fn claim_capacity(&self, settings: &Settings) -> usize {
        let free: usize = route::candidates(&settings.upstreams)
            .filter_map(|upstream| self.services.health.free(upstream))
            .sum();
        let wanted = settings.queue.batch_size.min(free + LOOK_AHEAD);
        wanted.saturating_sub(self.waiting.iter().filter(|one| !one.is_refused()).count())
    }

    fn is_full(&self, settings: &Settings) -> bool {
        self.under_way.load(Ordering::Relaxed) >= most_attempts(settings)
    }

    fn can_send(&self, settings: &Settings) -> bool {
        !settings.handling.sending_off
            && !self.is_full(settings)
            && route::candidates(&settings.upstreams)
                .any(|upstream| self.services.health.free(upstream).is_some())
    }

    /// The next time by which something may have to be done without anybody telling (monotonic). Upstreams that were
    /// available at `round_start` are no reason.
    fn next_wake(&self, settings: &Settings, round_start: Duration) -> Duration {
        let (mono, now) = (self.services.clock.monotonic(), self.services.queue.now());
        let mut wake = self.last_maintenance + MAINTENANCE_INTERVAL;
        if let Some(change) = self.services.health.next_change(&settings.upstreams, round_start) {
            wake = wake.min(change);
        }
        if self.waiting.iter().any(WaitingClaim::is_refused) {
            // An operator may have done something about it, and it does not wait here for long.
            wake = wake.min(mono + RECHECK_CLAIM_AFTER);
        }
        if self.claim_failed {
            wake = wake.min(mono + PAUSE_AFTER_ERROR);
        } else if self.can_send(settings)
            && self.claim_capacity(settings) > 0
            && let Some(due) = self.nothing_due_until
        {
            wake = wake.min(mono + due.since(now));
        }
        // Never in the past: the caller has just handled what is overdue.
        wake.max(mono + Duration::from_millis(1))
    }

    fn start(&self, claim: Claim, slot: Slot, settings: &Arc<Settings>) {
        let context = self.services.context(settings.clone());
        let (ended, queue) = (self.services.health.changed(), self.services.queue.clone());
        let guard = AttemptGuard::new(&self.under_way, ended, queue, claim.clone());
        let (lost_before, give_up) = (self.lost_sessions.clone(), self.stop.now.clone());
        self.attempts.spawn(async move {
            let id = claim.message.id;
            let end = tokio::select! {
                end = AssertUnwindSafe(attempt::run(&context, &claim, slot, lost_before.of(id))).catch_unwind() => end,
                () = give_up.cancelled() => {
                    tracing::warn!(queue_id = %id, "the attempt was cut short by the stop: may be sent twice");
                    return;
                }
            };
            match end {
                Ok(AttemptEnd::Waiting { lost_sessions }) => lost_before.count(id, lost_sessions),
                Ok(AttemptEnd::Settled) => {
                    lost_before.forget(id);
                    guard.settled();
                }
                Err(_) => {
                    let why = "the attempt broke off: this is a bug in Postroom; may be sent twice";
                    tracing::error!(queue_id = %id, "{why}");
                    settlement::defer(&context, &claim, why, Deferral::Decided).await;
                    guard.settled();
                }
            }
        });
    }

    /// Every [`MAINTENANCE_INTERVAL`]: removes failed mail that is kept long enough, has the age of waiting mail checked.
    async fn maintain(&mut self, settings: &Arc<Settings>) {
        // Should the queue ever fail to wake us for mail that is due, it is claimed a minute later.
        self.nothing_due_until = None;
        let days = jiff::SignedDuration::from_hours(24 * i64::from(settings.queue.failed_days));
        if let Ok(before) = self.services.clock.wall().checked_sub(days)
            && let Err(error) = self.services.queue.remove_failed(before).await
        {
            tracing::error!("failed mail that is kept long enough cannot be removed: {error}");
        }
        self.age_is_due = true;
    }

    /// Once after each maintenance, as soon as no upstream is available: one whose circuit is about to be probed counts as
    /// available.
    async fn expire_if_nobody_can_be_asked(&mut self, settings: &Arc<Settings>) {
        let available = |upstream: &Arc<Upstream>| self.services.health.free(upstream).is_some();
        if self.age_is_due
            && !settings.handling.sending_off
            && !route::candidates(&settings.upstreams).any(available)
        {
            // Mail of running attempts is checked when they have ended.
            self.age_is_due = self.under_way.load(Ordering::Relaxed) > 0;
            self.expire_waiting(settings).await;
        }
    }

    async fn expire_waiting(&mut self, settings: &Arc<Settings>) {
        let now = self.services.queue.now();
        let life = u64::try_from(settings.queue.expire_after.as_millis()).unwrap_or(u64::MAX);
        let born_by = Moment(now.0.saturating_sub(life));
        let mut last_errors: Vec<String> = route::candidates(&settings.upstreams)
            .filter_map(|upstream| {
                Some(format!("{}: {}", upstream.name, self.services.health.status(upstream).last_error?))
            })
            .collect();
        last_errors.sort();
        let reply = match last_errors.is_empty() {
            true => "no upstream was available".to_owned(),
            false => format!("no upstream was available; {}", last_errors.join("; ")),
        };
        // Claimed mail that waits is checked like the rest.
        self.put_back_all();
        while !self.stop.gently.is_cancelled() {
            let old =
                self.services.queue.claim_old(now, born_by, LEASE, EXPIRY_BATCH).await.unwrap_or_default();
            if old.is_empty() {
                return;
            }
            self.defer_all(settings, old, &reply, Deferral::NobodyAvailable).await;
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

/// The sites whose mail may go now, mail of no site (`""`) among them: all that there are.
fn sites_that_can_go() -> [String; 1] {
    [String::new()]
}
