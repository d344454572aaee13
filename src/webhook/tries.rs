//! When an event is sent again, and when it is given up: pure functions of the failures so far.

use std::time::Duration;

/// Times that an event is sent before it is given up. With the waits between them this is about five minutes, and ten where
/// the receiver has been down for longer.
pub(super) const MOST_TRIES: u32 = 10;
/// Waiting time after a first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The failures of one webhook.
#[derive(Default)]
pub(super) struct Tries {
    /// Of the event whose turn it is.
    of_event: u32,
    /// Since the receiver answered last, whichever event it was.
    in_a_row: u32,
}

/// What follows a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AfterFailure {
    /// Nothing is sent before.
    pub(super) wait: Duration,
    /// It was the event's last try.
    pub(super) gives_up: bool,
}

impl Tries {
    /// It is the next event's turn.
    pub(super) fn next_event(&mut self) {
        self.of_event = 0;
    }

    /// The receiver is there.
    pub(super) fn answered(&mut self) {
        self.in_a_row = 0;
    }

    /// `asked`: by the receiver. `jitter` is a number in 0..1 drawn by the caller: it adds up to a fifth, so that those who failed
    /// together do not come back together.
    pub(super) fn failed(&mut self, asked: Option<Duration>, jitter: f64) -> AfterFailure {
        self.of_event = self.of_event.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let doubled = FIRST_WAIT.saturating_mul(2u32.saturating_pow(self.in_a_row - 1)).min(LONGEST_WAIT);
        let wait = doubled.max(asked.unwrap_or_default()).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0);
        AfterFailure { wait, gives_up: self.of_event >= MOST_TRIES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(tries: &mut Tries, count: usize) -> Vec<(u64, bool)> {
        let failure = |_| tries.failed(None, 0.0);
        (0..count).map(failure).map(|after| (after.wait.as_secs(), after.gives_up)).collect()
    }

    #[test]
    fn an_event_is_given_up_after_ten_tries_and_the_waits_go_on_with_the_next_one() {
        let mut tries = Tries::default();
        let first = failures(&mut tries, 10);
        let waits: Vec<u64> = first.iter().map(|(wait, _)| *wait).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(first.iter().position(|(_, gives_up)| *gives_up), Some(9));
        tries.next_event();
        assert_eq!(failures(&mut tries, 2), [(60, false), (60, false)]);
        tries.answered();
        assert_eq!(failures(&mut tries, 2), [(1, false), (2, false)]);
    }

    #[test]
    fn a_wait_never_ends_before_what_was_asked_and_jitter_adds_a_fifth_at_most() {
        let asked = Some(Duration::from_secs(10));
        assert_eq!(Tries::default().failed(asked, 0.0).wait, Duration::from_secs(10));
        let mut long = Tries { of_event: 0, in_a_row: u32::MAX };
        assert_eq!(long.failed(asked, 0.0).wait, Duration::from_secs(60));
        assert_eq!(long.failed(None, 7.0).wait, Duration::from_secs(72));
    }
}
