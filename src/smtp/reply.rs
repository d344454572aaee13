//! Every reply that Postroom gives to a client: a code, an enhanced code (RFC 3463), and a text that tells the person who
//! reads it what to change.
//!
//! No reply repeats what a client sent, so that no client can forge one; only a size and the client's own address come back.
//! What upstreams reply to us is [`crate::mail::Reply`]; in pass-through the client hears it as it is, and what stands in
//! `deliver/pass_through/replies.rs` where no upstream has answered.

use crate::mail::address::AddressError;
use crate::mail::{EnhancedCode, QueueId, Reply};
use crate::reception::not_accepted::NotAccepted;
use std::borrow::Cow;
use std::net::IpAddr;

/// One reply to a client (RFC 5321 section 4.2). A line break in its text makes a reply of several lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplyToClient {
    pub code: u16,
    /// Repeated on each line (RFC 2034); none in the greeting, the answers to EHLO and HELO, and 354.
    pub enhanced: Option<EnhancedCode>,
    /// For people; in the answer to EHLO, for programs.
    pub text: Cow<'static, str>,
}

/// Of an upstream, in pass-through: its lines are printable.
impl From<Reply> for ReplyToClient {
    fn from(Reply { code, enhanced, lines }: Reply) -> ReplyToClient {
        ReplyToClient { code, enhanced, text: Cow::Owned(lines.join("\n")) }
    }
}

/// For records of what a client was told.
impl From<&ReplyToClient> for Reply {
    fn from(ReplyToClient { code, enhanced, text }: &ReplyToClient) -> Reply {
        Reply { code: *code, enhanced: *enhanced, lines: text.split('\n').map(str::to_owned).collect() }
    }
}

impl ReplyToClient {
    /// 2xx.
    pub(super) fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5xx: the client must change something.
    pub(super) fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// 4xx or 5xx.
    pub(super) fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// Appends the reply as it is sent.
    pub fn write_to(&self, output: &mut Vec<u8>) {
        use std::io::Write;
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            // Writing to a Vec cannot fail.
            let _ = match self.enhanced {
                Some(enhanced) => write!(output, "{}{separator}{enhanced} {line}\r\n", self.code),
                None => write!(output, "{}{separator}{line}\r\n", self.code),
            };
        }
    }
}

/// With an enhanced code of the class that belongs to the code.
const fn new(code: u16, subject: u16, detail: u16, text: Cow<'static, str>) -> ReplyToClient {
    let class = match code {
        ..300 => 2,
        300..500 => 4,
        500.. => 5,
    };
    ReplyToClient { code, enhanced: Some(EnhancedCode(class, subject, detail)), text }
}

const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> ReplyToClient {
    new(code, subject, detail, Cow::Borrowed(text))
}

fn written(code: u16, subject: u16, detail: u16, text: String) -> ReplyToClient {
    new(code, subject, detail, Cow::Owned(text))
}

/// Without an enhanced code.
const fn plain(code: u16, text: Cow<'static, str>) -> ReplyToClient {
    ReplyToClient { code, enhanced: None, text }
}

// The session: its beginning, its end.

pub(super) fn greeting(hostname: &str) -> ReplyToClient {
    plain(220, Cow::Owned(format!("{hostname} ESMTP Postroom")))
}

pub(super) const EARLY_TALKER: ReplyToClient =
    fixed(554, 5, 1, "you spoke before the greeting: this is SMTP, where the server speaks first");

pub(super) const TOO_MANY_SESSIONS: ReplyToClient =
    fixed(421, 7, 0, "too many sessions: try again later, or raise `connections` under [limits]");

pub(super) const TOO_MANY_SESSIONS_OF_CLIENT: ReplyToClient = fixed(
    421,
    7,
    0,
    "too many sessions from this address: use fewer, or raise `connections_per_client` under [limits]",
);

pub(super) const TOO_MANY_ERRORS: ReplyToClient =
    fixed(421, 7, 0, "too many refused commands in this session: check the client");

pub(super) const TIMEOUT: ReplyToClient =
    fixed(421, 4, 2, "timeout: send faster, or raise the timeouts under [limits]");

pub(super) const STOPPING: ReplyToClient = fixed(421, 3, 2, "Postroom is stopping: try again later");

pub(super) const INTERNAL_ERROR: ReplyToClient =
    fixed(421, 3, 0, "internal error: try again later, and see Postroom's log");

pub(super) const BYE: ReplyToClient = fixed(221, 0, 0, "bye");

pub(super) const TLS_HELLO: ReplyToClient = fixed(
    554,
    5,
    1,
    "this port does not speak TLS from the first byte: use STARTTLS, or no TLS, or another port",
);

/// For events alone: where a handshake fails, nobody is left to read a reply.
pub(super) fn handshake_failed(error: &str) -> ReplyToClient {
    written(454, 7, 0, format!("the TLS handshake failed: {error}"))
}

// Command lines of any kind.

pub(super) const ENDLESS_LINE: ReplyToClient =
    fixed(500, 5, 2, "the line does not end: this is SMTP, end lines with CRLF");

pub(super) const LINE_TOO_LONG: ReplyToClient = fixed(500, 5, 2, "the line is longer than 4096 octets");

pub(super) const BARE_LF_IN_COMMAND: ReplyToClient =
    fixed(500, 5, 2, "a bare LF ends no command: end lines with CRLF");

pub(super) const CONTROL_CHARACTER_IN_COMMAND: ReplyToClient =
    fixed(501, 5, 2, "control characters are not allowed in a command: end lines with CRLF");

pub(super) const HTTP: ReplyToClient =
    fixed(554, 5, 1, "this is a mail server (SMTP), not a web server: check the port");

pub(super) const UNKNOWN_COMMAND: ReplyToClient =
    fixed(500, 5, 1, "command not recognized: HELP lists those that are");

pub(super) const COMMAND_NOT_OFFERED: ReplyToClient =
    fixed(502, 5, 1, "this command is not offered here: HELP lists those that are");

pub(super) const STARTTLS_NOT_OFFERED: ReplyToClient =
    fixed(502, 5, 1, "STARTTLS is not offered here: connect without TLS");

pub(super) const STARTTLS_SYNTAX: ReplyToClient = fixed(501, 5, 4, "STARTTLS takes no argument");

pub(super) const STARTTLS_READY: ReplyToClient = fixed(220, 0, 0, "ready for the TLS handshake");

pub(super) const TLS_ALREADY: ReplyToClient = fixed(503, 5, 1, "this session is within TLS already");

/// RFC 3207 section 4.
pub(super) const TLS_REQUIRED: ReplyToClient =
    fixed(530, 7, 0, "say STARTTLS first: mail is taken within TLS alone");

pub(super) const AUTH_NOT_OFFERED: ReplyToClient =
    fixed(502, 5, 1, "AUTH is not offered here: switch authentication off in the client");

// AUTH (RFC 4954).

pub(super) const AUTH_SYNTAX: ReplyToClient =
    fixed(501, 5, 4, "syntax: AUTH PLAIN [initial response], or AUTH LOGIN [user name], in base64");

pub(super) const UNKNOWN_MECHANISM: ReplyToClient =
    fixed(504, 5, 4, "this mechanism is not offered here: use PLAIN or LOGIN");

pub(super) const AUTH_NEEDS_TLS: ReplyToClient =
    fixed(538, 7, 11, "AUTH is offered within TLS alone: no password has been looked at");

pub(super) const AUTHENTICATED_ALREADY: ReplyToClient =
    fixed(503, 5, 1, "this session is authenticated already");

pub(super) const AUTH_CONTINUE: ReplyToClient = plain(334, Cow::Borrowed(""));

/// `Username:` in base64, as every client of LOGIN expects it.
pub(super) const AUTH_USERNAME: ReplyToClient = plain(334, Cow::Borrowed("VXNlcm5hbWU6"));

/// `Password:`.
pub(super) const AUTH_PASSWORD: ReplyToClient = plain(334, Cow::Borrowed("UGFzc3dvcmQ6"));

pub(super) const AUTH_CANCELLED: ReplyToClient = fixed(501, 7, 0, "authentication given up");

pub(super) const AUTH_NOT_BASE64: ReplyToClient = fixed(501, 5, 2, "the response is not in base64");

pub(super) const AUTH_OK: ReplyToClient = fixed(235, 7, 0, "authenticated");

pub(super) const AUTH_FAILED: ReplyToClient = fixed(535, 7, 8, "wrong user name or password");

pub(super) const TOO_MANY_FAILED_LOGINS: ReplyToClient =
    fixed(421, 7, 0, "too many wrong passwords: correct it in the client, and wait for ten minutes");

pub(super) const PASSWORD_NOT_CHECKED: ReplyToClient =
    fixed(454, 7, 0, "too many passwords are being checked: try again later");

pub(super) const AUTH_REQUIRED: ReplyToClient =
    fixed(530, 7, 0, "authentication is required: give the client a user name and a password");

/// The user's `senders` do not have the reverse-path.
pub(super) fn sender_not_of_user(user: &str) -> ReplyToClient {
    written(
        553,
        7,
        1,
        format!("user {user} may not send with this address: add it to `senders` of [user.{user}]"),
    )
}

pub(super) const WRONG_ARGUMENT: ReplyToClient = fixed(501, 5, 4, "the command's argument is not understood");

// Commands at the wrong time: all of them 503.

pub(super) const HELLO_FIRST: ReplyToClient = fixed(503, 5, 1, "say EHLO or HELO first");

pub(super) const MAIL_FIRST: ReplyToClient = fixed(503, 5, 1, "say MAIL first");

pub(super) const MAIL_AND_RCPT_FIRST: ReplyToClient = fixed(503, 5, 1, "say MAIL and RCPT first");

pub(super) const NO_RECIPIENT: ReplyToClient = fixed(503, 5, 1, "no recipient was accepted: say RCPT first");

pub(super) const TRANSACTION_OPEN: ReplyToClient =
    fixed(503, 5, 1, "a transaction is open already: finish it, or say RSET");

pub(super) const RCPT_AFTER_BDAT: ReplyToClient = fixed(503, 5, 1, "recipients come before BDAT");

pub(super) const DATA_AFTER_BDAT: ReplyToClient =
    fixed(503, 5, 1, "this message was begun with BDAT: end it with BDAT LAST, or say RSET");

pub(super) const NO_TRANSACTION: ReplyToClient = fixed(503, 5, 1, "there is no transaction");

// EHLO, HELO, RSET, NOOP, HELP, VRFY.

/// What EHLO offers beside what is always offered.
#[derive(Clone, Copy, Default)]
pub(super) struct Offers {
    pub(super) starttls: bool,
    pub(super) auth: bool,
    pub(super) dsn: bool,
}

pub(super) fn ehlo(
    hostname: &str,
    message_size: u64,
    Offers { starttls, auth, dsn }: Offers,
) -> ReplyToClient {
    let dsn = if dsn { "\nDSN" } else { "" };
    let mut text = format!(
        "{hostname}\nSIZE {message_size}\n8BITMIME\nPIPELINING\nCHUNKING\nSMTPUTF8{dsn}\nENHANCEDSTATUSCODES\nHELP"
    );
    if starttls {
        text += "\nSTARTTLS";
    }
    if auth {
        text += "\nAUTH PLAIN LOGIN";
    }
    plain(250, Cow::Owned(text))
}

pub(super) fn helo(hostname: &str) -> ReplyToClient {
    plain(250, Cow::Owned(hostname.to_owned()))
}

/// EHLO or HELO without a usable name; `syntax` is what it should have been.
pub(super) fn no_client_name(syntax: &'static str) -> ReplyToClient {
    written(501, 5, 4, format!("say who you are, in at most 255 octets: {syntax}"))
}

pub(super) const CONTROL_CHARACTER_IN_NAME: ReplyToClient =
    fixed(501, 5, 4, "control characters are not allowed in a name");

pub(super) const RESET: ReplyToClient = fixed(250, 0, 0, "reset");

pub(super) const OK: ReplyToClient = fixed(250, 0, 0, "OK");

pub(super) const HELP: ReplyToClient = fixed(
    214,
    0,
    0,
    "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\n\
     Postroom stores mail and relays it; its owner sets it up in postroom.toml",
);

pub(super) const CANNOT_VERIFY: ReplyToClient = fixed(252, 0, 0, "cannot verify; send mail and see");

// MAIL and RCPT.

pub(super) const SENDER_OK: ReplyToClient = fixed(250, 1, 0, "sender OK");

pub(super) const RECIPIENT_OK: ReplyToClient = fixed(250, 1, 5, "recipient OK");

pub(super) const MAIL_SYNTAX: ReplyToClient = fixed(501, 5, 4, "syntax: MAIL FROM:<address> [parameters]");

pub(super) const RCPT_SYNTAX: ReplyToClient = fixed(501, 5, 4, "syntax: RCPT TO:<address>");

pub(super) const UNKNOWN_PARAMETER: ReplyToClient =
    fixed(555, 5, 4, "this parameter is not offered here: EHLO lists the extensions that are");

pub(super) const WRONG_PARAMETER: ReplyToClient =
    fixed(501, 5, 4, "wrong parameter: SIZE=<octets>, BODY=7BIT, BODY=8BITMIME and SMTPUTF8 are understood");

pub(super) const WRONG_RET: ReplyToClient = fixed(501, 5, 4, "wrong RET: say RET=FULL or RET=HDRS, once");

pub(super) const WRONG_ENVID: ReplyToClient =
    fixed(501, 5, 4, "wrong ENVID: say it once, with 1 to 100 characters of xtext (RFC 3461 section 4)");

pub(super) const WRONG_NOTIFY: ReplyToClient = fixed(
    501,
    5,
    4,
    "wrong NOTIFY: say NOTIFY=NEVER, or some of SUCCESS, FAILURE and DELAY with commas between, once",
);

pub(super) const WRONG_ORCPT: ReplyToClient = fixed(
    501,
    5,
    4,
    "wrong ORCPT: say it once, as rfc822;<address in xtext>, in 500 characters at most (RFC 3461 section 4.2)",
);

pub(super) const BINARYMIME_NOT_OFFERED: ReplyToClient =
    fixed(501, 5, 4, "BINARYMIME is not offered here: send BODY=8BITMIME");

/// The reverse-path of MAIL is wrong.
pub(super) fn wrong_sender(error: &AddressError) -> ReplyToClient {
    wrong_address(7, error)
}

/// The forward-path of RCPT is wrong.
pub(super) fn wrong_recipient(error: &AddressError) -> ReplyToClient {
    wrong_address(3, error)
}

fn wrong_address(detail: u16, error: &AddressError) -> ReplyToClient {
    match error {
        // Without a valid encoding there is nothing that SMTPUTF8 could help with, but it is what is missing first.
        AddressError::NotUtf8 => written(553, 6, 7, format!("{error}: encode it in UTF-8 and send SMTPUTF8")),
        error => written(501, 1, detail, error.to_string()),
    }
}

pub(super) const NULL_RECIPIENT: ReplyToClient =
    fixed(501, 1, 3, "mail cannot be sent to <>: name a recipient");

/// An address that is not ASCII in a transaction without SMTPUTF8 (RFC 6531 section 3.5).
pub(super) const NEEDS_SMTPUTF8: ReplyToClient =
    fixed(553, 6, 7, "an address with letters beyond ASCII needs the SMTPUTF8 parameter of MAIL");

pub(super) fn may_not_relay(client: IpAddr, listener: &str) -> ReplyToClient {
    let text = format!(
        "relaying for {client} is not allowed: add its network to `allow` of [listener.{listener}] \
         in Postroom's configuration"
    );
    written(554, 7, 1, text)
}

pub(super) const TOO_MANY_RECIPIENTS: ReplyToClient =
    fixed(452, 5, 3, "too many recipients: send to the others in another transaction");

// DATA and BDAT, and the content behind them.

pub(super) const DATA_AND_RSET_SYNTAX: ReplyToClient = fixed(501, 5, 4, "DATA and RSET take no argument");

pub(super) const BDAT_SYNTAX: ReplyToClient =
    fixed(501, 5, 4, "syntax: BDAT <octets> [LAST]; the octets cannot be skipped");

pub(super) const START_CONTENT: ReplyToClient = plain(354, Cow::Borrowed("end with <CRLF>.<CRLF>"));

/// A chunk that does not end the message.
pub(super) fn chunk_received(octets: u64) -> ReplyToClient {
    written(250, 0, 0, format!("{octets} octets received"))
}

/// The message is larger than `message_size` (RFC 1870 section 6).
pub(super) fn message_too_large(message_size: u64) -> ReplyToClient {
    let text =
        format!("the message is larger than the {message_size} octets of `message_size` under [limits]");
    written(552, 3, 4, text)
}

pub(super) const NUL_IN_CONTENT: ReplyToClient =
    fixed(550, 6, 0, "the content holds a NUL: encode binary parts, for example in base64");

pub(super) const BARE_NEWLINE_IN_CONTENT: ReplyToClient =
    fixed(550, 5, 2, "the content holds a bare CR or LF: end every line with CRLF");

/// In pass-through it is read whole before any of it is passed on.
pub(super) const HEADER_TOO_LONG: ReplyToClient =
    fixed(552, 3, 4, "the header is longer than the 128 KiB that are passed on");

pub(super) const MAIL_LOOP: ReplyToClient = fixed(
    554,
    4,
    6,
    "the message goes round in a loop: see that no upstream sends mail back here, or raise \
     `received_hops` under [limits]",
);

// What became of a message: stored, or no space for it on the disk or in memory.

/// The message and its recipients are on disk (rule 1).
pub(super) fn queued(id: QueueId) -> ReplyToClient {
    written(250, 0, 0, format!("queued as {id}"))
}

pub(super) const CONTENT_MEMORY_USED_UP: ReplyToClient =
    fixed(452, 3, 1, "`content_memory` is used up: try again later, or raise it under [limits]");

pub(super) const TOO_MANY_MESSAGES: ReplyToClient = fixed(
    452,
    3,
    1,
    "the queue holds `max_messages`: try again when some have left, or raise it under [queue]",
);

pub(super) const MIN_FREE_SPACE_REACHED: ReplyToClient = fixed(
    452,
    3,
    1,
    "the disk is full but for `min_free_space`: try again when mail has left, or make room on the disk of \
     Postroom's queue",
);

pub(super) const DISK_FULL: ReplyToClient =
    fixed(452, 3, 1, "the disk is full: try again later, and make room on the disk of Postroom's queue");

/// To a client whose message cannot be taken.
pub(super) fn not_accepted(why: NotAccepted) -> ReplyToClient {
    match why {
        NotAccepted::TooLarge(limit) => message_too_large(limit),
        NotAccepted::Nul => NUL_IN_CONTENT,
        NotAccepted::BareNewline => BARE_NEWLINE_IN_CONTENT,
        NotAccepted::Loop => MAIL_LOOP,
        NotAccepted::TooManyMessages => TOO_MANY_MESSAGES,
        NotAccepted::MinFreeSpace => MIN_FREE_SPACE_REACHED,
        NotAccepted::DiskFull => DISK_FULL,
        NotAccepted::QueueNotWritable => QUEUE_NOT_WRITABLE,
    }
}

pub(super) const QUEUE_NOT_WRITABLE: ReplyToClient =
    fixed(451, 3, 0, "the queue cannot be written: try again later, and see Postroom's log");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_carries_code_and_enhanced_code() {
        let mut output = Vec::new();
        fixed(214, 0, 0, "one\ntwo").write_to(&mut output);
        plain(250, Cow::Borrowed("mx.test\nSIZE 1")).write_to(&mut output);
        assert_eq!(output, b"214-2.0.0 one\r\n214 2.0.0 two\r\n250-mx.test\r\n250 SIZE 1\r\n");
    }
}
