//! When a deferred message is tried again: pure functions of the schedule and the number of deferrals.

use std::time::Duration;

/// The waiting time before the next attempt of a message that is deferred for the `deferrals`th time in its life (from
/// 1): the schedule's entries one after the other, the last repeats. `jitter` is a number in -1..=1 drawn by the caller;
/// it moves the time by up to 10 % either way, so that mail deferred together does not come back together.
pub(super) fn delay(schedule: &[Duration], deferrals: u32, jitter: f64) -> Duration {
    let step = usize::try_from(deferrals.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = schedule.get(step).or(schedule.last()).copied().unwrap_or(Duration::from_secs(60));
    base.mul_f64(1.0 + jitter.clamp(-1.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_walked_and_its_last_entry_repeats() {
        let schedule = [60, 300, 900].map(Duration::from_secs);
        let waits: Vec<u64> = (1..=5).map(|deferrals| delay(&schedule, deferrals, 0.0).as_secs()).collect();
        assert_eq!(waits, [60, 300, 900, 900, 900]);
    }

    #[test]
    fn jitter_moves_by_a_tenth_at_most() {
        let schedule = [Duration::from_secs(100)];
        assert_eq!(delay(&schedule, 1, 1.0).as_secs(), 110);
        assert_eq!(delay(&schedule, 1, -7.0).as_secs(), 90);
    }
}
