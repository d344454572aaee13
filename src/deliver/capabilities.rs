//! EHLO, and what it says of a server (RFC 5321 section 4.1.1.1).
//!
//! Read line by line and leniently: one malformed parameter must not cost the other extensions, so a line that cannot
//! be understood counts as not there. (smtp-proto's `EhloResponse` gives up the whole reply at one.)

use super::envelope::{OutboundEnvelope, OutboundRecipient};
use super::transaction_result::Missing;
use super::wire::{Wire, WireError};
use crate::mail::{Address, BodyType, Reply};
use lettre::transport::smtp::commands::Ehlo;
use lettre::transport::smtp::extension::ClientId;
use std::fmt;
use std::time::Duration;

/// Mechanisms kept of one reply: more than any server has.
const MECHANISMS_KEPT: usize = 20;

/// What a server offers. A server that knows only HELO offers nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The largest message it takes, in bytes; none where it names no limit.
    pub size_limit: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// All mechanisms of AUTH, in capitals, as far as they are well-formed (RFC 4422 section 3.1).
    pub auth_offered: Vec<String>,
}

impl Capabilities {
    /// Reads the reply to EHLO; its first line is a greeting.
    fn of(reply: &Reply) -> Capabilities {
        let mut found = Capabilities::default();
        for line in reply.lines.iter().skip(1) {
            // `AUTH=LOGIN` is how some servers said it before there was a standard.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "SIZE" => {
                    found.size = true;
                    found.size_limit =
                        words.next().and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
                }
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.starttls = true,
                "AUTH" => words.for_each(|mechanism| found.note_mechanism(mechanism)),
                _ => {}
            }
        }
        found
    }

    /// Whether it offers that mechanism of AUTH.
    pub(super) fn offers(&self, mechanism: &str) -> bool {
        self.auth_offered.iter().any(|offered| offered == mechanism)
    }

    fn note_mechanism(&mut self, mechanism: &str) {
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mechanism = mechanism.to_ascii_uppercase();
        // `AUTH=` repeats what `AUTH` has said.
        if self.auth_offered.len() < MECHANISMS_KEPT
            && (1..=20).contains(&mechanism.len())
            && mechanism.bytes().all(is_right)
            && !self.auth_offered.contains(&mechanism)
        {
            self.auth_offered.push(mechanism);
        }
    }

    /// What that recipient of the message needs and is not here. What a client only declared is never missing
    /// (rule 3).
    pub(super) fn missing(&self, envelope: &OutboundEnvelope, recipient: &Address) -> Option<Missing> {
        let size = envelope.size;
        if let Some(limit) = self.size_limit.filter(|limit| size > *limit) {
            Some(Missing::Size { size, limit })
        } else if !self.smtp_utf8 && envelope.needs_smtp_utf8(recipient) {
            Some(Missing::SmtpUtf8)
        } else {
            None
        }
    }

    /// Whether the message can be offered to anybody of its envelope.
    pub(super) fn serves(&self, envelope: &OutboundEnvelope) -> bool {
        envelope.recipients.iter().any(|recipient| self.missing(envelope, &recipient.address).is_none())
    }

    /// The size to announce of a message that grows by an unknown size, `room` at most: what may fit is offered.
    pub(super) fn with_room(&self, size: u64, room: u64) -> u64 {
        match size {
            // Not known.
            0 => 0,
            size => size.saturating_add(room).min(self.size_limit.unwrap_or(u64::MAX)),
        }
    }

    /// Whether MAIL says SMTPUTF8: where it is offered, and declared by the client or needed by an address.
    pub(super) fn says_smtp_utf8(&self, envelope: &OutboundEnvelope) -> bool {
        let needed = |recipient: &OutboundRecipient| envelope.needs_smtp_utf8(&recipient.address);
        self.smtp_utf8 && (envelope.smtp_utf8 || envelope.recipients.iter().any(needed))
    }

    /// The parameters of MAIL, each with a blank before it.
    pub(super) fn mail_parameters(&self, envelope: &OutboundEnvelope) -> String {
        let mut parameters = String::new();
        // 0 where it is not known yet.
        if self.size && envelope.size > 0 {
            parameters.push_str(&format!(" SIZE={}", envelope.size));
        }
        if self.eight_bit_mime && envelope.body == BodyType::EightBitMime {
            parameters.push_str(" BODY=8BITMIME");
        }
        if self.says_smtp_utf8(envelope) {
            parameters.push_str(" SMTPUTF8");
        }
        if self.dsn {
            parameters.push_str(&envelope.dsn.parameters());
        }
        parameters
    }

    /// The parameters of RCPT, each with a blank before it.
    pub(super) fn rcpt_parameters(&self, recipient: &OutboundRecipient) -> String {
        if self.dsn { recipient.dsn.parameters() } else { String::new() }
    }
}

/// `SIZE 1000, PIPELINING, AUTH PLAIN LOGIN`.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size_limit.map_or_else(|| "SIZE".to_owned(), |limit| format!("SIZE {limit}"));
        let auth = format!("AUTH {}", self.auth_offered.join(" "));
        let known = [
            (self.size, size.as_str()),
            (self.pipelining, "PIPELINING"),
            (self.eight_bit_mime, "8BITMIME"),
            (self.smtp_utf8, "SMTPUTF8"),
            (self.dsn, "DSN"),
            (self.starttls, "STARTTLS"),
            (!self.auth_offered.is_empty(), auth.as_str()),
        ];
        let offered: Vec<&str> =
            known.iter().filter(|(offered, _)| *offered).map(|(_, keyword)| *keyword).collect();
        match offered.as_slice() {
            [] => f.write_str("no extensions"),
            offered => f.write_str(&offered.join(", ")),
        }
    }
}

/// EHLO, or HELO where the server does not know that. A refusal comes back as a reply.
pub(super) async fn ehlo(
    wire: &mut Wire,
    hostname: &str,
    within: Duration,
) -> Result<Result<Capabilities, Reply>, WireError> {
    let command = Ehlo::new(ClientId::Domain(hostname.to_owned())).to_string();
    let reply = wire.command(&command, within).await?;
    if reply.is_positive() {
        return Ok(Ok(Capabilities::of(&reply)));
    }
    if !reply.is_permanent() {
        return Ok(Err(reply));
    }
    let reply = wire.command(&format!("HELO {hostname}\r\n"), within).await?;
    Ok(if reply.is_positive() { Ok(Capabilities::default()) } else { Err(reply) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Capabilities {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Capabilities::of(&Reply { code: 250, enhanced: None, lines })
    }

    #[test]
    fn extensions_are_found_however_they_are_written() {
        let found = read(&[
            "mx.test SIZE 1",
            "size 1000",
            "PIPELINING ",
            "8bitmime",
            "X-WHAT ü",
            "AUTH=login",
            "",
            "SMTPUTF8",
        ]);
        assert_eq!(found.size_limit, Some(1_000));
        assert!(found.pipelining && found.eight_bit_mime && found.offers("LOGIN") && found.smtp_utf8);
        assert!(!found.offers("PLAIN") && !found.starttls);
        assert!(read(&["x", "AUTH PLAIN"]).offers("PLAIN"));
    }

    #[test]
    fn a_size_without_a_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999"] {
            let found = read(&["mx.test", line]);
            assert_eq!((found.size, found.size_limit), (true, None));
        }
    }
}
