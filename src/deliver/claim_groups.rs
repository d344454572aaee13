//! Which mail can go now, by site: with an upstream, or without one because a mode decides or it is to be held.

use super::health::UpstreamHealth;
use super::route;
use crate::clock::Moment;
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::mail::Mode;
use crate::queue::{ClaimGroup, ClaimRequest, Timeline};
use std::sync::Arc;

/// So many messages more than there are free connections are claimed at a time, so that not every connection that is free
/// again makes us ask. Few, because what comes in meanwhile goes behind them, however urgent it is.
pub(super) const LOOK_AHEAD: usize = 5;

/// A group whose mail may be claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ReadyGroup {
    pub(super) group: ClaimGroup,
    /// Claimed only while an upstream of its site is available.
    pub(super) needs_upstream: bool,
    /// It is to be held, so it is claimed before its time.
    whenever_due: bool,
    /// The upstreams that may take its site's mail.
    candidates: Arc<[Arc<Upstream>]>,
}

/// The groups whose mail may be claimed. `known`: the sites that there is mail of, configured or not.
pub(super) fn ready_groups(settings: &Settings, known: Vec<String>) -> Vec<ReadyGroup> {
    let configured = settings.sites.keys().cloned().chain([String::new()]);
    let mut groups: Vec<ReadyGroup> = configured.flat_map(|site| of_site(settings, &site)).collect();
    let gone = known.into_iter().filter(|site| settings.handling_of(site).is_none());
    let held = |site: String| {
        [false, true].map(|under_mode| ReadyGroup {
            group: ClaimGroup { site: site.clone(), under_mode },
            needs_upstream: false,
            whenever_due: true,
            candidates: Arc::default(),
        })
    };
    groups.extend(gone.flat_map(held));
    groups
}

fn of_site(settings: &Settings, site: &str) -> Vec<ReadyGroup> {
    let Some(handling) = settings.handling_of(site).filter(|handling| !handling.sending_off) else {
        return Vec::new();
    };
    // What a mode has touched is held where none applies.
    let held = |under_mode: bool| under_mode && handling.mode().is_none();
    let needs_upstream = match handling.mode() {
        Some(Mode::Simulate | Mode::Debug) => false,
        Some(Mode::Redirect) => handling.redirect.enabled_addresses().next().is_some(),
        None => true,
    };
    let candidates: Arc<[Arc<Upstream>]> = route::candidates(settings, site).cloned().collect();
    let group = |under_mode| ReadyGroup {
        candidates: candidates.clone(),
        group: ClaimGroup { site: site.to_owned(), under_mode },
        needs_upstream: needs_upstream && !held(under_mode),
        whenever_due: held(under_mode),
    };
    vec![group(false), group(true)]
}

impl ReadyGroup {
    /// How many of its messages are claimed now, with `waiting` of them claimed already: as many as there are free
    /// connections, and a few. None while no upstream of its site is available.
    pub(super) fn capacity(&self, settings: &Settings, health: &UpstreamHealth, waiting: usize) -> usize {
        let most = settings.queue.batch_size;
        let wanted = match self.needs_upstream {
            false => most,
            true => match free_connections(self.candidates.iter(), health) {
                Some(free) => most.min(free + LOOK_AHEAD),
                None => 0,
            },
        };
        wanted.saturating_sub(waiting)
    }

    pub(super) fn request(&self, timeline: &dyn Timeline, limit: usize) -> ClaimRequest {
        let due_by = if self.whenever_due { Moment(u64::MAX) } else { timeline.now_of(&self.group.site) };
        ClaimRequest { group: self.group.clone(), due_by, limit }
    }
}

/// Free connections of these upstreams; none where none of them is available.
pub(super) fn free_connections<'a>(
    candidates: impl Iterator<Item = &'a Arc<Upstream>>,
    health: &UpstreamHealth,
) -> Option<usize> {
    let mut free = candidates.filter_map(|upstream| health.free(upstream)).peekable();
    free.peek().is_some().then(|| free.sum())
}
