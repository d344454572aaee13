//! What a verdict's words are to whom it is told: what a server said, or what we say of one; and no path of this machine.

use super::report::NoticeContext;
use crate::mail::verdict::MAY_BE_SENT_TWICE;
use crate::mail::{EnhancedCode, Grounds, Outcome, Recipient, Verdict};

/// What stands for words that were cut.
const CUT: &str = " [...]";

/// A verdict in words for others.
pub(super) struct VerdictWords<'a> {
    /// The server behind the upstream that it is about, where that is one.
    pub(super) host: Option<&'a str>,
    /// The server itself said so.
    pub(super) by_server: bool,
    words: String,
}

impl<'a> VerdictWords<'a> {
    pub(super) fn of(context: &'a NoticeContext<'_>, verdict: &Verdict) -> VerdictWords<'a> {
        let upstream = verdict.upstream.as_deref().and_then(|name| context.upstream(name));
        let is_folder = upstream.is_some_and(|one| one.pickup_directory.is_some());
        let host = upstream.filter(|_| !is_folder).map(|one| one.host.as_str());
        let is_reply =
            verdict.reply.as_bytes().get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit));
        let words = match (is_folder, verdict.outcome, verdict.grounds, verdict.enhanced) {
            (true, Outcome::Delivered, ..) => "handed to the program that sends it on".to_owned(),
            (_, _, Grounds::Capabilities, EnhancedCode(_, 6, 7)) => format!(
                "{} takes no address with letters beyond ASCII (it does not offer SMTPUTF8)",
                named(host)
            ),
            (_, _, Grounds::Capabilities, _) => verdict.reply.replacen("the upstream", &named(host), 1),
            _ => without_paths(context, &verdict.reply),
        };
        VerdictWords { host, by_server: is_reply && !is_folder && verdict.upstream.is_some(), words }
    }

    /// At most so many bytes, and what says that there were more.
    pub(super) fn words(&self, most: usize) -> String {
        match self.words.len() <= most {
            true => self.words.clone(),
            false => format!("{}{CUT}", &self.words[..self.words.floor_char_boundary(most)]),
        }
    }

    /// As the value of `Diagnostic-Code:` (RFC 3464 section 2.3.6).
    pub(super) fn diagnostic(&self, most: usize) -> String {
        let kind = if self.by_server { "smtp" } else { "x-postroom" };
        format!("{kind}; {}", self.words(most))
    }
}

fn named(host: Option<&str>) -> String {
    host.map_or_else(|| "the next mail server".to_owned(), |host| format!("the mail server {host}"))
}

/// Where the folders of upstreams are is nobody's business.
fn without_paths(context: &NoticeContext<'_>, reply: &str) -> String {
    let folders = context.settings.upstreams.iter().filter_map(|one| one.pickup_directory.as_ref());
    folders.fold(reply.to_owned(), |reply, folder| {
        reply.replace(&*folder.to_string_lossy(), "the folder that it is handed over in")
    })
}

/// A server was given all of it and never answered, now or in the attempt before.
pub(super) fn may_have_arrived(recipient: &Recipient, verdict: &Verdict) -> bool {
    let before = recipient.reply.as_deref();
    verdict.grounds == Grounds::NoReply
        || before.is_some_and(|reply| {
            reply.ends_with(MAY_BE_SENT_TWICE) && !reply.starts_with(|letter: char| letter.is_ascii_digit())
        })
}
