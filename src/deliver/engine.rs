//! The engine: claims due mail, asks what is to happen to it, starts an attempt for each message as soon as an upstream is
//! available, sleeps when there is nothing to do. New mail wakes it at once; nothing polls.
//!
//! Mail that needs an upstream is claimed only while one is available to its site, so with all of them down it waits in the
//! queue, keeps its state and counts no attempt. Only its age is looked at then, once a minute: what is past `expire_after`
//! expires.

use super::attempt::{self, AttemptEnd};
use super::attempt_guard::AttemptGuard;
use super::claim_groups::{LOOK_AHEAD, ReadyGroup, free_connections, ready_groups};
use super::concurrently::run_all;
use super::context::Services;
use super::lost_sessions::LostSessions;
use super::settlement::{self, Deferral};
use super::slot::Slot;
use super::waiting_claim::{RECHECK_CLAIM_AFTER, WaitingClaim};
use super::{holding, mode_attempt, old_mail, route};
use crate::config::Settings;
use crate::config::handling::Handling;
use crate::config::settings::Upstream;
use crate::mail::{HoldReason, Mode};
use crate::policy::plan::{self, Action, Plan};
use crate::queue::{Claim, ClaimGroup, QueueError};
use futures_util::FutureExt;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than any attempt may last: the engine is the only one that claims, and gives back what it does not settle.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often failed mail is cleaned up and the age of waiting mail checked.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Before the queue is asked again after it could not answer.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// How the engine is told to end.
#[derive(Clone, Default)]
pub struct Stop {
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
    /// The groups that may be claimed under these settings, looked up anew once a minute.
    ready_groups: Vec<ReadyGroup>,
    /// Of these groups nothing but what is claimed is due before then (monotonic), unless the queue says that something has
    /// changed.
    nothing_due_until: HashMap<ClaimGroup, Duration>,
    /// Sites the age of whose waiting mail is to be checked.
    age_is_due: BTreeSet<String>,
}

impl Engine {
    /// An engine that has not begun; `stop` ends it.
    pub fn new(services: impl Into<Arc<Services>>, stop: Stop) -> Engine {
        let services = services.into();
        let last_maintenance = services.clock.monotonic();
        let settings = services.settings.clone();
        Engine {
            services,
            settings,
            stop,
            attempts: TaskTracker::new(),
            under_way: Arc::default(),
            waiting: VecDeque::new(),
            lost_sessions: LostSessions::default(),
            last_maintenance,
            settings_seen: None,
            claim_failed: false,
            ready_groups: Vec::new(),
            nothing_due_until: HashMap::new(),
            age_is_due: BTreeSet::new(),
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
            if before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &settings)) {
                self.on_settings_changed(before.as_deref(), &settings);
            }
            let round_start = self.services.clock.monotonic();
            self.start_attempts(&settings).await;
            self.defer_refused(&settings).await;
            if self.claim_more(&settings).await {
                continue;
            }
            self.expire_if_nobody_can_be_asked(&settings).await;
            let wake = self.next_wake(&settings, round_start);
            tokio::select! {
                () = self.stop.gently.cancelled() => {}
                () = due_changed.notified() => self.nothing_due_until.clear(),
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
                self.maintain(&settings);
            }
        }
    }

    /// Starts an attempt for every claimed message that an upstream is available for.
    async fn start_attempts(&mut self, settings: &Arc<Settings>) {
        let mut still_waiting = VecDeque::new();
        while self.can_send(settings)
            && let Some(waiting) = self.waiting.pop_front()
        {
            let Some(slot) = waiting.take_slot(&self.services.health) else {
                still_waiting.push_back(waiting);
                continue;
            };
            match self.services.queue.is_current(&waiting.claim) {
                true => self.start(waiting.claim, waiting.plan, Some(slot), settings),
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
        for (place, waiting) in refused.into_iter().enumerate() {
            let waits_too_long =
                now >= waiting.since + MAINTENANCE_INTERVAL || place >= settings.queue.batch_size;
            if !self.services.queue.is_current(&waiting.claim) {
                self.services.queue.put_back(waiting.claim);
            } else if !waiting.has_busy_upstream(&self.services.health) {
                in_vain.push(waiting.claim);
            } else if waits_too_long {
                too_long.push(waiting.claim);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        let why = "waits for the upstreams that have not refused it";
        let (context, stop) = (self.services.context(settings.clone()), &self.stop.gently);
        settlement::defer_all(&context, stop, in_vain, why, Deferral::NobodyAvailable).await;
        settlement::defer_all(&context, stop, too_long, why, Deferral::OthersBusy).await;
    }

    /// At the start and after a reload: what is planned for claimed mail no longer holds, nor do refusals by changed
    /// upstreams, so mail that waits because of them is due at once; and held mail may be held for another reason or none.
    fn on_settings_changed(&mut self, old: Option<&Settings>, new: &Settings) {
        self.nothing_due_until.clear();
        self.ready_groups = ready_groups(new, self.services.queue.sites());
        for (site, handling) in new.handlings() {
            self.services.queue.freeze(site, handling.sending_off);
        }
        let upstreams_changed = old.is_some_and(|old| old.upstreams != new.upstreams);
        let handling_changed = old.is_none_or(|old| old.handling != new.handling || old.sites != new.sites);
        if upstreams_changed || handling_changed {
            self.put_back_all();
        }
        if upstreams_changed {
            let queue = self.services.queue.clone();
            self.spawn(
                async move { queue.make_refused_due().await },
                "mail that upstreams refused waits for its due time",
            );
        }
        if handling_changed {
            let services = self.services.clone();
            self.spawn(
                async move { holding::review(&services).await },
                "held mail was not reviewed after the change of settings",
            );
        }
    }

    /// Runs beside attempts, until the stop. `failed` is the warning when it fails.
    fn spawn(
        &self,
        work: impl Future<Output = Result<(), QueueError>> + Send + 'static,
        failed: &'static str,
    ) {
        let stop = self.stop.gently.clone();
        self.attempts.spawn(async move {
            let done = tokio::select! {
                done = work => done,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!("{failed}: {error}");
            }
        });
    }

    fn put_back_all(&mut self) {
        for waiting in self.waiting.drain(..) {
            self.services.queue.put_back(waiting.claim);
        }
    }

    /// Claims more of what can go now. True if anything was claimed.
    async fn claim_more(&mut self, settings: &Arc<Settings>) -> bool {
        self.claim_failed = false;
        let now = self.services.clock.monotonic();
        let mut limits = self.claimable(settings);
        limits
            .retain(|(ready, _)| self.nothing_due_until.get(&ready.group).is_none_or(|until| now >= *until));
        let (to_send, others): (Vec<_>, Vec<_>) =
            limits.into_iter().partition(|(ready, _)| ready.needs_upstream);
        let mut claimed = false;
        for (limits, limit) in
            [(to_send, self.shared_capacity(settings)), (others, settings.queue.batch_size)]
        {
            if limits.is_empty() || limit == 0 {
                continue;
            }
            match self.claim_due(limits, limit, settings).await {
                Ok(some) => claimed |= some,
                Err(error) => {
                    tracing::error!("no mail can be claimed, which is tried again in a second: {error}");
                    self.claim_failed = true;
                    return false;
                }
            }
        }
        claimed
    }

    /// How many messages that need an upstream may be claimed now in all: as many as there are free connections, and a few. With
    /// more, what comes in urgently would wait behind what each of many sites has claimed. Mail that waits for upstreams that are
    /// not available takes nobody's place.
    fn shared_capacity(&self, settings: &Settings) -> usize {
        let health = &self.services.health;
        let enabled = settings.upstreams.iter().filter(|upstream| upstream.enabled);
        let free: usize = enabled.filter_map(|upstream| health.free(upstream)).sum();
        let may_go = |one: &&WaitingClaim| !one.is_refused() && one.has_available_upstream(health);
        let waiting = self.waiting.iter().filter(may_go).count();
        settings.queue.batch_size.min(free + LOOK_AHEAD).saturating_sub(waiting)
    }

    /// The groups of which something may be claimed now, and how much.
    fn claimable(&self, settings: &Settings) -> Vec<(ReadyGroup, usize)> {
        if self.is_full(settings) {
            return Vec::new();
        }
        let mut waiting: HashMap<&str, usize> = HashMap::new();
        for one in self.waiting.iter().filter(|one| !one.is_refused()) {
            *waiting.entry(&one.claim.message.site).or_default() += 1;
        }
        let limit = |ready: &ReadyGroup| {
            let waiting = waiting.get(ready.group.site.as_str()).copied().unwrap_or(0);
            let limit = ready.capacity(settings, &self.services.health, waiting);
            (limit > 0).then(|| (ready.clone(), limit))
        };
        self.ready_groups.iter().filter_map(limit).collect()
    }

    async fn claim_due(
        &mut self,
        limits: Vec<(ReadyGroup, usize)>,
        limit: usize,
        settings: &Arc<Settings>,
    ) -> Result<bool, QueueError> {
        let queue = &self.services.queue;
        let requests = limits.iter().map(|(ready, limit)| ready.request(&**queue, *limit)).collect();
        let claims = queue.claim(LEASE, requests, limit).await?;
        let count = claims.len();
        let mut claimed: HashMap<ClaimGroup, usize> = HashMap::new();
        for claim in &claims {
            let (site, under_mode) = (claim.message.site.clone(), claim.message.under_mode);
            *claimed.entry(ClaimGroup { site, under_mode }).or_default() += 1;
        }
        self.begin(claims, settings).await;
        // So a connection that is free again need not make us ask.
        let is_exhausted = |(ready, most): &(ReadyGroup, usize)| {
            let taken = claimed.get(&ready.group).copied().unwrap_or(0);
            (count < limit && taken < *most).then(|| ready.group.clone())
        };
        let exhausted: Vec<ClaimGroup> = limits.iter().filter_map(is_exhausted).collect();
        if !exhausted.is_empty() {
            let now = self.services.clock.monotonic();
            let wait = self.services.queue.next_due(exhausted.clone()).await?;
            let until = wait.map_or(Duration::MAX, |wait| now.saturating_add(wait));
            self.nothing_due_until.extend(exhausted.into_iter().map(|group| (group, until)));
        }
        Ok(count > 0)
    }

    /// Does with claimed mail what is planned for it: at once where no upstream is needed.
    async fn begin(&mut self, claims: Vec<Claim>, settings: &Arc<Settings>) {
        let (mut held, since) = (Vec::new(), self.services.clock.monotonic());
        for claim in claims {
            let plan = plan::plan(settings.handling_of(&claim.message.site), &claim.message);
            match &plan.action {
                Action::Wait => self.services.queue.put_back(claim),
                Action::Hold(reason) => held.push((*reason, claim, plan)),
                Action::Send(envelopes) if !envelopes.is_empty() => {
                    self.waiting.push_back(WaitingClaim::new(claim, plan, settings, since));
                }
                Action::Simulate | Action::LogOnly(_) | Action::Send(_) => {
                    self.start(claim, plan, None, settings);
                }
            }
        }
        let context = self.services.context(settings.clone());
        let hold = |(reason, claim, plan): (HoldReason, Claim, Plan)| {
            let context = context.clone();
            async move { holding::hold(&context, &claim, &plan, reason).await }
        };
        run_all(&self.stop.gently, held.into_iter().map(hold)).await;
    }

    fn is_full(&self, settings: &Settings) -> bool {
        self.under_way.load(Ordering::Relaxed) >= most_attempts(settings)
    }

    fn can_send(&self, settings: &Settings) -> bool {
        let is_free = |upstream: &Arc<Upstream>| self.services.health.free(upstream).is_some();
        !self.is_full(settings)
            && settings.upstreams.iter().any(|upstream| upstream.enabled && is_free(upstream))
    }

    /// The next time by which something may have to be done without anybody telling (monotonic). Upstreams that were
    /// available at `round_start` are no reason.
    fn next_wake(&self, settings: &Settings, round_start: Duration) -> Duration {
        let mono = self.services.clock.monotonic();
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
        } else {
            let until = |(ready, _): (ReadyGroup, usize)| self.nothing_due_until.get(&ready.group).copied();
            wake = self.claimable(settings).into_iter().filter_map(until).fold(wake, Duration::min);
        }
        // Never in the past: the caller has just handled what is overdue.
        wake.max(mono + Duration::from_millis(1))
    }

    /// Without a slot: the attempt needs no upstream.
    fn start(&self, claim: Claim, plan: Plan, slot: Option<Slot>, settings: &Arc<Settings>) {
        let context = self.services.context(settings.clone());
        let (ended, queue) = (self.services.health.changed(), self.services.queue.clone());
        let guard = AttemptGuard::new(&self.under_way, ended, queue, claim.clone());
        let (lost_before, give_up) = (self.lost_sessions.clone(), self.stop.now.clone());
        self.attempts.spawn(async move {
            let id = claim.message.id;
            let attempt = async {
                if let Some(late) = old_mail::no_longer_late(&context, &claim.message).await {
                    old_mail::drop_outdated(&context, &claim, late).await;
                    return AttemptEnd::Settled;
                }
                match slot {
                    Some(slot) => {
                        attempt::run(&context, &claim, &plan, plan.envelopes(), slot, lost_before.of(id)).await
                    }
                    None => {
                        mode_attempt::run(&context, &claim, &plan).await;
                        AttemptEnd::Settled
                    }
                }
            };
            let end = tokio::select! {
                end = AssertUnwindSafe(attempt).catch_unwind() => end,
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

    /// Every [`MAINTENANCE_INTERVAL`]: has failed and archived mail removed that is kept long enough, the age of waiting mail
    /// checked, and senders told that their mail is late.
    fn maintain(&mut self, settings: &Arc<Settings>) {
        // Should the queue ever fail to wake us for mail that is due, it is claimed a minute later. So is mail that came in for
        // a site in the moment when that was taken away.
        self.nothing_due_until.clear();
        self.ready_groups = ready_groups(settings, self.services.queue.sites());
        let queue = self.services.queue.clone();
        let before = queue.common_now().before(DAY * settings.queue.failed_days);
        self.spawn(
            async move { queue.remove_failed(before).await.map(drop) },
            "failed mail that is kept long enough cannot be removed",
        );
        let (archive, days) = (self.services.archive.clone(), settings.queue.archive_days);
        self.spawn(
            async move {
                archive.purge(days).await;
                Ok(())
            },
            "the archive cannot be cleaned up",
        );
        let (context, stop) = (self.services.context(settings.clone()), self.stop.gently.clone());
        self.attempts.spawn(async move { old_mail::tell_late(&context, &stop).await });
        self.age_is_due = settings.handlings().map(|(site, _)| site.to_owned()).collect();
    }

    /// For each site once after each maintenance, as soon as no upstream is available to it: one whose circuit is about to be
    /// probed counts as available.
    async fn expire_if_nobody_can_be_asked(&mut self, settings: &Arc<Settings>) {
        let needs_upstream = |site: &String| {
            let handling = settings.handling_of(site);
            let waits = |handling: &Handling| {
                !handling.sending_off && !matches!(handling.mode(), Some(Mode::Debug | Mode::Simulate))
            };
            handling.is_some_and(waits)
                && free_connections(route::candidates(settings, site), &self.services.health).is_none()
        };
        let sites: Vec<String> =
            self.age_is_due.iter().filter(|site| needs_upstream(site)).cloned().collect();
        // Mail of running attempts is checked a minute later.
        self.age_is_due.retain(|site| !sites.contains(site));
        for site in sites {
            self.expire_waiting(settings, &site).await;
        }
    }

    async fn expire_waiting(&mut self, settings: &Arc<Settings>, site: &str) {
        // Claimed mail that waits is checked like the rest.
        let (of_site, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|one| one.claim.message.site == site);
        self.waiting = others;
        of_site.into_iter().for_each(|waiting| self.services.queue.put_back(waiting.claim));
        old_mail::expire(&self.services.context(settings.clone()), site, &self.stop.gently).await;
    }
}

/// So many attempts may be on their way or waiting for their verdicts to be on disk: a connection is free for the next
/// message while the last one's verdict is being written, but the disk may not fall behind without bound.
fn most_attempts(settings: &Settings) -> usize {
    let enabled = settings.upstreams.iter().filter(|upstream| upstream.enabled);
    enabled.map(|upstream| upstream.connection_limit).sum::<usize>() + settings.queue.batch_size
}
