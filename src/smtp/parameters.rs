//! The parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11). Those of DSN (RFC 3461) are read by [`crate::mail::dsn`],
//! the values of the others by `smtp-proto`; what is not offered is refused.

use super::reply::{self, ReplyToClient};
use crate::mail::{BodyType, DsnRequest, RecipientDsn, dsn};
use smtp_proto::request::parser::Rfc5321Parser;
use smtp_proto::{MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_SMTPUTF8};

/// More digits than this and `smtp-proto` 0.2.5 starts counting from zero again.
pub(super) const MAX_DIGITS: usize = 19;

/// AUTH of MAIL (RFC 4954 section 5) is read and not used.
const OFFERED: [&[u8]; 4] = [b"SIZE", b"BODY", b"SMTPUTF8", b"AUTH"];

/// What MAIL says beside the reverse-path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailParameters {
    /// SIZE (RFC 1870); 0 where nothing was said.
    pub size: u64,
    /// BODY (RFC 6152).
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// RET and ENVID.
    pub dsn: DsnRequest,
}

impl MailParameters {
    /// Reads what follows the path.
    pub(super) fn parse(text: &[u8]) -> Result<MailParameters, ReplyToClient> {
        let dsn = DsnRequest::default();
        let mut parameters = MailParameters { size: 0, body: BodyType::SevenBit, smtp_utf8: false, dsn };
        let (mut others, mut huge) = (Vec::new(), false);
        for word in words(text) {
            let (name, value) = split(word);
            let DsnRequest { returns, envelope_id } = &mut parameters.dsn;
            if name.eq_ignore_ascii_case(b"RET") {
                set_once(returns, value, dsn::returns, reply::WRONG_RET)?;
                continue;
            }
            if name.eq_ignore_ascii_case(b"ENVID") {
                set_once(envelope_id, value, dsn::envelope_id, reply::WRONG_ENVID)?;
                continue;
            }
            others.extend_from_slice(b" ");
            others.extend_from_slice(word);
            if !OFFERED.iter().any(|offered| name.eq_ignore_ascii_case(offered)) {
                return Err(reply::UNKNOWN_PARAMETER);
            }
            let digits = word.get(5..).unwrap_or_default();
            huge |= name.eq_ignore_ascii_case(b"SIZE")
                && digits.len() > MAX_DIGITS
                && digits.iter().all(u8::is_ascii_digit);
        }
        if huge {
            parameters.size = u64::MAX;
        } else if !others.is_empty() {
            parameters.read_values(&others)?;
        }
        Ok(parameters)
    }

    fn read_values(&mut self, text: &[u8]) -> Result<(), ReplyToClient> {
        let line = with_line_feed(text);
        let read = match Rfc5321Parser::new(&mut line.iter()).mail_from_parameters("".into()) {
            Ok(read) if read.flags & MAIL_BODY_BINARYMIME == 0 => read,
            Ok(_) => return Err(reply::BINARYMIME_NOT_OFFERED),
            Err(_) => return Err(reply::WRONG_PARAMETER),
        };
        self.size = read.size as u64;
        self.smtp_utf8 = read.flags & MAIL_SMTPUTF8 != 0;
        if read.flags & MAIL_BODY_8BITMIME != 0 {
            self.body = BodyType::EightBitMime;
        }
        Ok(())
    }
}

/// Reads what follows the path of RCPT.
pub(super) fn rcpt_parameters(text: &[u8]) -> Result<RecipientDsn, ReplyToClient> {
    let (mut notify, mut original_recipient) = (None, None);
    for word in words(text) {
        let (name, value) = split(word);
        if name.eq_ignore_ascii_case(b"NOTIFY") {
            set_once(&mut notify, value, dsn::notify, reply::WRONG_NOTIFY)?;
        } else if name.eq_ignore_ascii_case(b"ORCPT") {
            set_once(&mut original_recipient, value, dsn::original_recipient, reply::WRONG_ORCPT)?;
        } else {
            return Err(reply::UNKNOWN_PARAMETER);
        }
    }
    // In ASCII, as every server is told it, it may be longer than the client wrote it.
    let fits = |original: &String| original.len() <= dsn::MAX_ORIGINAL_RECIPIENT;
    Ok(RecipientDsn {
        notify: notify.unwrap_or_default(),
        original_recipient: original_recipient.filter(fits),
    })
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Name and value; without a `=` there is none.
fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    }
}

/// A parameter of DSN may be given once (RFC 3461 sections 4.1 to 4.4).
fn set_once<T>(
    place: &mut Option<T>,
    value: Option<&[u8]>,
    read: impl FnOnce(&str) -> Option<T>,
    wrong: ReplyToClient,
) -> Result<(), ReplyToClient> {
    let value = value.and_then(|value| str::from_utf8(value).ok()).and_then(read);
    match (&place, value) {
        (None, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(wrong),
    }
}

/// `smtp-proto` reads up to a line feed.
pub(super) fn with_line_feed(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len() + 1);
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}
