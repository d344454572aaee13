//! One command line as a value (RFC 5321 section 4.1).
//!
//! `smtp-proto` decides about verbs and the values of parameters; paths are taken from the raw bytes by
//! [`crate::mail::address`], which keeps them byte for byte. What is wrong with a line comes back as the reply to it.

use super::parameters::{MAX_DIGITS, MailParameters, rcpt_parameters, with_line_feed};
use super::reply::{self, ReplyToClient};
use crate::config::Secret;
use crate::mail::address::{AddressError, parse_path_with};
use crate::mail::printable::is_printable;
use crate::mail::{Address, RecipientDsn, ReversePath, dsn};
use crate::reception::completion::AddressCompletion;
use smtp_proto::{Error, Request};

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// EHLO with the client's name.
    Ehlo(String),
    /// HELO with the client's name.
    Helo(String),
    /// MAIL.
    Mail(MailCommand),
    /// RCPT.
    Rcpt(RcptCommand),
    /// DATA.
    Data,
    /// BDAT (RFC 3030): so many bytes follow the line.
    Bdat {
        /// How many.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// STARTTLS.
    StartTls,
    /// AUTH (RFC 4954) and what stands behind it, which may hold a password.
    Auth(Secret),
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
pub struct MailCommand {
    /// The path.
    pub reverse_path: ReversePath,
    /// What stands behind it.
    pub parameters: MailParameters,
}

/// RCPT and its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RcptCommand {
    /// The path.
    pub address: Address,
    /// NOTIFY and ORCPT.
    pub dsn: RecipientDsn,
    /// Where an alias has stood for the address: what the client has called it, as ORCPT would have it.
    pub before_alias: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// It is refused, and the session goes on.
    Refused(ReplyToClient),
    /// Nobody can tell whether commands or content follow it, or the client speaks another protocol: it is refused and the
    /// session ends.
    Fatal(ReplyToClient),
}

impl From<ReplyToClient> for CommandError {
    fn from(reply: ReplyToClient) -> CommandError {
        CommandError::Refused(reply)
    }
}

/// Reads a whole command line, its line end included.
///
/// # Errors
/// The reply to a line that cannot be executed, and whether the session may go on.
pub fn parse<'a>(line: &[u8], completion: impl Into<AddressCompletion<'a>>) -> Result<Command, CommandError> {
    let completion: AddressCompletion<'a> = completion.into();
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if is_http(text) {
        return Err(CommandError::Fatal(reply::HTTP));
    }
    if announces_chunk(text) {
        return chunk(text.trim_ascii_start());
    }
    if text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(reply::CONTROL_CHARACTER_IN_COMMAND.into());
    }
    let text = text.trim_ascii_start();
    let (verb, rest) = text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()));
    if verb.eq_ignore_ascii_case(b"MAIL") {
        // Aliases are for recipients alone.
        let completion = AddressCompletion { aliases: None, ..completion };
        return mail(rest, completion).map(Command::Mail).map_err(CommandError::from);
    }
    if verb.eq_ignore_ascii_case(b"RCPT") {
        return recipient(rest, completion).map(Command::Rcpt).map_err(CommandError::from);
    }
    if verb.eq_ignore_ascii_case(b"AUTH") {
        return Ok(Command::Auth(String::from_utf8_lossy(rest).into_owned().into()));
    }
    if verb.eq_ignore_ascii_case(b"STARTTLS") {
        let is_alone = rest.trim_ascii().is_empty();
        return if is_alone { Ok(Command::StartTls) } else { Err(reply::STARTTLS_SYNTAX.into()) };
    }
    if (verb.eq_ignore_ascii_case(b"DATA") || verb.eq_ignore_ascii_case(b"RSET"))
        && !rest.trim_ascii().is_empty()
    {
        return Err(reply::DATA_AND_RSET_SYNTAX.into());
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
        Ok(_) => Err(reply::COMMAND_NOT_OFFERED.into()),
        Err(Error::UnknownCommand) => Err(reply::UNKNOWN_COMMAND.into()),
        Err(Error::SyntaxError { syntax: syntax @ ("EHLO domain" | "HELO domain") }) => {
            Err(reply::no_client_name(syntax).into())
        }
        Err(Error::SyntaxError { .. }) => Err(reply::COMMAND_NOT_OFFERED.into()),
        Err(_) => Err(reply::WRONG_ARGUMENT.into()),
    }
}

/// Whether the verb is BDAT, whatever is wrong with the rest: a chunk follows, whose bytes must not be read as commands.
pub(super) fn announces_chunk(line: &[u8]) -> bool {
    let verb = line.trim_ascii_start().split_at_checked(4);
    verb.is_some_and(|(verb, rest)| {
        verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_graphic)
    })
}

/// Whether the verb is DATA, whatever is wrong with the rest: content may follow, which must not be read as commands.
pub(super) fn announces_content(line: &[u8]) -> bool {
    has_verb(line, b"DATA")
}

/// Whether the verb is MAIL or RCPT, whatever is wrong with the rest: to refuse it is to refuse mail.
pub(super) fn announces_mail(line: &[u8]) -> bool {
    has_verb(line, b"MAIL") || has_verb(line, b"RCPT")
}

fn has_verb(line: &[u8], verb: &[u8; 4]) -> bool {
    let split = line.trim_ascii_start().split_at_checked(4);
    split.is_some_and(|(first, rest)| {
        first.eq_ignore_ascii_case(verb) && !rest.first().is_some_and(u8::is_ascii_graphic)
    })
}

/// A line that a web browser or a port scanner sends. What follows it is no SMTP either, so the session ends.
fn is_http(text: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] =
        [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH"];
    METHODS.iter().any(|method| text.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" ")))
        || text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"Host:"))
}

/// The client's name is written into logs and into `Received`, so control characters in it are refused.
fn client_name(name: &str) -> Result<String, CommandError> {
    if !name.chars().all(is_printable) {
        return Err(reply::CONTROL_CHARACTER_IN_NAME.into());
    }
    Ok(name.to_owned())
}

/// The path behind `keyword` and a colon, and what follows it; `syntax` is the reply where there is none.
fn path<'a>(
    rest: &'a [u8],
    keyword: &[u8],
    completion: AddressCompletion<'_>,
    syntax: ReplyToClient,
    wrong: fn(&AddressError) -> ReplyToClient,
) -> Result<(ReversePath, &'a [u8]), ReplyToClient> {
    let Some((word, rest)) = rest.trim_ascii_start().split_at_checked(keyword.len()) else {
        return Err(syntax);
    };
    match rest.trim_ascii_start().strip_prefix(b":") {
        Some(rest) if word.eq_ignore_ascii_case(keyword) => {
            parse_path_with(rest, |local| completion.complete(local)).map_err(|error| wrong(&error))
        }
        _ => Err(syntax),
    }
}

fn mail(rest: &[u8], completion: AddressCompletion<'_>) -> Result<MailCommand, ReplyToClient> {
    let (reverse_path, parameters) =
        path(rest, b"FROM", completion, reply::MAIL_SYNTAX, reply::wrong_sender)?;
    let parameters = MailParameters::parse(parameters)?;
    match reverse_path.address() {
        Some(address) if !address.is_ascii() && !parameters.smtp_utf8 => Err(reply::NEEDS_SMTPUTF8),
        _ => Ok(MailCommand { reverse_path, parameters }),
    }
}

fn recipient(rest: &[u8], completion: AddressCompletion<'_>) -> Result<RcptCommand, ReplyToClient> {
    let (forward_path, parameters) =
        path(rest, b"TO", completion, reply::RCPT_SYNTAX, reply::wrong_recipient)?;
    let dsn = rcpt_parameters(parameters)?;
    match forward_path {
        ReversePath::Address(address) => {
            let before_alias = name_before_alias(rest, completion, &address);
            Ok(RcptCommand { address, dsn, before_alias })
        }
        ReversePath::Null => Err(reply::NULL_RECIPIENT),
    }
}

/// Where an alias has stood for it: what the client has called it, so that its notices name whom it knows (RFC 3461 section 5.2.7).
fn name_before_alias(rest: &[u8], completion: AddressCompletion<'_>, address: &Address) -> Option<String> {
    completion.aliases?;
    let plain = AddressCompletion { aliases: None, ..completion };
    let named = path(rest, b"TO", plain, reply::RCPT_SYNTAX, reply::wrong_recipient).ok()?.0;
    let named = named.address().filter(|named| *named != address)?;
    dsn::original_recipient(&match named.is_ascii() {
        true => format!("rfc822;{}", dsn::xtext(named.as_str())),
        false => format!("utf-8;{named}"),
    })
}

/// BDAT. Where its size is not clear, nobody knows where the chunk ends and commands go on, so the session ends.
fn chunk(text: &[u8]) -> Result<Command, CommandError> {
    let clear = text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ')
        && text.split(|byte| *byte == b' ').all(|word| word.len() <= MAX_DIGITS)
        && text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count() <= 3;
    match Request::parse(&mut with_line_feed(text).iter()) {
        Ok(Request::Bdat { chunk_size, is_last }) if clear => {
            Ok(Command::Bdat { size: chunk_size as u64, last: is_last })
        }
        _ => Err(CommandError::Fatal(reply::BDAT_SYNTAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::BodyType;

    fn code(line: &str) -> u16 {
        match parse(line.as_bytes(), "mx.test") {
            Ok(_) => 250,
            Err(CommandError::Refused(reply) | CommandError::Fatal(reply)) => reply.code,
        }
    }

    #[test]
    fn mail_takes_the_parameters_that_are_offered() {
        let Ok(Command::Mail(mail)) =
            parse(b"mail from: <\xc3\xbc@x> SIZE=12 body=8bitmime SMTPUTF8 AUTH=<> \r\n", "h")
        else {
            panic!("refused");
        };
        let MailParameters { size, body, smtp_utf8, .. } = mail.parameters;
        assert_eq!((size, body, smtp_utf8), (12, BodyType::EightBitMime, true));
        assert_eq!(mail.reverse_path.as_str(), "ü@x");
    }

    #[test]
    fn parameters_that_are_not_offered_are_555_and_wrong_values_501() {
        for parameter in [
            "FOO=BAR",
            "NOTIFY=NEVER",
            "ORCPT=rfc822;a@x",
            "MT-PRIORITY=0",
            "REQUIRETLS",
            "HOLDFOR=x",
            "<>",
            "=",
        ] {
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
        assert_eq!(code("RCPT TO:<a@x> RET=FULL\r\n"), 555);
        assert_eq!(code("MAIL FROM:<ü@x>\r\n"), 553);
    }

    #[test]
    fn what_is_asked_of_notifications_is_read_strictly_and_once() {
        let line = b"MAIL FROM:<a@x> SIZE=12 ret=hdrs SMTPUTF8 EnvId=QQ+2B1 BODY=8BITMIME\r\n";
        let Ok(Command::Mail(mail)) = parse(line, "h") else { panic!("refused") };
        let MailParameters { size, smtp_utf8, body, dsn } = mail.parameters;
        assert_eq!((size, smtp_utf8, body), (12, true, BodyType::EightBitMime));
        assert_eq!(dsn.parameters(), " RET=HDRS ENVID=QQ+2B1");
        let line = "RCPT TO:<a@x> orcpt=utf-8;j\u{f6}rg@x notify=delay,Failure\r\n";
        let Ok(Command::Rcpt(rcpt)) = parse(line.as_bytes(), "h") else { panic!("refused") };
        assert_eq!(rcpt.dsn.parameters(), " NOTIFY=FAILURE,DELAY ORCPT=utf-8;j\\x{F6}rg@x");
        for wrong in [
            "RET",
            "RET=",
            "RET=ALL",
            "RET=FULL RET=FULL",
            "ENVID",
            "ENVID=",
            "ENVID=a=b",
            "ENVID=+0D",
            "ENVID=a ENVID=a",
        ] {
            assert_eq!(code(&format!("MAIL FROM:<a@x> {wrong}\r\n")), 501, "{wrong}");
        }
        for wrong in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=ALWAYS",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=DELAY NOTIFY=DELAY",
            "ORCPT=a@x",
            "ORCPT=rfc822;+0A",
            "ORCPT=rfc822;a@x ORCPT=rfc822;a@x",
        ] {
            assert_eq!(code(&format!("RCPT TO:<a@x> {wrong}\r\n")), 501, "{wrong}");
        }
    }

    #[test]
    fn a_size_too_long_for_a_number_is_huge() {
        let line = b"MAIL FROM:<a@x> SIZE=184467440737095516159\r\n";
        let Ok(Command::Mail(mail)) = parse(line, "h") else { panic!("refused") };
        assert_eq!(mail.parameters.size, u64::MAX);
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
            assert!(matches!(parse(line.as_bytes(), "h"), Err(CommandError::Fatal(_))), "{line}");
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
            ("AUTH LOGIN\r\n", 250),
            ("AUTH\r\n", 250),
            ("STARTTLS\r\n", 250),
            ("starttls x\r\n", 501),
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
