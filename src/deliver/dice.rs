//! The choice of whose sending fails under debug (rule 7).

use crate::config::handling::DebugMode;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Whose sending is said to have failed.
#[derive(Default)]
pub struct Dice {
    /// By seed: each goes on where it was.
    seeded: Mutex<HashMap<u64, fastrand::Rng>>,
}

impl Dice {
    /// Whether this recipient is one of those.
    pub(super) fn fails(&self, debug: &DebugMode) -> bool {
        let roll = match debug.seed {
            0 => fastrand::f64(),
            seed => {
                let mut seeded = self.seeded.lock().unwrap_or_else(PoisonError::into_inner);
                seeded.entry(seed).or_insert_with(|| fastrand::Rng::with_seed(seed)).f64()
            }
        };
        roll < debug.failure_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_choice_the_same_and_zero_does_not_count() {
        let debug = |failure_rate, seed| DebugMode { enabled: true, failure_rate, seed };
        let series = |seed| {
            let dice = Dice::default();
            (0..1_000).map(|_| dice.fails(&debug(0.5, seed))).collect::<Vec<bool>>()
        };
        assert_eq!(series(7), series(7));
        assert_ne!(series(7), series(8));
        assert_ne!(series(0), series(0));
        let dice = Dice::default();
        assert!((0..1_000).all(|_| !dice.fails(&debug(0.0, 7)) && dice.fails(&debug(1.0, 7))));
    }
}
