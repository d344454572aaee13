//! What is done to several messages, in words: before it is done, and after.

use super::shown::count;
use crate::admin::json::BulkJson;
use crate::admin::notices::{NoticeKind, PageNotice};

/// Ids that a notice names.
const NAMED: usize = 5;

/// One of the acts.
pub(super) struct BulkAct {
    /// As the API has it.
    pub(super) action: &'static str,
    /// `Delete`: a question begins with it.
    pub(super) verb: &'static str,
    /// `deleted`: behind a number of messages.
    done: &'static str,
    /// What becomes of the mail.
    meaning: &'static str,
    /// It cannot be taken back.
    pub(super) is_final: bool,
}

const ACTS: [BulkAct; 4] = [
    BulkAct {
        action: "retry",
        verb: "Resend",
        done: "made due now",
        meaning: "They are tried again at once; recipients that failed or expired are open again, and nobody who has had the mail \
                  gets it twice. Held mail is left alone.",
        is_final: false,
    },
    BulkAct {
        action: "hold",
        verb: "Hold",
        done: "held",
        meaning: "No attempt starts until they are released. What is being sent at this moment may leave all the same.",
        is_final: false,
    },
    BulkAct {
        action: "release",
        verb: "Release",
        done: "released",
        meaning: "Held mail goes on its way.",
        is_final: false,
    },
    BulkAct {
        action: "delete",
        verb: "Delete",
        done: "deleted",
        meaning: "They are removed for good, and nobody is told: no notice goes to the sender. What is being sent at this moment \
                  may leave all the same.",
        is_final: true,
    },
];

/// The act of that name.
pub(super) fn find(action: &str) -> Option<&'static BulkAct> {
    ACTS.iter().find(|act| act.action == action)
}

impl BulkAct {
    /// `Delete 12 messages?`
    pub(super) fn question(&self, matching: u64) -> String {
        format!("{} {}?", self.verb, count(matching, "message"))
    }

    /// What it will do.
    pub(super) fn consequences(&self, counted: &BulkJson) -> Vec<String> {
        let mut lines = vec![self.meaning.to_owned()];
        if self.action == "release" && counted.held_by_mode > 0 {
            let held = match counted.held_by_mode == counted.matching {
                true => "All of them are".to_owned(),
                false => format!("{} of them {}", counted.held_by_mode, are(counted.held_by_mode)),
            };
            lines.push(format!(
                "{held} held because a mode has ended, nobody is there to report to or the site is gone. Released, they may go to the \
                 people they are addressed to."
            ));
        }
        if !counted.not_found.is_empty() {
            lines.push(gone(&counted.not_found));
        }
        lines
    }

    /// What it did.
    pub(super) fn notice(&self, done: &BulkJson) -> PageNotice {
        let kind = match done.changed > 0 && done.not_found.is_empty() && done.held_by_mode == 0 {
            true => NoticeKind::Done,
            false => NoticeKind::Warning,
        };
        let changed = format!("{}: {}.", self.verb, self.changed(done.changed));
        let mut lines = Vec::new();
        if done.unchanged > 0 {
            let why = match self.action {
                "retry" => ": held mail has to be released first",
                "hold" => ": no recipient is open any more, or they were held already",
                "release" => ": they were not held",
                _ => "",
            };
            lines.push(format!("{} had nothing to do{why}.", count(done.unchanged, "message")));
        }
        if done.under_way > 0 {
            lines.push(format!(
                "{} of them {} being sent at this moment and may leave all the same.",
                done.under_way,
                are(done.under_way)
            ));
        }
        if done.held_by_mode > 0 {
            lines.push(format!(
                "{} {} held by a mode and left alone.",
                count(done.held_by_mode, "message"),
                are(done.held_by_mode)
            ));
        }
        if !done.not_found.is_empty() {
            lines.push(gone(&done.not_found));
        }
        PageNotice { kind, text: changed, lines }
    }

    fn changed(&self, changed: u64) -> String {
        match changed {
            0 => "nothing was changed".to_owned(),
            changed => format!("{} {}", count(changed, "message"), self.done),
        }
    }
}

fn are(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// Of messages that are not in the queue.
fn gone(ids: &[String]) -> String {
    let named = ids.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if ids.len() > NAMED { " and others" } else { "" };
    let number = ids.len() as u64;
    format!("{} {} not in the queue any more: {named}{more}.", count(number, "message"), are(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_all_that_was_done_and_not_done() {
        let done = BulkJson { matching: 9, changed: 3, under_way: 1, unchanged: 2, ..BulkJson::default() };
        let notice = find("hold").unwrap().notice(&done);
        assert_eq!((notice.kind, notice.text.as_str()), (NoticeKind::Done, "Hold: 3 messages held."));
        assert_eq!(notice.lines.len(), 2, "{:?}", notice.lines);
        let done = BulkJson { held_by_mode: 1, not_found: vec!["ID".into()], ..BulkJson::default() };
        let notice = find("release").unwrap().notice(&done);
        assert_eq!(
            (notice.kind, notice.text.as_str()),
            (NoticeKind::Warning, "Release: nothing was changed.")
        );
        assert_eq!(
            notice.lines,
            ["1 message is held by a mode and left alone.", "1 message is not in the queue any more: ID."]
        );
    }
}
