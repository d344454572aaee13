//! Which upstream is asked, and in which order (rule 2).
//!
//! The site's `default` > `default` > `high` > `normal` > `low`; within one rank the one with the most free connections, then
//! by name. The first available one gets the message, so load spills over to lower ranks exactly when higher ones are busy. The
//! upstream that failed last goes behind all available ones, whatever its rank.

use super::health::UpstreamHealth;
use super::slot::Slot;
use crate::config::Settings;
use crate::config::settings::{Priority, Upstream};
use crate::mail::Refusal;
use std::cmp::Reverse;
use std::sync::Arc;

/// Which upstreams a message may not be sent to now, and which one is asked last.
#[derive(Clone, Copy, Default)]
pub(super) struct RouteConstraints<'a> {
    /// Asked behind all others.
    pub(super) failed_last: Option<&'a str>,
    /// Not asked (again) in this attempt.
    pub(super) tried: &'a [String],
    /// Said for good that they cannot take it; asking them again would not help.
    pub(super) refused_by: &'a [String],
}

/// Takes a place at the best available candidate; none with nothing available.
pub(super) fn choose(
    candidates: &[Arc<Upstream>],
    constraints: RouteConstraints<'_>,
    health: &Arc<UpstreamHealth>,
) -> Option<Slot> {
    let mut open: Vec<(&Arc<Upstream>, usize)> = candidates
        .iter()
        .filter(|upstream| {
            !constraints.tried.contains(&upstream.name) && !constraints.refused_by.contains(&upstream.name)
        })
        .filter_map(|upstream| Some((upstream, health.free(upstream)?)))
        .collect();
    open.sort_by_key(|(upstream, free)| {
        let failed = constraints.failed_last == Some(&upstream.name);
        let of_all_sites = upstream.sites.is_empty() || upstream.priority != Priority::Default;
        (failed, of_all_sites, upstream.priority, Reverse(*free), upstream.name.clone())
    });
    // Another attempt may have taken the last free connection since: then the next upstream is asked.
    open.into_iter().find_map(|(upstream, _)| Slot::take(health, upstream))
}

/// All that mail of a site (`""`: of none) may go through at all: those that name the site, and, unless it has only its own,
/// those that name none.
pub(super) fn candidates<'a>(
    settings: &'a Settings,
    site: &'a str,
) -> impl Iterator<Item = &'a Arc<Upstream>> + use<'a> {
    let only_own = settings.sites.get(site).is_some_and(|site| !site.global_upstreams);
    let takes = move |upstream: &&Arc<Upstream>| match upstream.sites.is_empty() {
        true => !only_own,
        false => upstream.sites.iter().any(|name| name == site),
    };
    settings.upstreams.iter().filter(|upstream| upstream.enabled).filter(takes)
}

/// Those of a recipient's refusals that keep upstreams from being asked: an upstream that was set up anew since then may
/// take what it refused before. Where all candidates are among them, because a reload took the others away, none does:
/// they are asked once more, and then it is final.
pub(super) fn refusals_in_force(refused_by: &[Refusal], candidates: &[Arc<Upstream>]) -> Vec<Refusal> {
    let is_in_force = |refusal: &&Refusal| {
        candidates
            .iter()
            .any(|upstream| refusal.upstream == upstream.name && upstream.revision() == refusal.revision)
    };
    let in_force: Vec<Refusal> = refused_by.iter().filter(is_in_force).cloned().collect();
    match candidates.iter().all(|upstream| in_force.iter().any(|refusal| refusal.upstream == upstream.name)) {
        true => Vec::new(),
        false => in_force,
    }
}

/// Names of the upstreams that none of several recipients can be sent through: what all the lists of refusals have in
/// common.
pub(super) fn common<'a>(lists: impl IntoIterator<Item = &'a [Refusal]>) -> Vec<String> {
    let mut lists = lists.into_iter();
    let Some(first) = lists.next() else { return Vec::new() };
    let mut common: Vec<String> = first.iter().map(|refusal| refusal.upstream.clone()).collect();
    for list in lists {
        common.retain(|name| list.iter().any(|refusal| refusal.upstream == *name));
    }
    common
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::settings::{Auth, Priority};
    use jiff::Timestamp;

    pub(crate) fn upstream(name: &str) -> Upstream {
        crate::config::default_upstream(name, "127.0.0.1", 25)
    }

    fn ranked() -> Vec<Arc<Upstream>> {
        [
            ("low", Priority::Low),
            ("a-normal", Priority::Normal),
            ("b-normal", Priority::Normal),
            ("high", Priority::High),
            ("main", Priority::Default),
        ]
        .map(|(name, priority)| Arc::new(Upstream { priority, ..upstream(name) }))
        .to_vec()
    }

    fn health() -> Arc<UpstreamHealth> {
        UpstreamHealth::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)))
    }

    #[test]
    fn load_spills_over_in_order_of_rank_then_free_connections_then_name() {
        let (upstreams, health) = (ranked(), health());
        let mut slots = Vec::new();
        while let Some(slot) = choose(&upstreams, RouteConstraints::default(), &health) {
            slots.push(slot);
        }
        let names: Vec<&str> = slots.iter().map(|slot| slot.upstream().name.as_str()).collect();
        assert_eq!(
            names,
            ["main", "main", "high", "high", "a-normal", "b-normal", "a-normal", "b-normal", "low", "low"]
        );
    }

    #[test]
    fn the_one_that_failed_last_goes_behind_all_available_ones() {
        let (upstreams, health) = (ranked(), health());
        let constraints = RouteConstraints { failed_last: Some("main"), ..RouteConstraints::default() };
        let mut slots = Vec::new();
        while let Some(slot) = choose(&upstreams, constraints, &health) {
            slots.push(slot);
        }
        assert_eq!(slots[0].upstream().name, "high");
        assert_eq!(slots[8].upstream().name, "main");
    }

    #[test]
    fn tried_refusing_and_disabled_ones_are_left_out() {
        let mut upstreams = ranked();
        upstreams[3] = Arc::new(Upstream { enabled: false, ..upstream("high") });
        let (tried, refused_by) = (["main".to_owned()], ["a-normal".to_owned()]);
        let constraints =
            RouteConstraints { tried: &tried, refused_by: &refused_by, ..RouteConstraints::default() };
        assert_eq!(choose(&upstreams, constraints, &health()).unwrap().upstream().name, "b-normal");
    }

    fn refusal(upstream: &Upstream) -> Refusal {
        Refusal { upstream: upstream.name.clone(), revision: upstream.revision() }
    }

    #[test]
    fn who_refused_is_asked_again_only_when_nobody_else_is_left() {
        let upstreams = [Arc::new(upstream("a")), Arc::new(upstream("b"))];
        let [a, b, gone] = ["a", "b", "gone"].map(|name| refusal(&upstream(name)));
        let lists =
            [vec![], vec![a.clone()], vec![a.clone(), gone.clone()], vec![b.clone(), gone, a.clone()]];
        let counts: Vec<usize> = lists.iter().map(|list| refusals_in_force(list, &upstreams).len()).collect();
        assert_eq!(counts, [0, 1, 1, 0]);
        assert_eq!(common(lists[1..].iter().map(Vec::as_slice)), ["a"]);
        assert!(common([&lists[0][..], &lists[1]]).is_empty() && common([]).is_empty());
    }

    #[test]
    fn a_refusal_ends_when_its_upstream_is_set_up_anew() {
        let mut upstreams = [Arc::new(upstream("a")), Arc::new(upstream("b"))];
        let refused_by = [refusal(&upstreams[0])];
        assert_eq!(refusals_in_force(&refused_by, &upstreams), refused_by);
        upstreams[0] =
            Arc::new(Upstream { command_timeout: std::time::Duration::from_secs(7), ..upstream("a") });
        assert_eq!(refusals_in_force(&refused_by, &upstreams), []);
    }

    #[test]
    fn a_revision_tells_passwords_apart() {
        let with = |password: &str| Upstream {
            auth: Auth::Basic { username: "app".into(), password: password.to_owned().into() },
            ..upstream("a")
        };
        assert_eq!(with("x").revision(), with("x").revision());
        assert_ne!(with("x").revision(), with("y").revision());
    }
}
