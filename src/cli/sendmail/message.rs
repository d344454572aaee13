//! The message: what is read from standard input, and for whom it is.

use super::exit::{DATAERR, Failed, IOERR, OSERR, UNAVAILABLE, USAGE};
use super::options::SendmailOptions;
use crate::cli::content::{self, End};
use crate::config;
use crate::config::handling::Mailbox;
use crate::mail::address::qualified;
use crate::mail::address_list::mailboxes;
use crate::mail::header::recipient_fields;
use crate::mail::{Address, HeaderScan, ReversePath, printable};
use crate::policy::changes::from_field;
use crate::unix;
use std::collections::HashSet;
use std::io::{BufRead, ErrorKind};

/// A message as it is handed over.
#[derive(Debug)]
pub(super) struct SendmailMessage {
    /// The reverse-path; a name without a domain is completed by the proxy.
    pub(super) reverse_path: ReversePath,
    /// Those that can be written in an envelope, each once.
    pub(super) recipients: Vec<Address>,
    /// Those that cannot, with the reason.
    pub(super) unusable: Vec<String>,
    /// Goes in front of the content: `From:`, or nothing.
    pub(super) prefix: Vec<u8>,
    /// Header and body, lines ended by CRLF.
    pub(super) content: Vec<u8>,
}

impl SendmailMessage {
    /// Reads the message and decides for whom it is.
    pub(super) fn read(options: &SendmailOptions, input: impl BufRead) -> Result<SendmailMessage, Failed> {
        let reverse_path = reverse_path(options.sender.as_deref())?;
        if !options.from_header && options.recipients.is_empty() {
            return Err(Failed(USAGE, "no recipients: name them as arguments, or say -t".to_owned()));
        }
        let end = if options.ignore_dots { End::Input } else { End::Dot };
        let content = content::read(input, end).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => Failed(UNAVAILABLE, error.to_string()),
            _ => Failed(IOERR, format!("standard input cannot be read: {error}")),
        })?;
        let content = without_postmark(content);
        let mut named = options.recipients.clone();
        if options.from_header {
            named.extend(recipient_fields(&content));
        }
        let (mut recipients, mut unusable, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        for mailbox in named.iter().flat_map(|list| mailboxes(list)) {
            match address(&mailbox) {
                Ok(address) if known.insert(address.clone()) => recipients.push(address),
                Ok(_) => {}
                Err(why) => unusable.push(why),
            }
        }
        if recipients.is_empty() {
            return Err(match (unusable.is_empty(), options.from_header) {
                (false, _) => Failed(DATAERR, unusable.join("; ")),
                (true, true) => {
                    Failed(USAGE, "no recipients: neither in To, Cc and Bcc nor as arguments".to_owned())
                }
                (true, false) => Failed(USAGE, "no recipients: the arguments name none".to_owned()),
            });
        }
        let prefix = options.full_name.as_deref().filter(|name| !name.is_empty());
        let prefix = prefix.map(|name| from(name, &reverse_path, &content)).unwrap_or_default();
        Ok(SendmailMessage { reverse_path, recipients, unusable, prefix, content })
    }
}

/// What `-f` says, else the login name.
fn reverse_path(sender: Option<&str>) -> Result<ReversePath, Failed> {
    let Some(sender) = sender else {
        let Some(name) = unix::login_name() else {
            let why = "the user of this process has no name, so that nobody would hear of failures; say who sends with -f";
            return Err(Failed(OSERR, why.to_owned()));
        };
        // Where names come from Windows they hold a backslash.
        let quoted = || format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let name = address(&name).or_else(|_| address(&quoted())).map_err(|why| Failed(OSERR, why))?;
        return Ok(ReversePath::Address(name));
    };
    match &mailboxes(sender)[..] {
        [] => Ok(ReversePath::Null),
        [mailbox] => {
            Ok(ReversePath::Address(address(mailbox).map_err(|why| Failed(USAGE, format!("-f: {why}")))?))
        }
        _ => Err(Failed(USAGE, format!("-f: {} names several senders", printable(sender)))),
    }
}

fn address(mailbox: &str) -> Result<Address, String> {
    let route = mailbox.strip_prefix('@').and_then(|route| route.split_once(':'));
    let mailbox = route.map_or(mailbox, |(_, mailbox)| mailbox);
    let mailbox = mailbox.trim();
    let said = printable(mailbox);
    if mailbox.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!("{said}: the address is not valid UTF-8"));
    }
    if mailbox.starts_with('@') {
        return Err(format!("{said}: nothing stands before the @"));
    }
    Address::with_or_without_domain(mailbox).map_err(|error| format!("{said}: {error}"))
}

/// A mailbox file begins each message with a line of its own, `From ann@example.com Sat Nov 21 …`, and who forwards one may have
/// quoted it and added another. All of them go, as with Postfix.
fn without_postmark(mut content: Vec<u8>) -> Vec<u8> {
    let is_postmark = |line: &[u8]| {
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        line[quotes..].starts_with(b"From ")
    };
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let end: usize = lines.take_while(|line| is_postmark(line)).map(<[u8]>::len).sum();
    content.drain(..end);
    content
}

/// `From:` with the full name, where the message has none. Without a name the proxy writes it, which knows its
/// `default_domain`.
fn from(name: &str, reverse_path: &ReversePath, content: &[u8]) -> Vec<u8> {
    let mut scan = HeaderScan::new("");
    scan.push(content);
    let facts = scan.facts();
    let Some(sender) = reverse_path.address().filter(|address| !facts.has_from && address.is_ascii()) else {
        return Vec::new();
    };
    let address = match sender.domain() {
        "" => qualified(sender.local_part(), &config::name_of_this_machine()),
        _ => Ok(sender.clone()),
    };
    let Ok(address) = address else { return Vec::new() };
    let mut field = from_field(&Mailbox { name: name.to_owned(), address });
    if !facts.starts_well {
        field.push_str("\r\n");
    }
    field.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn read(arguments: &[&str], input: &str) -> Result<SendmailMessage, Failed> {
        let options = SendmailOptions::parse(arguments.iter().map(OsString::from)).unwrap();
        SendmailMessage::read(&options, input.as_bytes())
    }

    fn recipients(message: &SendmailMessage) -> Vec<&str> {
        message.recipients.iter().map(Address::as_str).collect()
    }

    #[test]
    fn recipients_of_the_header_are_added_to_those_of_the_command_line() {
        let message = "To: a@x, B <b@x>\nCc: root\nBCC: \"odd one\"@x,\n a@x\nReply-To: no@x\n\nTo: no@x\n";
        let read_ = |arguments: &[&str]| read(arguments, message).unwrap();
        assert_eq!(recipients(&read_(&["-t", "-fx@x"])), ["a@x", "b@x", "root", "\"odd one\"@x"]);
        assert_eq!(
            recipients(&read_(&["-t", "-fx@x", "z@x"])),
            ["z@x", "a@x", "b@x", "root", "\"odd one\"@x"]
        );
        assert_eq!(recipients(&read_(&["-fx@x", "z@x, Y <y@x>"])), ["z@x", "y@x"]);
    }

    #[test]
    fn a_message_that_is_resent_goes_to_those_it_is_resent_to() {
        let message = "Resent-To: a@x\nResent-Bcc: b@x\nTo: no@x\nBcc: no@x\n\n";
        assert_eq!(recipients(&read(&["-t", "-fx@x"], message).unwrap()), ["a@x", "b@x"]);
    }

    #[test]
    fn no_recipient_is_wrong_usage_and_one_that_is_none_is_wrong_data() {
        let code = |arguments: &[&str], input: &str| read(arguments, input).unwrap_err().0;
        assert_eq!(code(&["-fx@x"], "To: a@x\n\n"), USAGE);
        assert_eq!(code(&["-t", "-fx@x"], "Subject: x\n\n"), USAGE);
        assert_eq!(code(&["-t", "-fx@x"], "To: undisclosed-recipients:;\n\n"), USAGE);
        assert_eq!(code(&["-t", "-fx@x"], ""), USAGE);
        assert_eq!(code(&["-fx@x", ""], "\n"), USAGE);
        assert_eq!(code(&["-fx@x", "a b@x"], "\n"), DATAERR);
        assert_eq!(code(&["-fa@x, b@x", "a@x"], "\n"), USAGE);
        assert_eq!(code(&["-fa b@x", "a@x"], "\n"), USAGE);
        let said = |to: &str| read(&["-t", "-fx@x"], &format!("To: {to}\n\n")).unwrap_err().1;
        assert!(said("\"unclosed <a@x>").contains("is not closed"), "{}", said("\"unclosed <a@x>"));
        assert!(said("@x").contains("nothing stands before the @"));
        let options = SendmailOptions::parse(["-t", "-fx@x"].map(OsString::from)).unwrap();
        let latin = SendmailMessage::read(&options, &b"To: J\xf6rg <a@x>, b\xf6b@x\n\n"[..]).unwrap();
        assert_eq!((recipients(&latin), latin.unusable.len()), (vec!["a@x"], 1));
        let message = read(&["-fx@x", "a b@x", "c@x"], "\n").unwrap();
        assert_eq!((recipients(&message), message.unusable.len()), (vec!["c@x"], 1));
    }

    #[test]
    fn senders() {
        let sender = |argument: &str| read(&["-f", argument, "a@x"], "\n").unwrap().reverse_path;
        for null in ["", "<>", " "] {
            assert_eq!(sender(null), ReversePath::Null, "{null:?}");
        }
        assert_eq!(sender("root").as_str(), "root");
        assert_eq!(sender("Ann <ann@x>").as_str(), "ann@x");
        assert_eq!(sender("<@relay:ann@x>").as_str(), "ann@x");
        assert_eq!(sender("\"a b\"@x").as_str(), "\"a b\"@x");
    }

    #[test]
    fn from_is_written_where_there_is_none_and_a_name_is_given() {
        let prefix = |arguments: &[&str], input: &str| {
            String::from_utf8(read(&[arguments, &["b@x"]].concat(), input).unwrap().prefix).unwrap()
        };
        let header = "Subject: x\n\nx\n";
        assert_eq!(prefix(&["-fa@x"], header), "");
        assert_eq!(prefix(&["-fa@x", "-FAnn"], "from: y@x\n\n"), "");
        assert_eq!(prefix(&["-fa@x", "-FAnn A."], header), "From: \"Ann A.\" <a@x>\r\n");
        assert_eq!(prefix(&["-fa@x", "-FAnn \"A\\"], header), "From: \"Ann \\\"A\\\\\" <a@x>\r\n");
        assert_eq!(prefix(&["-fa@x", "-FAnn"], "no header\n"), "From: Ann <a@x>\r\n\r\n");
        assert_eq!(prefix(&["-f<>", "-FAnn"], header), "");
        assert!(prefix(&["-froot", "-FAnn"], header).starts_with("From: Ann <root@"));
        let encoded = prefix(&["-fa@x", &format!("-F{}", "J\u{f6}rg ".repeat(30))], header);
        assert!(encoded.is_ascii() && encoded.ends_with(" <a@x>\r\n"), "{encoded}");
        assert!(encoded.lines().all(|line| line.len() <= 78), "{encoded}");
        let words =
            encoded.split_whitespace().filter(|word| word.starts_with("=?utf-8?b?") && word.ends_with("?="));
        assert!(words.count() > 3, "{encoded}");
        // No name ends the field.
        let forged = prefix(&["-fa@x", "-FAnn\r\nBcc: no@x\r\n\r\n"], header);
        assert_eq!(forged.lines().count(), 1, "{forged}");
    }

    #[test]
    fn the_first_line_of_a_mailbox_file_is_left_out() {
        for first in ["From a@x Sat Nov 21\n", ">From a@x\r\n", ">>From a@x\nFrom b@x\n"] {
            assert_eq!(
                read(&["-fx@x", "a@x"], &format!("{first}Subject: x\n")).unwrap().content,
                b"Subject: x\r\n"
            );
        }
        assert_eq!(read(&["-fx@x", "a@x"], "From: a@x\n").unwrap().content, b"From: a@x\r\n");
    }
}
