//! logemails.log: one record for each attempt, of the message as the application sent it (docs/rules.md#records).
//!
//! [`render`] makes the record, [`LogEmails`] appends it, each record in one write to a file opened for appending,
//! so that records of several writers never mix. Failing to write is a value for the caller to make an event of;
//! it never costs a mail.
//!
//! Decided beyond what docs/rules.md#records says:
//! - Without a `To:` field, `Rcpt` shows the envelope's recipients that are not named in `Cc:`.
//! - Addresses are the same when their local parts are equal and their domains are but for ASCII case.
//! - Standard fields are those of RFC 5322 and every `Content-` field; trace fields are `Received`, `Return-Path` and
//!   those that servers on the way add (DKIM-Signature, Delivered-To, ARC- and the like; X-Original-To too).
//! - A value that is no UTF-8 is read as Latin-1, so that the file stays UTF-8.
//! - Custom fields encoded in several charsets: all are named, separated by `;`.
//!
//! Limits: the first 256 KiB of the header are read. A message whose header makes mail-parser panic gets a record
//! with its envelope alone. Writing blocks for as long as the disk does.

use super::EventType;
use super::encoded_words::{catch_parser_panic, decoded_line};
use super::header_fields::{Field, fields, readable};
use crate::mail::printable;
use jiff::Zoned;
use mail_parser::parsers::MessageStream;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of header that a record is made from.
const HEADER_LIMIT: usize = 256 * 1024;

/// The file.
#[derive(Debug)]
pub struct LogEmails {
    path: PathBuf,
    open: Mutex<OpenLog>,
    /// The last record could not be written.
    failing: AtomicBool,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    /// The last record was not written whole, so the next one must not start on the same line.
    torn: bool,
}

impl LogEmails {
    /// Opens the file for appending; creates it for its owner alone (mode 0600) if it is not there.
    pub fn open(path: &Path) -> io::Result<LogEmails> {
        let file = open_for_append(path)?;
        let open = Mutex::new(OpenLog { file, torn: false });
        Ok(LogEmails { path: path.to_owned(), open, failing: AtomicBool::new(false) })
    }

    /// Appends a record made by [`render`].
    pub fn append(&self, record: &str) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let separated;
        let record = if open.torn {
            separated = format!("\n\n{record}");
            &separated
        } else {
            record
        };
        open.torn = true;
        // A regular file takes all in one write; the loop in here is for disks that have room for a part of it.
        open.file.write_all(record.as_bytes())?;
        open.torn = false;
        Ok(())
    }

    /// What there is to tell of a write: that records cannot be written, the first time, and that they can again.
    pub fn news(&self, written: &io::Result<()>) -> Option<(EventType, String)> {
        let was_failing = self.failing.swap(written.is_err(), Ordering::Relaxed);
        let path = self.path.display();
        match written {
            Err(error) if !was_failing => {
                let text = format!(
                    "logemails.log cannot be written in {path}: {error}; mail goes on without its records"
                );
                Some((EventType::Error, text))
            }
            Ok(()) if was_failing => {
                Some((EventType::Information, format!("logemails.log is written again: {path}")))
            }
            _ => None,
        }
    }

    /// Opens the path anew, after the log was rotated. When that fails the file open so far stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open_for_append(&self.path)?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = OpenLog { file, torn: false };
        Ok(())
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The record of an attempt that starts at `time`: `recipients` are the envelope's, `header` is the beginning of the
/// content, at least to the end of its header block. Ends with the empty line that separates records.
pub fn render(time: &Zoned, recipients: &[&str], header: &[u8]) -> String {
    let readable = readable(&header[..header.len().min(HEADER_LIMIT)]);
    let fields: Vec<Field<'_>> = fields(&readable).collect();
    let parsed = catch_parser_panic(|| RecordFields::of(&fields, recipients));
    let shown =
        parsed.unwrap_or_else(|| RecordFields { rcpt: recipients.join(";"), ..RecordFields::default() });

    let mut record = format!("Timestamp: {}\n", time.strftime("%Y-%m-%dT%H:%M:%S%:z"));
    line(&mut record, "Rcpt", &shown.rcpt);
    for (name, value) in [("Cc", &shown.cc), ("Bcc", &shown.bcc)] {
        if !value.is_empty() {
            line(&mut record, name, value);
        }
    }
    line(&mut record, "From", &shown.from);
    line(&mut record, "Subject", &shown.subject);
    if !shown.custom.is_empty() {
        record.push_str("Headers:\n");
        for (name, value) in &shown.custom {
            record.push_str("    ");
            line(&mut record, name, value);
        }
    }
    line(&mut record, "HeadersEncoding", &shown.charset);
    record.push('\n');
    record
}

fn line(record: &mut String, name: &str, value: &str) {
    record.push_str(name);
    record.push_str(": ");
    record.push_str(&printable(value));
    record.push('\n');
}

/// The values of a record.
#[derive(Default)]
struct RecordFields {
    rcpt: String,
    cc: String,
    bcc: String,
    from: String,
    subject: String,
    custom: Vec<(String, String)>,
    charset: String,
}

impl RecordFields {
    fn of(fields: &[Field<'_>], recipients: &[&str]) -> RecordFields {
        let named = |name| fields.iter().filter(move |field| field.is(name));
        let addresses = |name| named(name).flat_map(|field| addresses(field.value)).collect::<Vec<_>>();
        let (to, cc) = (addresses("To"), addresses("Cc"));
        let in_neither =
            recipients.iter().filter(|one| !to.iter().chain(&cc).any(|shown| same_mailbox(shown, one)));
        let hidden: Vec<&str> = in_neither.copied().collect();
        let has_to = named("To").next().is_some();
        let (rcpt, bcc) =
            if has_to { (to.join(";"), hidden.join(";")) } else { (hidden.join(";"), String::new()) };
        let shown = |name| named(name).next().map(|field| decoded_line(field.value)).unwrap_or_default();
        let custom = || fields.iter().filter(|field| is_custom(field.name));
        RecordFields {
            rcpt,
            cc: cc.join(";"),
            bcc,
            from: shown("From"),
            subject: shown("Subject"),
            custom: custom().map(|field| (field.name.to_owned(), decoded_line(field.value))).collect(),
            charset: charsets(custom().map(|field| field.value)),
        }
    }
}

/// The mailboxes that an address field names, without display names; groups are opened.
fn addresses(value: &str) -> Vec<String> {
    let value = format!("{value}\n");
    let parsed = MessageStream::new(value.as_bytes()).parse_address().into_address();
    let found = parsed.iter().flat_map(|list| list.iter()).filter_map(|one| one.address()).map(str::to_owned);
    found.filter(|address| !address.is_empty()).collect()
}

fn same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, domain)), Some((other_local, other_domain))) => {
            local == other_local && domain.eq_ignore_ascii_case(other_domain)
        }
        _ => one == other,
    }
}

/// The charsets that the encoded words of these values name, `utf-8` where there are none (RFC 2047 section 2; what
/// stands behind `*` is a language, RFC 2231 section 5).
fn charsets<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut found: Vec<String> = Vec::new();
    for value in values {
        for word in value.split("=?").skip(1) {
            let mut parts = word.split('?');
            let (Some(charset), Some("q" | "Q" | "b" | "B"), Some(_), Some(end)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let charset = charset.split('*').next().unwrap_or(charset).to_ascii_lowercase();
            if end.starts_with('=') && !charset.is_empty() && !found.contains(&charset) {
                found.push(charset);
            }
        }
    }
    if found.is_empty() { "utf-8".to_owned() } else { found.join(";") }
}

/// Whether a field is the application's own: neither standard (RFC 5322 section 3.6, RFC 2045) nor written by servers
/// on the way.
fn is_custom(name: &str) -> bool {
    const STANDARD: [&str; 14] = [
        "bcc",
        "cc",
        "comments",
        "date",
        "from",
        "in-reply-to",
        "keywords",
        "message-id",
        "mime-version",
        "references",
        "reply-to",
        "sender",
        "subject",
        "to",
    ];
    const TRACE: [&str; 11] = [
        "authentication-results",
        "delivered-to",
        "dkim-signature",
        "domainkey-signature",
        "envelope-to",
        "received",
        "received-spf",
        "return-path",
        "x-google-dkim-signature",
        "x-original-to",
        "x-received",
    ];
    const FAMILIES: [&str; 3] = ["arc-", "content-", "resent-"];
    let name = name.to_ascii_lowercase();
    !STANDARD.contains(&name.as_str())
        && !TRACE.contains(&name.as_str())
        && !FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    fn at(time: &str) -> Zoned {
        let zoned: jiff::Timestamp = time.parse().unwrap();
        zoned.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(1)))
    }

    fn rendered(recipients: &[&str], header: impl AsRef<[u8]>) -> String {
        render(&at("2026-11-20T13:03:22Z"), recipients, header.as_ref())
    }

    #[test]
    fn what_cannot_be_written_is_news_once_and_so_is_its_end() {
        let log = LogEmails::open(Path::new("/dev/full")).unwrap();
        let failed = || log.append("x");
        assert_eq!(log.news(&Ok(())), None);
        assert!(matches!(log.news(&failed()), Some((EventType::Error, text)) if text.contains("/dev/full")));
        assert_eq!(log.news(&failed()), None);
        assert!(matches!(log.news(&Ok(())), Some((EventType::Information, _))));
        assert_eq!(log.news(&Ok(())), None);
    }

    #[test]
    fn the_example_of_the_handbook() {
        let header = concat!(
            "Received: from shop by relay; Fri, 20 Nov 2026 14:03:21 +0100\r\n",
            "Date: Fri, 20 Nov 2026 14:03:21 +0100\r\n",
            "Message-ID: <1@shop>\r\n",
            "From: \"Shop\" <noreply@example.com>\r\n",
            "To: Ann <ann@example.com>,\r\n\t\"Bob, B.\" <bob@example.org>\r\n",
            "cc: carol@example.com\r\n",
            "Subject: =?UTF-8?Q?Your_order_4711_=E2=9C=93?=\r\n",
            "X-Campaign: autumn\r\n",
            "MIME-Version: 1.0\r\n",
            "Content-Type: text/plain;\r\n charset=utf-8\r\n",
            "X-Mailer: shop 1.2\r\n",
            "\r\n",
            "To: nobody@example.com\r\n"
        );
        let recipients = ["ann@example.com", "bob@EXAMPLE.org", "carol@example.com", "dave@example.net"];
        assert_eq!(
            rendered(&recipients, header),
            "Timestamp: 2026-11-20T14:03:22+01:00\n\
             Rcpt: ann@example.com;bob@example.org\n\
             Cc: carol@example.com\n\
             Bcc: dave@example.net\n\
             From: \"Shop\" <noreply@example.com>\n\
             Subject: Your order 4711 ✓\n\
             Headers:\n    X-Campaign: autumn\n    X-Mailer: shop 1.2\n\
             HeadersEncoding: utf-8\n\n"
        );
    }

    #[test]
    fn a_plain_message_has_neither_cc_nor_bcc_nor_headers() {
        let header = "From: a@x.test\r\nTo: b@y.test\r\nSubject: t\r\n\r\n";
        assert_eq!(
            rendered(&["b@y.test"], header),
            "Timestamp: 2026-11-20T14:03:22+01:00\nRcpt: b@y.test\nFrom: a@x.test\nSubject: t\n\
             HeadersEncoding: utf-8\n\n"
        );
    }

    #[test]
    fn without_to_the_envelope_is_shown() {
        let expected = "Timestamp: 2026-11-20T14:03:22+01:00\nRcpt: b@y.test;d@y.test\nFrom: \nSubject: \n\
                        HeadersEncoding: utf-8\n\n";
        assert_eq!(rendered(&["b@y.test", "d@y.test"], ""), expected);
        assert_eq!(rendered(&["b@y.test", "d@y.test"], "just text\r\nTo: x@y\r\n"), expected);
        let record = rendered(&["b@y.test", "c@y.test"], "Cc: c@y.test\r\n\r\n");
        assert!(record.contains("\nRcpt: b@y.test\nCc: c@y.test\nFrom: "), "{record}");
        let hidden = rendered(&["b@y.test"], "To: undisclosed-recipients:;\r\n\r\n");
        assert!(hidden.contains("\nRcpt: \nBcc: b@y.test\nFrom: "), "{hidden}");
    }

    #[test]
    fn custom_fields_are_decoded_and_their_charset_is_named() {
        let header = concat!(
            "From: =?iso-8859-1?Q?J=F6rg?= <j@x.test>\r\n",
            "To: b@y.test\r\n",
            "Subject: =?utf-8?B?4pyT?=\r\n",
            "X-Ort: =?ISO-8859-1*de?Q?K=F6ln?=\r\n",
            "X-Preis: =?windows-1252?Q?5=80?=\r\n",
            "List-Unsubscribe: <mailto:u@x.test>,\r\n <https://x.test/u>\r\n",
            "\r\n"
        );
        let record = rendered(&["b@y.test"], header);
        assert!(
            record.ends_with(
                "From: Jörg <j@x.test>\nSubject: ✓\nHeaders:\n    X-Ort: Köln\n    X-Preis: 5€\n    \
                 List-Unsubscribe: <mailto:u@x.test>, <https://x.test/u>\nHeadersEncoding: iso-8859-1;windows-1252\n\n"
            ),
            "{record}"
        );
    }

    #[test]
    fn raw_latin1_is_shown_as_such() {
        let record =
            rendered(&["b@y.test"], b"To: b@y.test\r\nX-Ort: K\xf6ln\r\nSubject: Gr\xfc\xdfe\r\n\r\n");
        assert!(record.contains("Subject: Grüße\nHeaders:\n    X-Ort: Köln\n"), "{record}");
    }

    #[test]
    fn no_value_forges_a_line() {
        let header = "To: b@y.test\r\nSubject: =?utf-8?Q?x=0ABcc:_evil@x=0D=0A=0D=0ATimestamp:?=\r\n\
                      X-A: a\r\n  b\tc\u{1b}[2J\u{85}d\r\nX-B\u{7f}: x\r\n\r\n";
        let record = rendered(&["b@y.test", "c\nd@y.test"], header);
        assert_eq!(
            record,
            "Timestamp: 2026-11-20T14:03:22+01:00\nRcpt: b@y.test\nBcc: c d@y.test\nFrom: \n\
             Subject: x Bcc: evil@x    Timestamp:\nHeaders:\n    X-A: a  b c [2J d\nHeadersEncoding: utf-8\n\n"
        );
    }

    #[test]
    fn what_servers_add_is_no_custom_field() {
        for name in [
            "Received",
            "RETURN-PATH",
            "ARC-Seal",
            "DKIM-Signature",
            "Resent-To",
            "Content-ID",
            "To",
            "X-Original-To",
        ] {
            assert!(!is_custom(name), "{name}");
        }
        for name in ["X-Mailer", "List-Id", "Auto-Submitted", "Precedence", "Importance"] {
            assert!(is_custom(name), "{name}");
        }
    }

    #[test]
    fn hostile_headers_take_no_time() {
        for piece in ["=?a", "=?utf-8?Q?", "=?utf-8?B?A", "<", "(", "\"", "a:", ",;:", "\r\n "] {
            let value = piece.repeat(HEADER_LIMIT / piece.len());
            let start = Instant::now();
            for name in ["To", "Subject", "X-A"] {
                let record = rendered(&["b@y.test"], format!("{name}: {value}\r\n\r\n"));
                assert!(record.ends_with("\n\n"));
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{piece:?} took {:?}", start.elapsed());
        }
    }

    #[test]
    fn records_are_appended_and_the_file_can_be_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logemails.log");
        let log = LogEmails::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        log.append("one\n\n").unwrap();
        std::fs::rename(&path, folder.path().join("logemails.log.1")).unwrap();
        log.append("two\n\n").unwrap();
        log.reopen().unwrap();
        log.append("three\n\n").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("logemails.log.1")).unwrap(), "one\n\ntwo\n\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n\n");
        let again = LogEmails::open(&path).unwrap();
        again.append("four\n\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n\nfour\n\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_no_panic() {
        let log = LogEmails::open(Path::new("/dev/full")).unwrap();
        assert_eq!(log.append("one\n\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(log.open.lock().unwrap().torn);
        assert!(LogEmails::open(Path::new("/nowhere/logemails.log")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_record_has_the_lines_that_it_must_have(
            header in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            known in "(To|From|Subject|X-A): ",
        ) {
            let record = rendered(&["b@y.test"], [known.as_bytes(), &header].concat());
            let lines: Vec<&str> = record.split('\n').collect();
            proptest::prop_assert!(record.ends_with("\n\n"));
            for name in ["Timestamp: ", "Rcpt: ", "From: ", "Subject: ", "HeadersEncoding: "] {
                proptest::prop_assert_eq!(lines.iter().filter(|line| line.starts_with(name)).count(), 1);
            }
            proptest::prop_assert!(!record.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
