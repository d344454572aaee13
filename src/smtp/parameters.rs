//! The parameters of MAIL (RFC 5321 section 4.1.1.11): `smtp-proto` reads the values of those that are offered, all others
//! are refused.

use super::reply::{self, ReplyToClient};
use crate::mail::BodyType;
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
}

impl MailParameters {
    /// Reads what follows the path.
    pub(super) fn parse(text: &[u8]) -> Result<MailParameters, ReplyToClient> {
        let mut parameters = MailParameters { size: 0, body: BodyType::SevenBit, smtp_utf8: false };
        let (mut any, mut huge) = (false, false);
        for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            any = true;
            let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
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
        } else if any {
            parameters.read_values(text)?;
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

/// `smtp-proto` reads up to a line feed.
pub(super) fn with_line_feed(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len() + 1);
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}
