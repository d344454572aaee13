//! What redirect and `sender` change in a message on its way out (rules 6 and 8): the reverse-path of its transaction, and
//! fields of its header. The stored message stays as it is.
//!
//! Promise: nothing that a stranger wrote ends a field or begins another one, and what is put in front is ASCII unless the
//! transaction says SMTPUTF8. A field that is replaced is not lost: it leaves under another name, with its value.

use super::plan::{EnvelopeKind, PlannedEnvelope};
use crate::config::handling::{Handling, Mailbox, RewriteWhen};
use crate::config::settings::Upstream;
use crate::mail::address_list::mailboxes;
use crate::mail::{Address, Message, Rename, ReversePath, SenderFacts, printable};
use email_encoding::headers::writer::EmailWriter;
use email_encoding::headers::{quoted_string, rfc2047};

/// Where From is replaced.
const FROM: [Rename; 1] = [Rename { old: "From", new: "X-Original-From" }];
/// In report copies: whoever reads one must not send a receipt to whom the application asked for one (RFC 8098 section 2.1).
const RECEIPTS: [Rename; 5] = [
    Rename { old: "Disposition-Notification-To", new: "X-Original-Disposition-Notification-To" },
    Rename { old: "Return-Receipt-To", new: "X-Original-Return-Receipt-To" },
    Rename { old: "Read-Receipt-To", new: "X-Original-Read-Receipt-To" },
    Rename { old: "X-Confirm-Reading-To", new: "X-Original-X-Confirm-Reading-To" },
    Rename { old: "Errors-To", new: "X-Original-Errors-To" },
];
/// In the file of a pickup folder the envelope stands in fields of these names: whoever picks it up must not take the message's
/// own for more of it.
pub(super) const ENVELOPE_FIELDS: [Rename; 2] = [
    Rename { old: "X-Sender", new: "X-Original-X-Sender" },
    Rename { old: "X-Receiver", new: "X-Original-X-Receiver" },
];
/// All that may be renamed for a server: what [`SenderFacts`] must have counted.
pub const RENAMES: [Rename; 6] = [FROM[0], RECEIPTS[0], RECEIPTS[1], RECEIPTS[2], RECEIPTS[3], RECEIPTS[4]];

/// RFC 5322 section 2.1.1.
const READABLE_LINE: usize = 78;
/// RFC 5322 section 2.1.1, with room for the name of the field.
const LONGEST_LINE: usize = 998 - "Reply-To:".len();

/// What is changed of one envelope, as far as it can be told before its header is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// The reverse-path of the transaction.
    pub reverse_path: ReversePath,
    /// What replaces From, and when: none where it stays.
    from: Option<(Mailbox, RewriteWhen)>,
    /// Whom the report copies stand for; none where the recipients get their own mail.
    originals: Option<Vec<Address>>,
    /// It goes to a pickup folder.
    is_for_pickup: bool,
}

impl Changes {
    /// What `envelope` of `message` needs at `upstream`. `handling` is that of its site.
    pub fn new(
        envelope: &PlannedEnvelope,
        message: &Message,
        handling: &Handling,
        upstream: &Upstream,
    ) -> Changes {
        let reverse_path = match (&message.reverse_path, &envelope.kind) {
            (ReversePath::Null, _) => ReversePath::Null,
            (_, EnvelopeKind::ReportCopy(_)) => {
                let first = || handling.redirect.enabled_addresses().next();
                let address = upstream.sender.as_ref().or_else(first).or(envelope.recipients.first());
                address.map_or(ReversePath::Null, |address| ReversePath::Address(address.clone()))
            }
            (own, EnvelopeKind::Direct) if message.is_notice => own.clone(),
            (_, EnvelopeKind::Direct) => match &upstream.sender {
                Some(address) => ReversePath::Address(address.clone()),
                None => reverse_path_after_sender(message, handling),
            },
        };
        let originals = match &envelope.kind {
            EnvelopeKind::Direct => None,
            EnvelopeKind::ReportCopy(originals) => Some(originals.clone()),
        };
        let is_for_pickup = upstream.pickup_directory.is_some();
        Changes { reverse_path, from: new_from(message, handling, upstream), originals, is_for_pickup }
    }

    /// Whether [`Changes::header`] needs to know what the header says: ordinary mail is not read for it.
    pub fn needs_header(&self) -> bool {
        self.from.is_some() || self.originals.is_some()
    }

    /// Whether the new From can stand in the header only where the transaction says SMTPUTF8.
    pub fn wants_smtp_utf8(&self) -> bool {
        self.from.as_ref().is_some_and(|(mailbox, _)| !mailbox.address.is_ascii())
    }

    /// What is changed of a header of which `facts` are known. `utf8`: the transaction says SMTPUTF8.
    ///
    /// A new From that is not ASCII stays out where the transaction does not say so: then From stays as it is.
    pub fn header(&self, facts: &SenderFacts, utf8: bool) -> HeaderChanges {
        let mut changes = HeaderChanges::default();
        if let Some(originals) = &self.originals {
            changes.original_to = originals.iter().map(|original| original_to(original, utf8)).collect();
            changes.renames.extend(RECEIPTS);
        }
        let author = Author::of(facts);
        if let Some((mailbox, when)) = &self.from
            && (utf8 || mailbox.address.is_ascii())
            && !(*when == RewriteWhen::Missing && author.is_usable())
            && !(mailbox.name.is_empty() && author.is_only(&mailbox.address))
        {
            let mut fields = from_field(mailbox);
            if !facts.has_reply_to && !author.is_same(&mailbox.address) {
                fields.push_str(&author.reply_to(utf8));
            }
            changes.from = Some(fields);
            changes.renames.extend(FROM);
        }
        changes.growth = facts.growth(&changes.renames);
        // A folder is told no size.
        changes.renames.extend(self.is_for_pickup.then_some(ENVELOPE_FIELDS).into_iter().flatten());
        changes
    }
}

/// The reverse-path of a message after `[sender]`, whatever upstream it goes through.
pub fn reverse_path_after_sender(message: &Message, handling: &Handling) -> ReversePath {
    let sender = &handling.sender;
    match (&message.reverse_path, &sender.address) {
        (ReversePath::Address(_), Some(mailbox))
            if sender.when == RewriteWhen::Always && !message.is_notice =>
        {
            ReversePath::Address(mailbox.address.clone())
        }
        (own, _) => own.clone(),
    }
}

/// What replaces From. The server behind an upstream with a `sender` takes nothing else, not even a notice; `[sender]` leaves
/// notices and the null reverse-path alone.
fn new_from(message: &Message, handling: &Handling, upstream: &Upstream) -> Option<(Mailbox, RewriteWhen)> {
    if let Some(address) = &upstream.sender {
        return Some((Mailbox { name: String::new(), address: address.clone() }, RewriteWhen::Always));
    }
    let untouched = message.is_notice || message.reverse_path == ReversePath::Null;
    let when = if untouched { RewriteWhen::Never } else { handling.sender.when };
    match when {
        RewriteWhen::Never => None,
        when => handling.sender.address.clone().map(|mailbox| (mailbox, when)),
    }
}

/// What is changed of a header: goes in front of the stored content by [`super::added::added`], and into it by
/// [`crate::mail::FieldFilter`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderChanges {
    /// `X-Original-To:`, a field for each original recipient, in front of any that the application wrote.
    pub original_to: String,
    /// The new `From:` and, where the author moves there, `Reply-To:`; none where From stays.
    pub from: Option<String>,
    /// Fields that leave under another name.
    pub renames: Vec<Rename>,
    /// How many bytes longer these make the stored header.
    pub growth: u64,
}

/// Who wrote a message, as its header says.
struct Author<'a> {
    /// The first `From:` that names somebody.
    value: &'a [u8],
    /// Whom it names; none of them where nobody can be written to.
    addresses: Vec<Address>,
    /// It names nobody but these.
    is_clean: bool,
    /// There is one `From:`, and it is known whole.
    is_whole: bool,
    is_cut: bool,
}

impl Author<'_> {
    fn of(facts: &SenderFacts) -> Author<'_> {
        let named = facts.from.iter().map(|value| {
            let text = String::from_utf8_lossy(value);
            let all = mailboxes(&text);
            let sound = |mailbox: &&String| !mailbox.contains(char::REPLACEMENT_CHARACTER);
            let addresses: Vec<Address> =
                all.iter().filter(sound).filter_map(|mailbox| mailbox.parse().ok()).collect();
            (value, all.len() == addresses.len(), addresses)
        });
        let first = named.into_iter().find(|(_, _, addresses)| !addresses.is_empty());
        let is_whole = facts.from.len() == 1 && !facts.is_cut;
        let (value, is_clean, addresses) = match first {
            Some((value, is_clean, addresses)) => (value.as_slice(), is_clean, addresses),
            None => (&[][..], false, Vec::new()),
        };
        Author { value, addresses, is_clean, is_whole, is_cut: facts.is_cut }
    }

    fn is_usable(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Every author is `address`.
    fn is_same(&self, address: &Address) -> bool {
        self.addresses.iter().all(|own| own.as_str().eq_ignore_ascii_case(address.as_str()))
    }

    /// From is already `address` and nothing else.
    fn is_only(&self, address: &Address) -> bool {
        self.is_whole && self.is_clean && self.addresses.len() == 1 && self.is_same(address)
    }

    /// `Reply-To:` with the value of `From:` as it stands there; where that would not be a sound field, with the addresses
    /// alone; nothing where no author is usable or known whole.
    fn reply_to(&self, utf8: bool) -> String {
        if self.is_cut || !self.is_usable() {
            return String::new();
        }
        let as_it_stands = std::str::from_utf8(self.value).ok().map(|value| value.trim_end_matches("\r\n"));
        if let Some(value) = as_it_stands.filter(|value| self.is_clean && is_sound(value, utf8)) {
            return format!("Reply-To:{value}\r\n");
        }
        let usable = self.addresses.iter().filter(|address| utf8 || address.is_ascii());
        let list = usable.map(Address::as_str).collect::<Vec<_>>().join(",\r\n ");
        if list.is_empty() { list } else { format!("Reply-To: {list}\r\n") }
    }
}

/// Whether a folded value may stand behind another name: lines that are not too long, none of them blank, no control
/// character but tabs.
fn is_sound(value: &str, utf8: bool) -> bool {
    let mut lines = value.split("\r\n");
    (utf8 || value.is_ascii())
        && lines.clone().all(|line| line.len() <= LONGEST_LINE)
        && lines.clone().all(|line| line.chars().all(|letter| letter == '\t' || !letter.is_control()))
        && lines.clone().skip(1).all(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty())
        && lines.any(|line| !line.trim().is_empty())
}

/// `From:` with a display name as RFC 5322 or RFC 2047 wants it.
pub(crate) fn from_field(mailbox: &Mailbox) -> String {
    let (mut field, address) = ("From: ".to_owned(), &mailbox.address);
    if mailbox.name.is_empty() {
        return format!("{field}{address}\r\n");
    }
    let mut writer = EmailWriter::new(&mut field, "From: ".len(), 0, false);
    // Writing to a String does not fail.
    let _ = quoted_string::encode(&printable(&mailbox.name), &mut writer);
    let line_length = writer.line_len() + " <>".len() + address.as_str().len();
    drop(writer);
    let fold = if line_length > READABLE_LINE { "\r\n" } else { "" };
    field.push_str(&format!("{fold} <{address}>\r\n"));
    field
}

/// One field, so that no line becomes long however many there are. Its value is text that nothing is sent by, and so may be
/// an encoded word where it must be ASCII (RFC 2047 section 5).
fn original_to(address: &Address, utf8: bool) -> String {
    let mut field = "X-Original-To: ".to_owned();
    if utf8 || address.is_ascii() {
        field.push_str(address.as_str());
    } else {
        let mut writer = EmailWriter::new(&mut field, "X-Original-To: ".len(), 0, false);
        let _ = rfc2047::encode(address.as_str(), &mut writer);
    }
    field.push_str("\r\n");
    field
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
