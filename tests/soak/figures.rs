//! What a run has seen, for people.

use super::judgement::Judgement;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// All figures of a run.
pub struct Figures {
    /// That its plan was made from.
    pub seed: u64,
    /// By the judgement.
    pub found: Judgement,
    /// What was counted on the way.
    pub counters: BTreeMap<&'static str, u64>,
    /// SIGKILLs.
    pub kills: usize,
    /// From the first message offered to the last.
    pub busy: Duration,
    /// Between two looks, while nothing was acknowledged.
    pub longest_silence: Duration,
    /// The queue file lay on a disk of its own.
    pub small_disk: bool,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let mut line = |what: &str, value: &dyn fmt::Display| writeln!(f, "{value:>12}  {what}");
        line("messages offered", &found.offered)?;
        line("acknowledged", &found.acknowledged)?;
        line("messages with a try of which the client never learnt the outcome", &found.unknown)?;
        line("tries refused with 4xx", &found.refused)?;
        line("messages arrived", &found.arrived)?;
        line("of these as a report copy", &found.copies)?;
        line("acknowledged, logged by debug and sent to nobody, or failed", &found.ended)?;
        line("failed, their senders told once each", &found.failed)?;
        line("arrived as two messages: their client had missed the reply and sent again", &found.resent)?;
        line("arrived again, each explained:", &found.doubled.values().sum::<usize>())?;
        for (reason, count) in &found.doubled {
            line(&format!("  {reason}"), count)?;
        }
        line("ms at most from an upstream's 250 to the kill that undid it", &found.longest_gap.as_millis())?;
        line("kills (SIGKILL)", &self.kills)?;
        for (what, count) in &self.counters {
            line(what, count)?;
        }
        if !self.small_disk {
            line("disk fills: no file system can be mounted here", &0)?;
        }
        line("seconds at most without an acknowledgement", &self.longest_silence.as_secs())?;
        line("seconds", &self.busy.as_secs())?;
        let rate = found.acknowledged as f64 / self.busy.as_secs_f64();
        line("messages per second", &format!("{rate:.0}"))?;
        line("seed", &self.seed)?;
        line("found wrong", &found.wrong.len())?;
        found.wrong.iter().take(20).try_for_each(|wrong| writeln!(f, "WRONG: {wrong}"))
    }
}
