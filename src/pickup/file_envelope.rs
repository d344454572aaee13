//! The envelope of a file: what `x-sender:` and `x-receiver:` at its head say, else its header.
//!
//! .NET's System.Net.Mail and IIS write those lines, with or without display names; Exchange writes the address in brackets and
//! ESMTP parameters behind it. They are no part of the message. Where there is no `x-receiver:`, To, Cc and Bcc name the
//! recipients; where there is no `x-sender:`, Sender or From names the sender, in this order as with Exchange.

use crate::config::settings::Aliases;
use crate::mail::address::parse_path_with;
use crate::mail::address_list::mailboxes;
use crate::mail::header::{fields, recipient_fields, sender_field};
use crate::mail::{Address, ReversePath, printable};
use crate::reception::completion::AddressCompletion;

/// What editors and some libraries put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Who a file is from and for.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct FileEnvelope {
    pub(super) reverse_path: ReversePath,
    /// Each once. Never empty.
    pub(super) recipients: Vec<Address>,
    /// Bytes at the start of the file that are no part of the message.
    pub(super) length: usize,
}

/// What an unqualified address means there.
#[derive(Clone, Copy)]
pub(super) struct Completion<'a> {
    pub(super) domain: &'a str,
    pub(super) aliases: &'a Aliases,
}

impl FileEnvelope {
    /// Reads it from the header of a file, which may be cut where it is too long. `most`: recipients that a message may have.
    ///
    /// # Errors
    /// In words, for people.
    pub(super) fn read(file: &[u8], most: usize, completion: Completion<'_>) -> Result<FileEnvelope, String> {
        let mark = if file.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let (mut length, mut sender, mut receivers) = (mark, None, Vec::new());
        for (name, value) in fields(&file[mark..]) {
            let text = || String::from_utf8_lossy(value).trim().to_owned();
            if name.eq_ignore_ascii_case(b"x-sender") {
                sender = Some(text()).filter(|text| !text.is_empty()).or(sender);
            } else if name.eq_ignore_ascii_case(b"x-receiver") {
                receivers.push(text());
            } else {
                break;
            }
            length = value.as_ptr_range().end.addr() - file.as_ptr().addr();
        }
        let message = &file[length..];
        let named = receivers.iter().any(|value| !mailboxes(value).is_empty());
        let values = if named { receivers } else { recipient_fields(message) };
        let recipients = recipients(&values, most, completion)?;
        let sender = sender.or_else(|| sender_field(message));
        let sender = sender.ok_or("there is no sender: neither x-sender nor Sender nor From")?;
        Ok(FileEnvelope { reverse_path: reverse_path(&sender, completion)?, recipients, length })
    }
}

fn recipients(values: &[String], most: usize, completion: Completion<'_>) -> Result<Vec<Address>, String> {
    let mut known = std::collections::HashSet::new();
    let mut recipients = Vec::new();
    for mailbox in values.iter().flat_map(|value| mailboxes(value)) {
        let aliases = Some(completion.aliases);
        let completion = AddressCompletion { domain: completion.domain, aliases };
        let ReversePath::Address(address) = path(&mailbox, completion)? else {
            return Err("an empty path is no recipient".to_owned());
        };
        if known.insert(address.clone()) {
            recipients.push(address);
        }
        if recipients.len() > most {
            return Err(format!("there are more than the {most} recipients of limits.recipients"));
        }
    }
    match recipients.is_empty() {
        true => Err("there is no recipient: neither x-receiver nor To, Cc or Bcc".to_owned()),
        false => Ok(recipients),
    }
}

/// `<>` is the null one; the first where there are several.
fn reverse_path(value: &str, completion: Completion<'_>) -> Result<ReversePath, String> {
    match mailboxes(value).first() {
        None if value.trim() == "<>" => Ok(ReversePath::Null),
        None => Err(format!("{} names no sender", printable(value.trim()))),
        Some(mailbox) => path(mailbox, completion.domain.into()),
    }
}

fn path(mailbox: &str, completion: AddressCompletion<'_>) -> Result<ReversePath, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", printable(mailbox));
    if mailbox.contains(char::REPLACEMENT_CHARACTER) {
        return Err(wrong(&"the address is not in UTF-8"));
    }
    let bracketed = format!("<{mailbox}>");
    let read = parse_path_with(bracketed.as_bytes(), |local| completion.complete(local));
    match read.map_err(|error| wrong(&error))? {
        (path, []) => Ok(path),
        _ => Err(wrong(&"is no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(file: &str) -> Result<(String, Vec<String>, String), String> {
        let aliases = Aliases::default();
        let completion = Completion { domain: "own.test", aliases: &aliases };
        let FileEnvelope { reverse_path, recipients, length } =
            FileEnvelope::read(file.as_bytes(), 3, completion)?;
        let recipients = recipients.iter().map(Address::to_string).collect();
        Ok((reverse_path.as_str().to_owned(), recipients, file[length..].to_owned()))
    }

    #[test]
    fn lines_at_the_head_are_the_envelope_and_no_part_of_the_message() {
        for (head, sender, recipients) in [
            ("x-sender: a@x.test\r\nx-receiver: b@y.test\r\n", "a@x.test", &["b@y.test"][..]),
            (
                "X-Sender: \"A, B\" <a@x.test>\nX-Receiver: c@y.test\nX-RECEIVER: b@y.test\n",
                "a@x.test",
                &["c@y.test", "b@y.test"],
            ),
            // As Exchange writes it.
            (
                "X-Receiver: <b@y.test> NOTIFY=NEVER\r\nX-Sender: <a@x.test> BODY=7bit\r\n",
                "a@x.test",
                &["b@y.test"],
            ),
            ("x-sender: <>\r\nx-receiver:\r\n b@y.test\r\n", "", &["b@y.test"]),
            (
                "\u{feff}x-sender: root\nx-receiver: root\nx-receiver: root@own.test\n",
                "root@own.test",
                &["root@own.test"],
            ),
            ("x-sender: \u{fc}@x.test\nx-receiver: \"a b\"@y.test\n", "\u{fc}@x.test", &["\"a b\"@y.test"]),
            // Without a value it says nothing.
            ("x-sender:\r\nx-receiver: b@y.test\r\n", "from@x.test", &["b@y.test"]),
            ("x-sender: a@x.test\r\n", "a@x.test", &["to@y.test", "cc@y.test"]),
        ] {
            let message = "From: from@x.test\r\nTo: to@y.test\r\nX-Receiver: no@y.test\r\nCc: cc@y.test\r\n\r\nTo: no@y.test\r\n";
            let (of, to, rest) = read(&format!("{head}{message}")).unwrap();
            assert_eq!(
                (of.as_str(), to.as_slice(), rest.as_str()),
                (sender, &recipients.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()[..], message),
                "{head}"
            );
        }
    }

    #[test]
    fn else_the_header_is_the_envelope() {
        for (message, sender, recipients) in [
            (
                "From: A <a@x.test>, z@x.test\nTo: b@y.test\nBcc: c@y.test\n\n",
                "a@x.test",
                &["b@y.test", "c@y.test"][..],
            ),
            ("Sender: s@x.test\r\nFrom: a@x.test\r\nTo: b@y.test\r\n", "s@x.test", &["b@y.test"]),
            (
                "Resent-From: r@x.test\nResent-To: d@y.test\nFrom: a@x.test\nTo: b@y.test\n",
                "r@x.test",
                &["d@y.test"],
            ),
        ] {
            let (of, to, rest) = read(message).unwrap();
            assert_eq!((of.as_str(), rest.as_str()), (sender, message));
            assert_eq!(to, recipients);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (file, words) in [
            ("", "no recipient"),
            ("hello\n", "no recipient"),
            ("From: a@x.test\nTo: undisclosed-recipients:;\n\n", "no recipient"),
            ("To: b@y.test\n\n", "no sender"),
            ("x-sender: a@x.test\nx-receiver: a b@y.test\n", "a b@y.test"),
            ("x-sender: a@x.test\nx-receiver: b@y.test\nx-receiver: not ok@\n", "not ok@"),
            ("x-sender: \"\nx-receiver: b@y.test\n", "\""),
            ("x-sender: a@x.test\nx-receiver: 1@y,2@y,3@y,4@y\n", "more than the 3 recipients"),
        ] {
            let said = read(file).unwrap_err();
            assert!(said.contains(words), "{file}: {said}");
        }
        let aliases = Aliases::default();
        let completion = Completion { domain: "own.test", aliases: &aliases };
        let latin = FileEnvelope::read(b"x-sender: a@x.test\nx-receiver: \xfc@y.test\n", 3, completion);
        assert!(latin.unwrap_err().contains("not in UTF-8"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(file in proptest::collection::vec(any::<u8>(), 0..80), head in "(x-sender|X-Receiver|To|From)?:?[ -~\\r\\n]{0,30}") {
            let aliases = Aliases::default();
            let completion = Completion { domain: "own.test", aliases: &aliases };
            let whole = [head.as_bytes(), &file].concat();
            if let Ok(envelope) = FileEnvelope::read(&whole, 100, completion) {
                prop_assert!(envelope.length <= whole.len() && !envelope.recipients.is_empty());
            }
        }
    }
}
