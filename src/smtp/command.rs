//! One command line as a value (RFC 5321 section 4.1).
//!
//! `smtp-proto` decides about verbs and the values of parameters; paths are taken from the raw bytes by
//! [`crate::mail::address`], which keeps them byte for byte. What is wrong with a line comes back as the reply to it.

use super::completion::Completion;
use super::reply::Reply;
use crate::mail::address::{AddressError, parse_path_with};
use crate::mail::printable::is_printable;
use crate::mail::{Address, BodyType, ReversePath};
use smtp_proto::request::parser::Rfc5321Parser;
use smtp_proto::{Error, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_SMTPUTF8, MailFrom, Request};

/// More digits than this and `smtp-proto` 0.2.5 starts counting from zero again.
const MAX_DIGITS: usize = 19;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// EHLO with the client's name.
    Ehlo(String),
    /// HELO with the client's name.
    Helo(String),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(Address),
    /// DATA.
    Data,
    /// BDAT (RFC 3030): so many bytes follow the line.
    Bdat {
        /// How many.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// HELP.
    Help,
    /// VRFY.
    Vrfy,
    /// QUIT.
    Quit,
}

/// MAIL and its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    /// The path.
    pub reverse_path: ReversePath,
    /// SIZE (RFC 1870); 0 where nothing was said.
    pub size: u64,
    /// BODY (RFC 6152).
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// It is refused; the session goes on.
    Refused(Reply),
    /// What follows it cannot be told from commands, or the client speaks another protocol: refused and closed.
    Fatal(Reply),
}

impl From<Reply> for Wrong {
    fn from(reply: Reply) -> Wrong {
        Wrong::Refused(reply)
    }
}

/// Reads a whole command line, its line end included.
///
/// # Errors
/// The reply to a line that cannot be obeyed, and whether the session may go on.
pub fn parse<'a>(line: &[u8], completion: impl Into<Completion<'a>>) -> Result<Command, Wrong> {
    let completion: Completion<'a> = completion.into();
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if is_http(text) {
        return Err(Wrong::Fatal(Reply::new(
            554,
            5,
            1,
            "this is a mail server (SMTP), not a web server: check the port",
        )));
    }
    if announces_chunk(text) {
        return chunk(text.trim_ascii_start());
    }
    if text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Reply::new(
            501,
            5,
            2,
            "control characters are not allowed in a command: end lines with CRLF",
        )
        .into());
    }
    let text = text.trim_ascii_start();
    let (verb, rest) = text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()));
    if verb.eq_ignore_ascii_case(b"MAIL") {
        let (path, parameters) = argument(rest, b"FROM", Completion { aliases: None, ..completion })?;
        return mail(path, parameters).map(Command::Mail).map_err(Wrong::from);
    }
    if verb.eq_ignore_ascii_case(b"RCPT") {
        let (path, parameters) = argument(rest, b"TO", completion)?;
        return recipient(path, parameters).map(Command::Rcpt).map_err(Wrong::from);
    }
    if (verb.eq_ignore_ascii_case(b"DATA") || verb.eq_ignore_ascii_case(b"RSET"))
        && !rest.trim_ascii().is_empty()
    {
        return Err(Reply::new(501, 5, 4, "DATA and RSET take no argument").into());
    }
    match Request::parse(&mut with_line_feed(text).iter()) {
        Ok(Request::Ehlo { host }) => client_name(&host).map(Command::Ehlo),
        Ok(Request::Helo { host }) => client_name(&host).map(Command::Helo),
        Ok(Request::Data) => Ok(Command::Data),
        Ok(Request::Rset) => Ok(Command::Rset),
        Ok(Request::Noop { .. }) => Ok(Command::Noop),
        Ok(Request::Help { .. }) => Ok(Command::Help),
        Ok(Request::Vrfy { .. }) | Err(Error::SyntaxError { syntax: "VRFY string" }) => Ok(Command::Vrfy),
        Ok(Request::Quit) => Ok(Command::Quit),
        Ok(Request::StartTls) => Err(not_offered("STARTTLS is not offered here: connect without TLS")),
        Ok(Request::Auth { .. })
        | Err(Error::SyntaxError { syntax: "AUTH mechanism [initial-response]" }) => {
            Err(not_offered("AUTH is not offered here: switch authentication off in the client"))
        }
        Ok(_) => Err(not_offered("this command is not offered here: HELP lists those that are")),
        Err(Error::UnknownCommand) => {
            Err(Reply::new(500, 5, 1, "command not recognized: HELP lists those that are").into())
        }
        Err(Error::SyntaxError { syntax: syntax @ ("EHLO domain" | "HELO domain") }) => {
            Err(Reply::new(501, 5, 4, format!("say who you are, in at most 255 octets: {syntax}")).into())
        }
        Err(Error::SyntaxError { .. }) => {
            Err(not_offered("this command is not offered here: HELP lists those that are"))
        }
        Err(_) => Err(Reply::new(501, 5, 4, "the command's argument is not understood").into()),
    }
}

/// Whether the verb is BDAT, whatever is wrong with the rest: a chunk follows that nobody may take for commands.
pub fn announces_chunk(line: &[u8]) -> bool {
    let verb = line.trim_ascii_start().split_at_checked(4);
    verb.is_some_and(|(verb, rest)| {
        verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_graphic)
    })
}

/// Whether the verb is DATA, whatever is wrong with the rest: content may follow that nobody may take for commands.
pub fn announces_content(line: &[u8]) -> bool {
    has_verb(line, b"DATA")
}

/// Whether the verb is MAIL or RCPT, whatever is wrong with the rest: to refuse it is to refuse mail.
pub fn announces_mail(line: &[u8]) -> bool {
    has_verb(line, b"MAIL") || has_verb(line, b"RCPT")
}

fn has_verb(line: &[u8], verb: &[u8; 4]) -> bool {
    let split = line.trim_ascii_start().split_at_checked(4);
    split.is_some_and(|(first, rest)| {
        first.eq_ignore_ascii_case(verb) && !rest.first().is_some_and(u8::is_ascii_graphic)
    })
}

/// A line that a web browser or a port scanner sends: what follows it is not SMTP either.
fn is_http(text: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] =
        [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH"];
    METHODS.iter().any(|method| text.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" ")))
        || text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"Host:"))
}

/// It is shown and written into logs and into `Received`, and no name has a reason to hold what may not be shown there.
fn client_name(name: &str) -> Result<String, Wrong> {
    if !name.chars().all(is_printable) {
        return Err(Reply::new(501, 5, 4, "control characters are not allowed in a name").into());
    }
    Ok(name.to_owned())
}

fn not_offered(text: &'static str) -> Wrong {
    Reply::new(502, 5, 1, text).into()
}

/// `smtp-proto` reads up to a line feed.
fn with_line_feed(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len() + 1);
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}

/// The path behind `FROM:` or `TO:`, and what follows it.
fn argument<'a>(
    rest: &'a [u8],
    keyword: &[u8],
    completion: Completion<'_>,
) -> Result<(ReversePath, &'a [u8]), Reply> {
    let syntax = || {
        let mail = keyword == b"FROM";
        let text =
            if mail { "syntax: MAIL FROM:<address> [parameters]" } else { "syntax: RCPT TO:<address>" };
        Reply::new(501, 5, 4, text)
    };
    let rest = rest.trim_ascii_start();
    let (word, rest) = rest.split_at_checked(keyword.len()).ok_or_else(syntax)?;
    let rest = rest.trim_ascii_start().strip_prefix(b":").ok_or_else(syntax)?;
    if !word.eq_ignore_ascii_case(keyword) {
        return Err(syntax());
    }
    parse_path_with(rest, |local| completion.complete(local)).map_err(|error| {
        let detail = if keyword == b"FROM" { 7 } else { 3 };
        match error {
            // Without a valid encoding there is nothing that SMTPUTF8 could help with, but it is what is missing first.
            AddressError::NotUtf8 => {
                Reply::new(553, 6, 7, format!("{error}: encode it in UTF-8 and send SMTPUTF8"))
            }
            error => Reply::new(501, 1, detail, error.to_string()),
        }
    })
}

fn mail(reverse_path: ReversePath, parameters: &[u8]) -> Result<Mail, Reply> {
    let mut mail = Mail { reverse_path, size: 0, body: BodyType::SevenBit, smtp_utf8: false };
    if !parameters.trim_ascii().is_empty() {
        read_parameters(&mut mail, parameters)?;
    }
    match mail.reverse_path.address() {
        Some(address) if !address.is_ascii() && !mail.smtp_utf8 => Err(needs_smtp_utf8()),
        _ => Ok(mail),
    }
}

/// The reply to an address that is not ASCII in a transaction without SMTPUTF8 (RFC 6531 section 3.5).
pub fn needs_smtp_utf8() -> Reply {
    Reply::new(553, 6, 7, "an address with letters beyond ASCII needs the SMTPUTF8 parameter of MAIL")
}

fn read_parameters(mail: &mut Mail, parameters: &[u8]) -> Result<(), Reply> {
    const OFFERED: [&[u8]; 4] = [b"SIZE", b"BODY", b"SMTPUTF8", b"AUTH"];
    let mut huge = false;
    for word in parameters.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
        if !OFFERED.iter().any(|offered| name.eq_ignore_ascii_case(offered)) {
            return Err(unknown_parameter());
        }
        let digits = word.get(5..).unwrap_or_default();
        huge |= name.eq_ignore_ascii_case(b"SIZE")
            && digits.len() > MAX_DIGITS
            && digits.iter().all(u8::is_ascii_digit);
    }
    if huge {
        mail.size = u64::MAX;
        return Ok(());
    }
    let line = with_line_feed(parameters);
    let read: MailFrom<_> = match Rfc5321Parser::new(&mut line.iter()).mail_from_parameters("".into()) {
        Ok(read) if read.flags & MAIL_BODY_BINARYMIME == 0 => read,
        Ok(_) => return Err(Reply::new(501, 5, 4, "BINARYMIME is not offered here: send BODY=8BITMIME")),
        Err(_) => {
            return Err(Reply::new(
                501,
                5,
                4,
                "wrong parameter: SIZE=<octets>, BODY=7BIT, BODY=8BITMIME and SMTPUTF8 are understood",
            ));
        }
    };
    mail.size = read.size as u64;
    mail.smtp_utf8 = read.flags & MAIL_SMTPUTF8 != 0;
    if read.flags & MAIL_BODY_8BITMIME != 0 {
        mail.body = BodyType::EightBitMime;
    }
    Ok(())
}

fn unknown_parameter() -> Reply {
    Reply::new(555, 5, 4, "this parameter is not offered here: EHLO lists the extensions that are")
}

fn recipient(path: ReversePath, parameters: &[u8]) -> Result<Address, Reply> {
    if !parameters.trim_ascii().is_empty() {
        return Err(unknown_parameter());
    }
    match path {
        ReversePath::Address(address) => Ok(address),
        ReversePath::Null => Err(Reply::new(501, 1, 3, "mail cannot be sent to <>: name a recipient")),
    }
}

/// BDAT. Where its size is not clear, the chunk cannot be told from commands.
fn chunk(text: &[u8]) -> Result<Command, Wrong> {
    let clear = text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ')
        && text.split(|byte| *byte == b' ').all(|word| word.len() <= MAX_DIGITS)
        && text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count() <= 3;
    match Request::parse(&mut with_line_feed(text).iter()) {
        Ok(Request::Bdat { chunk_size, is_last }) if clear => {
            Ok(Command::Bdat { size: chunk_size as u64, last: is_last })
        }
        _ => Err(Wrong::Fatal(Reply::new(
            501,
            5,
            4,
            "syntax: BDAT <octets> [LAST]; the octets cannot be skipped",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> u16 {
        match parse(line.as_bytes(), "mx.test") {
            Ok(_) => 250,
            Err(Wrong::Refused(reply) | Wrong::Fatal(reply)) => reply.code,
        }
    }

    #[test]
    fn mail_takes_the_parameters_that_are_offered() {
        let Ok(Command::Mail(mail)) =
            parse(b"mail from: <\xc3\xbc@x> SIZE=12 body=8bitmime SMTPUTF8 AUTH=<> \r\n", "h")
        else {
            panic!("refused");
        };
        assert_eq!((mail.size, mail.body, mail.smtp_utf8), (12, BodyType::EightBitMime, true));
        assert_eq!(mail.reverse_path.as_str(), "ü@x");
    }

    #[test]
    fn parameters_that_are_not_offered_are_555_and_wrong_values_501() {
        for parameter in
            ["FOO=BAR", "RET=HDRS", "ENVID=x", "MT-PRIORITY=0", "REQUIRETLS", "HOLDFOR=x", "<>", "="]
        {
            assert_eq!(code(&format!("MAIL FROM:<a@x> {parameter}\r\n")), 555, "{parameter}");
        }
        for parameter in [
            "SMTPUTF8=1",
            "BODY=9BIT",
            "BODY=BINARYMIME",
            "BODY",
            "SIZE",
            "SIZE=",
            "SIZE=1x",
            "SIZE=-1",
            "AUTH=",
        ] {
            assert_eq!(code(&format!("MAIL FROM:<a@x> {parameter}\r\n")), 501, "{parameter}");
        }
        assert_eq!(code("RCPT TO:<a@x> NOTIFY=NEVER\r\n"), 555);
        assert_eq!(code("MAIL FROM:<ü@x>\r\n"), 553);
    }

    #[test]
    fn a_size_too_long_for_a_number_is_huge() {
        let line = b"MAIL FROM:<a@x> SIZE=184467440737095516159\r\n";
        assert!(matches!(parse(line, "h"), Ok(Command::Mail(Mail { size: u64::MAX, .. }))));
    }

    #[test]
    fn a_chunk_whose_size_is_not_clear_is_fatal() {
        assert_eq!(parse(b"bdat 10 last\r\n", "h"), Ok(Command::Bdat { size: 10, last: true }));
        assert_eq!(parse(b"BDAT 0\n", "h"), Ok(Command::Bdat { size: 0, last: false }));
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT 5 LASTX",
            "BDAT 5 !",
            "BDAT 5 LAST 6",
            " BDAT\t5",
            "BDAT 5\0",
            "BDAT\x0b5",
            "BDAT 5\r\r\n",
            "BDAT 184467440737095516159",
        ] {
            assert!(matches!(parse(line.as_bytes(), "h"), Err(Wrong::Fatal(_))), "{line}");
        }
    }

    #[test]
    fn verbs() {
        for (line, expected) in [
            ("NOOP\n", 250),
            ("noop x\r\n", 250),
            ("HELP\r\n", 250),
            ("VRFY\r\n", 250),
            ("EHLO c.test\r\n", 250),
            ("EHLO\r\n", 501),
            ("HELO  \r\n", 501),
            ("HELO \0\r\n", 501),
            ("EHLO a\u{9b}31m\r\n", 501),
            ("EHLO a\u{202e}b\r\n", 501),
            ("NO\rOP\r\n", 501),
            ("DATA x\r\n", 501),
            ("EXPN x\r\n", 502),
            ("ETRN\r\n", 502),
            ("AUTH LOGIN\r\n", 502),
            ("AUTH\r\n", 502),
            ("STARTTLS\r\n", 502),
            ("BOGUS\r\n", 500),
            ("\r\n", 500),
            ("GET / HTTP/1.1\r\n", 554),
            ("MAIL FROM\r\n", 501),
            ("MAIL TO:<a@x>\r\n", 501),
            ("MAIL FROM:<a@x", 501),
            ("RCPT TO:<>\r\n", 501),
            ("RCPT TO:<Postmaster>\r\n", 250),
        ] {
            assert_eq!(code(line), expected, "{line:?}");
        }
    }
}
