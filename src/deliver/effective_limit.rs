//! How many connections at a time an upstream really allows, where that is fewer than `connection_limit`
//! (rule 3).
//!
//! A connection that is refused while others work lowers the limit to what works. After a while one connection more is
//! tried: where it works the next one may be tried at once, where it is refused the while doubles. So a server that
//! allows one session gets mail as fast as with `connection_limit = 1`, for one refused connection now and then.
//! Times are monotonic.

use std::time::Duration;

/// How long a lowered limit holds before one connection more is tried.
#[derive(Clone, Copy)]
pub(super) struct TrialDelay {
    first: Duration,
    longest: Duration,
}

/// The server said that it takes no further connection now: it will say so again for a while.
pub(super) const AFTER_REFUSAL: TrialDelay =
    TrialDelay { first: Duration::from_secs(60), longest: Duration::from_secs(60 * 60) };

/// The connection failed in another way (time-out, reset, handshake): perhaps by chance.
pub(super) const AFTER_FAILURE: TrialDelay =
    TrialDelay { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

#[derive(Default)]
pub(super) struct EffectiveLimit {
    lowered: Option<Lowered>,
}

struct Lowered {
    limit: usize,
    /// From then on one connection more may be tried; none while no session works, but connections are being opened.
    until: Option<Duration>,
    wait: Duration,
    /// A session has worked under it. A server that refuses a burst of connections, all of them, has not shown its limit.
    proven: bool,
}

impl EffectiveLimit {
    /// Connections that may be open at `now`, a trial included.
    pub(super) fn at(&self, now: Duration, configured: usize) -> usize {
        match &self.lowered {
            None => configured,
            Some(lowered) => configured.min(lowered.limit + usize::from(lowered.admits_trial(now))),
        }
    }

    /// Connections that are known to work together; `configured` where nothing else is known.
    pub(super) fn known(&self, configured: usize) -> usize {
        self.lowered.as_ref().map_or(configured, |lowered| configured.min(lowered.limit))
    }

    /// When one connection more may be tried; none where time alone does not decide.
    pub(super) fn rises_at(&self) -> Option<Duration> {
        self.lowered.as_ref()?.until
    }

    /// A connection begun at `begun` was refused while `others` are open or being opened. `proven`: one of them has a
    /// session. The limit never falls to zero. Where none has a session yet, no further connection is tried: with ever
    /// more of them on their way to a dead server it would never be seen that none works.
    pub(super) fn lower(
        &mut self,
        others: usize,
        proven: bool,
        delay: TrialDelay,
        begun: Duration,
        (now, configured): (Duration, usize),
    ) {
        let limit = others.min(self.at(now, configured).saturating_sub(1)).max(1);
        let TrialDelay { first, longest } = delay;
        let wait = match &self.lowered {
            // The trial of one more. Others that were under way when the limit was lowered say nothing new.
            Some(lowered) if lowered.admits_trial(begun) => (lowered.wait * 2).clamp(first, longest),
            Some(lowered) => lowered.wait.max(first),
            None => first,
        };
        let until = proven.then_some(now + wait);
        let proven = proven || self.lowered.as_ref().is_some_and(|lowered| lowered.proven);
        self.lowered = Some(Lowered { limit, until, wait, proven });
    }

    /// A new connection became usable, which makes that many sessions at the same time.
    pub(super) fn works_with(&mut self, sessions: usize, configured: usize, now: Duration) {
        if let Some(lowered) = &mut self.lowered {
            lowered.proven = true;
            lowered.until.get_or_insert(now + lowered.wait);
            lowered.limit = lowered.limit.max(sessions);
            if lowered.limit >= configured {
                self.lowered = None;
            }
        }
    }

    /// No connection works at all: what was lowered only on the way to that is forgotten.
    pub(super) fn forget_unproven(&mut self) {
        self.lowered.take_if(|lowered| !lowered.proven);
    }

    /// One connection more may be tried at once.
    pub(super) fn try_one_more_now(&mut self, now: Duration) {
        if let Some(lowered) = &mut self.lowered {
            lowered.until = Some(lowered.until.map_or(now, |until| until.min(now)));
        }
    }
}

impl Lowered {
    fn admits_trial(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Refuses the one that is tried above the limit, and says after how long.
    fn refuse_trial(limit: &mut EffectiveLimit, now: &mut Duration) -> Duration {
        let working = limit.known(8);
        assert_eq!(limit.at(*now, 8), working + 1, "one more is tried");
        limit.lower(working, true, AFTER_REFUSAL, *now, (*now, 8));
        let wait = limit.rises_at().unwrap() - *now;
        assert_eq!(limit.at(*now + wait - Duration::from_millis(1), 8), working);
        *now += wait;
        wait
    }

    #[test]
    fn a_burst_of_refusals_lowers_it_to_what_works_and_waits_once() {
        let (mut limit, mut now) = (EffectiveLimit::default(), MINUTE);
        for others in (3..8).rev() {
            limit.lower(others, true, AFTER_REFUSAL, now, (now, 8));
        }
        assert_eq!((limit.at(now, 8), limit.known(8)), (3, 3));
        assert_eq!(limit.rises_at(), Some(now + MINUTE));
        now += MINUTE;
        let minutes: Vec<u64> = (0..8).map(|_| refuse_trial(&mut limit, &mut now).as_secs() / 60).collect();
        assert_eq!(minutes, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn where_one_more_works_the_next_one_is_tried_at_once_up_to_what_is_configured() {
        let (mut limit, now) = (EffectiveLimit::default(), MINUTE);
        limit.lower(1, true, AFTER_REFUSAL, now, (now, 4));
        for sessions in 2..=4 {
            assert_eq!(limit.at(now, 4), sessions - 1, "not before its time");
            assert_eq!(limit.at(now + MINUTE, 4), sessions);
            limit.works_with(sessions, 4, now);
        }
        assert_eq!((limit.at(now, 4), limit.rises_at()), (4, None));
    }

    #[test]
    fn it_never_falls_to_nothing_and_always_falls() {
        let mut limit = EffectiveLimit::default();
        limit.lower(9, false, AFTER_FAILURE, MINUTE, (MINUTE, 3));
        assert_eq!(limit.known(3), 2, "counted while others were on their way: one less all the same");
        limit.lower(0, false, AFTER_FAILURE, MINUTE, (MINUTE, 3));
        assert_eq!(limit.known(3), 1);
        limit.forget_unproven();
        assert_eq!(limit.known(3), 3, "a server that took nobody has not shown its limit");
    }
}
