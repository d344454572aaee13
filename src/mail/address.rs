//! Mailbox addresses and paths, kept byte for byte as the client wrote them (RFC 5321 section 4.1.2).
//!
//! Promise: an [`Address`] can never become a parameter, a second command or another recipient, because nothing that
//! ends a path (`>`, space, a control character) stands outside quotes in it.
//!
//! More is accepted than the grammar allows, where real applications need it: dots anywhere in a local part, local
//! parts longer than 64 octets (VERP, BATV), underscores in a domain. Less is never made of it: quotes and
//! backslashes stay as they are.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest path, angle brackets included, in octets (RFC 5321 section 4.5.3.1.3).
pub const MAX_PATH: usize = 256;

/// A mailbox: `local-part@domain`, exactly as it was written, quotes and backslashes included.
///
/// It never holds a control character, so it can never become a second command. It may hold UTF-8 (RFC 6531).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(Arc<str>);

impl Address {
    /// Everything that is written between the angle brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the last `@`, quotes included.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(&*self.0, |(local, _)| local)
    }

    /// What stands behind the last `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// False where SMTPUTF8 is needed to send to it (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }
}

/// The text is no mailbox.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// It could become a second command or an unreadable log line.
    #[error("the address holds a control character")]
    Control,
    /// Neither ASCII nor UTF-8.
    #[error("the address is not valid UTF-8")]
    NotUtf8,
    /// See [`MAX_PATH`].
    #[error("the address is longer than 254 octets")]
    TooLong,
    /// No `@domain`, and nothing to complete it with.
    #[error("the address has no @domain")]
    Unqualified,
    /// A quote or an angle bracket is never closed.
    #[error("a quote or an angle bracket in the address is not closed")]
    Unclosed,
    /// A local part with something in it that must be quoted, or quoted in the wrong place.
    #[error("the part before the @ holds characters that must stand in quotes")]
    LocalPart,
    /// No domain name and no address literal.
    #[error("what stands behind the @ is neither a domain name nor an [address literal]")]
    Domain,
    /// `@a,@b:` is not followed by a mailbox, or something else follows the path directly.
    #[error("the path is not of the form <local-part@domain>")]
    Path,
}

impl FromStr for Address {
    type Err = AddressError;

    /// A whole mailbox without angle brackets, by the rules of [`parse_path`]; it must have a domain.
    fn from_str(text: &str) -> Result<Address, AddressError> {
        mailbox(text.as_bytes(), |_| Err(AddressError::Unqualified))
    }
}

impl Address {
    /// As [`FromStr`], or a name without a domain as it is: for a client of a server that completes it.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn with_or_without_domain(text: &str) -> Result<Address, AddressError> {
        mailbox(text.as_bytes(), |local| bounded(local.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

/// Where failures are reported to (RFC 5321 section 2.3.1). The null reverse-path is a variant of its own, so
/// that nobody takes it for an empty address.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: a message that never causes a bounce (RFC 5321 section 4.5.5).
    Null,
    Address(Address),
}

impl ReversePath {
    /// The mailbox, if it is not the null reverse-path.
    pub fn address(&self) -> Option<&Address> {
        match self {
            ReversePath::Null => None,
            ReversePath::Address(address) => Some(address),
        }
    }

    /// What stands between the angle brackets of `MAIL FROM:<…>`: nothing for the null reverse-path.
    pub fn as_str(&self) -> &str {
        self.address().map_or("", Address::as_str)
    }
}

impl fmt::Debug for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

/// Reads the path that stands at the start of `text`, the raw bytes behind `MAIL FROM:` or `RCPT TO:`, and returns
/// it with what follows it: nothing, or a space and parameters.
///
/// A source route is stripped, missing angle brackets are accepted, an unqualified address (`root`, `Postmaster`)
/// is completed with `@domain`.
///
/// # Errors
/// What is wrong with the path.
pub fn parse_path<'a>(text: &'a [u8], domain: &str) -> Result<(ReversePath, &'a [u8]), AddressError> {
    parse_path_with(text, |local| qualified(local, domain))
}

/// As [`parse_path`]; what an unqualified address means says `complete`, which gets its local part as it is written.
///
/// # Errors
/// What is wrong with the path.
pub fn parse_path_with(
    text: &[u8],
    complete: impl FnOnce(&str) -> Result<Address, AddressError>,
) -> Result<(ReversePath, &[u8]), AddressError> {
    let text = text.trim_ascii_start();
    let bracketed = text.first() == Some(&b'<');
    let inner = &text[usize::from(bracketed)..];
    let end = path_end(inner, bracketed)?;
    let (path, rest) = (&inner[..end], &inner[end + usize::from(bracketed)..]);
    if !rest.first().is_none_or(u8::is_ascii_whitespace) {
        return Err(AddressError::Path);
    }
    if path.is_empty() && bracketed {
        return Ok((ReversePath::Null, rest));
    }
    Ok((ReversePath::Address(mailbox(without_route(path)?, complete)?), rest))
}

/// `local@domain`. The local part must be one that [`parse_path_with`] has read.
///
/// # Errors
/// It is too long.
pub fn qualified(local: &str, domain: &str) -> Result<Address, AddressError> {
    bounded(format!("{local}@{domain}").into())
}

fn bounded(address: Arc<str>) -> Result<Address, AddressError> {
    if address.len() + 2 > MAX_PATH { Err(AddressError::TooLong) } else { Ok(Address(address)) }
}

/// Where the path ends: at the `>` or, without brackets, at the first white space; quotes hide both.
fn path_end(inner: &[u8], bracketed: bool) -> Result<usize, AddressError> {
    let mut quoted = false;
    let mut position = 0;
    while let Some(&byte) = inner.get(position) {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => position += 1,
            b'>' if !quoted && bracketed => return Ok(position),
            byte if !quoted && !bracketed && byte.is_ascii_whitespace() => return Ok(position),
            _ => {}
        }
        position += 1;
    }
    if quoted || bracketed { Err(AddressError::Unclosed) } else { Ok(inner.len()) }
}

/// `@a,@b:u@d` is `u@d` (RFC 5321 section 4.1.1.3: servers ignore source routes).
fn without_route(path: &[u8]) -> Result<&[u8], AddressError> {
    if path.first() != Some(&b'@') {
        return Ok(path);
    }
    let mut literal = false;
    for (position, byte) in path.iter().enumerate() {
        match byte {
            b'[' => literal = true,
            b']' => literal = false,
            b':' if !literal => {
                let well_formed = path[..position]
                    .split(|byte| *byte == b',')
                    .all(|hop| hop.first() == Some(&b'@') && str::from_utf8(&hop[1..]).is_ok_and(is_domain));
                return if well_formed { Ok(&path[position + 1..]) } else { Err(AddressError::Path) };
            }
            _ => {}
        }
    }
    Err(AddressError::Path)
}

/// Checks a mailbox and has it completed where it has no domain.
fn mailbox(
    bytes: &[u8],
    complete: impl FnOnce(&str) -> Result<Address, AddressError>,
) -> Result<Address, AddressError> {
    if bytes.is_empty() {
        return Err(AddressError::Empty);
    }
    let text = str::from_utf8(bytes).map_err(|_| AddressError::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(AddressError::Control);
    }
    let local = local_part(text)?;
    match text[local.len()..].strip_prefix('@') {
        Some(domain) if is_domain(domain) => bounded(text.into()),
        Some(_) => Err(AddressError::Domain),
        None => complete(local),
    }
}

/// The local part at the start of `text`: a quoted string or a run of atoms and dots, up to the `@` or the end.
fn local_part(text: &str) -> Result<&str, AddressError> {
    let end = if text.starts_with('"') {
        quoted_end(text).ok_or(AddressError::Unclosed)?
    } else {
        text.find(|letter| !is_atom(letter) && letter != '.').unwrap_or(text.len())
    };
    let ended = matches!(text.as_bytes().get(end), None | Some(b'@'));
    if end == 0 || !ended { Err(AddressError::LocalPart) } else { Ok(&text[..end]) }
}

/// Where a quoted string that starts at the front ends, behind its closing quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (position, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(position + 1),
            _ => {}
        }
    }
    None
}

/// `atext` of RFC 5322 with what RFC 6531 adds to it.
fn is_atom(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter) || !letter.is_ascii()
}

/// A domain name (with underscores, and a dot at its end, for those who write them) or an address literal.
fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !literal.is_empty()
            && literal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 255
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|letter| {
                    letter.is_ascii_alphanumeric()
                        || letter == '-'
                        || letter == '_'
                        || !letter.is_ascii() && !letter.is_whitespace()
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<(String, String), AddressError> {
        let (path, rest) = parse_path(text.as_bytes(), "mx.test")?;
        Ok((path.as_str().to_owned(), String::from_utf8(rest.to_vec()).unwrap()))
    }

    #[test]
    fn paths_are_kept_byte_for_byte() {
        for path in [
            "a@x.test",
            "a..b.@docomo.example",
            ".a@x",
            r#""f@evil> ORCPT=x@y"@ok.test"#,
            r#""quote \" and \\ back"@x"#,
            r#""""#,
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "dörte@müller.example",
            "u@under_score.example",
            "prvs=1234=bounce+a=b.example@x",
        ] {
            let expected = if path.contains("@") { path.to_owned() } else { format!("{path}@mx.test") };
            assert_eq!(
                parse(&format!("<{path}> SIZE=1")),
                Ok((expected.clone(), " SIZE=1".into())),
                "{path}"
            );
            assert_eq!(parse(&format!("  {path} ")), Ok((expected, " ".into())), "{path} without brackets");
        }
    }

    #[test]
    fn routes_are_stripped_and_names_without_a_domain_completed() {
        assert_eq!(parse("<@a,@b:u@d>").unwrap().0, "u@d");
        assert_eq!(parse("<@[IPv6:::1]:u@d>").unwrap().0, "u@d");
        assert_eq!(parse("<Postmaster>").unwrap().0, "Postmaster@mx.test");
        assert_eq!(parse("<>"), Ok((String::new(), String::new())));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (text, error) in [
            ("", AddressError::Empty),
            ("<a@x", AddressError::Unclosed),
            ("<\"a@x>", AddressError::Unclosed),
            ("<a b@x>", AddressError::LocalPart),
            ("<a@b@c>", AddressError::Domain),
            ("<@x>", AddressError::Path),
            ("<@a:>", AddressError::Empty),
            ("<a@x>SIZE=1", AddressError::Path),
            ("<a@>", AddressError::Domain),
            ("<a@x..y>", AddressError::Domain),
            ("<a@[1>2]>", AddressError::Path),
            ("<a\0@x>", AddressError::Control),
            ("<\"a\u{85}\"@x>", AddressError::Control),
            ("< >", AddressError::LocalPart),
            ("<a,b@x>", AddressError::LocalPart),
            ("<\"a\"b@x>", AddressError::LocalPart),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(parse_path(b"<\xfc@x>", "h").unwrap_err(), AddressError::NotUtf8);
        assert_eq!("root".parse::<Address>(), Err(AddressError::Unqualified));
        for (text, error) in
            [("a b", AddressError::LocalPart), ("", AddressError::Empty), ("a@", AddressError::Domain)]
        {
            assert_eq!(Address::with_or_without_domain(text), Err(error), "{text}");
        }
        assert_eq!(Address::with_or_without_domain("root").unwrap().as_str(), "root");
    }

    #[test]
    fn a_path_has_256_octets_and_a_local_part_may_have_more_than_64() {
        assert!(parse(&format!("<{}@x.test>", "l".repeat(65))).is_ok());
        assert!(parse(&format!("<{}@x.test>", "l".repeat(247))).is_ok());
        assert_eq!(parse(&format!("<{}@x.test>", "l".repeat(248))), Err(AddressError::TooLong));
    }

    proptest! {
        /// Whatever the bytes: what is accepted reads back as itself, between brackets, with nothing left over. So
        /// no address becomes a parameter, a second command or another recipient.
        #[test]
        fn an_accepted_path_is_one_path_again(text in r#"[<>"\\@a.,: \[\]\x00-\x7fü=]{0,24}"#) {
            if let Ok((ReversePath::Address(address), _)) = parse_path(text.as_bytes(), "mx.test") {
                prop_assert!(!address.as_str().chars().any(char::is_control));
                let line = format!("<{address}> SIZE=1");
                let (again, rest) = parse_path(line.as_bytes(), "other.test").unwrap();
                prop_assert_eq!(again.as_str(), address.as_str());
                prop_assert_eq!(rest, b" SIZE=1");
                prop_assert_eq!(address.as_str().parse::<Address>().unwrap(), address.clone());
                prop_assert_eq!(format!("{}@{}", address.local_part(), address.domain()), address.as_str());
            }
        }

        /// Every quoted local part with printable characters inside is taken and kept.
        #[test]
        fn any_printable_may_stand_in_quotes(inside in "[ -~]{0,40}") {
            let quoted = inside.replace('\\', "\\\\").replace('"', "\\\"");
            let path = format!("\"{quoted}\"@x.test");
            prop_assert_eq!(parse(&format!("<{path}>")), Ok((path, String::new())));
        }
    }
}
