//! What a sender asks for of delivery status notifications (RFC 3461), as words of a command line and of MAIL and RCPT.

use super::message::{Notify, Return};

/// Of a whole envelope id, and of a whole original recipient, as they stand in a command (RFC 3461 sections 4.4 and 4.2).
const MAX_ENVELOPE_ID: usize = 100;
pub const MAX_ORIGINAL_RECIPIENT: usize = 500;

/// What is asked for in MAIL: said where DSN is offered, dropped where it is not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DsnRequest {
    /// RET.
    pub returns: Option<Return>,
    /// ENVID as it stands in MAIL, see [`xtext`].
    pub envelope_id: Option<String>,
}

/// What is asked for in one RCPT.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecipientDsn {
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT as it stands in RCPT, see [`original_recipient`]. ASCII.
    pub original_recipient: Option<String>,
}

impl DsnRequest {
    /// The parameters of MAIL, each with a blank before it.
    pub fn parameters(&self) -> String {
        let returns = match self.returns {
            Some(Return::Full) => " RET=FULL",
            Some(Return::Headers) => " RET=HDRS",
            None => "",
        };
        let id = self.envelope_id.as_deref().map(|id| format!(" ENVID={id}")).unwrap_or_default();
        returns.to_owned() + &id
    }
}

impl RecipientDsn {
    /// With NOTIFY alone.
    pub fn notify(notify: Notify) -> RecipientDsn {
        RecipientDsn { notify, original_recipient: None }
    }

    /// The parameters of RCPT, each with a blank before it.
    pub fn parameters(&self) -> String {
        let notify = match self.notify {
            Notify::Unsaid => String::new(),
            Notify::Never => " NOTIFY=NEVER".to_owned(),
            Notify::Of { success, failure, delay } => {
                let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                let said: Vec<&str> = words.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
                format!(" NOTIFY={}", said.join(","))
            }
        };
        let original = self.original_recipient.as_deref().map(|original| format!(" ORCPT={original}"));
        notify + &original.unwrap_or_default()
    }
}

/// Reads `never`, or some of `success`, `failure` and `delay` with commas between, in any case; none where it is something
/// else.
pub fn notify(text: &str) -> Option<Notify> {
    if text.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in text.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => success = true,
            "FAILURE" => failure = true,
            "DELAY" => delay = true,
            _ => return None,
        }
    }
    Some(Notify::Of { success, failure, delay })
}

/// Reads `full` or `hdrs`, in any case; none where it is something else.
pub fn returns(text: &str) -> Option<Return> {
    match text.to_ascii_uppercase().as_str() {
        "FULL" => Some(Return::Full),
        "HDRS" => Some(Return::Headers),
        _ => None,
    }
}

/// Reads the value of ENVID: xtext of printable ASCII characters, at most 100 of them as they stand there.
pub fn envelope_id(text: &str) -> Option<String> {
    let sound = (1..=MAX_ENVELOPE_ID).contains(&text.len()) && from_xtext(text).is_some();
    sound.then(|| text.to_owned())
}

/// Reads the value of ORCPT: the type of an address, a semicolon, and the address as xtext. Of the type `utf-8` (RFC 6533
/// section 3) it may be written in letters, too; then it is kept as `\x{FC}` has it, which every server can be told.
pub fn original_recipient(text: &str) -> Option<String> {
    let (kind, address) = text.split_once(';')?;
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*-/?^_`{|}~".contains(&byte);
    if text.len() > MAX_ORIGINAL_RECIPIENT
        || kind.is_empty()
        || address.is_empty()
        || !kind.bytes().all(is_atom)
    {
        return None;
    }
    if !kind.eq_ignore_ascii_case("utf-8") {
        return from_xtext(address).map(|_| text.to_owned());
    }
    let address = utf8_xtext(address);
    let sound = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=');
    sound.then(|| format!("{kind};{address}"))
}

/// An address whose letters that are not ASCII are written `\x{FC}` (utf-8-addr-xtext, RFC 6533 section 3).
pub fn utf8_xtext(address: &str) -> String {
    let letter = |letter: char| match letter.is_ascii() {
        true => letter.to_string(),
        false => format!("\\x{{{:X}}}", u32::from(letter)),
    };
    address.chars().map(letter).collect()
}

/// RFC 3461 section 4: a text without blanks, `+` and `=`.
pub fn xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("+{byte:02X}")),
        }
    }
    encoded
}

/// What xtext stands for; none where it is no xtext, or not of printable ASCII characters alone.
pub fn from_xtext(text: &str) -> Option<String> {
    let (mut decoded, mut rest) = (String::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'+' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'=' | ..=b' ' => return None,
            byte => byte,
        };
        decoded.push(char::from(byte));
    }
    decoded.bytes().all(|byte| matches!(byte, b' '..=b'~')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_and_ret_are_read_in_any_case_and_written_as_the_rfc_has_them() {
        let said = |text: &str| notify(text).map(|notify| RecipientDsn::notify(notify).parameters());
        assert_eq!(said("never").unwrap(), " NOTIFY=NEVER");
        assert_eq!(said("Failure").unwrap(), " NOTIFY=FAILURE");
        assert_eq!(said("delay,FAILURE,success,delay").unwrap(), " NOTIFY=SUCCESS,FAILURE,DELAY");
        for text in ["", ",", "never,failure", "success ", "always", "failure;delay"] {
            assert_eq!(said(text), None, "{text}");
        }
        assert_eq!((returns("Full"), returns("hdrs")), (Some(Return::Full), Some(Return::Headers)));
        assert_eq!(returns("headers"), None);
        assert_eq!(DsnRequest::default().parameters() + &RecipientDsn::default().parameters(), "");
    }

    #[test]
    fn no_envelope_id_becomes_another_parameter() {
        assert_eq!(xtext("a b+c=d\r\n\u{fc}"), "a+20b+2Bc+3Dd+0D+0A+C3+BC");
        assert_eq!(from_xtext("a+20b+2Bc+3dd"), Some("a b+c=d".to_owned()));
        for text in ["+", "+2", "+2G", "a=b", "a b", "+0D+0A", "+C3+BC", "\u{fc}", "+7F"] {
            assert_eq!(from_xtext(text), None, "{text}");
            assert_eq!(envelope_id(text), None, "{text}");
        }
        assert_eq!((envelope_id(""), envelope_id(&"x".repeat(101))), (None, None));
        assert_eq!(envelope_id(&"x".repeat(100)), Some("x".repeat(100)));
    }

    #[test]
    fn an_original_recipient_has_a_type_and_is_ascii() {
        let kept = |text: &str| original_recipient(text);
        for text in ["rfc822;Bob@example.com", "x400;/C=", "RFC822;a+2Bb@x", "utf-8;\\x{FC}@x", "x-a;b"] {
            assert_eq!(kept(text), (text != "x400;/C=").then(|| text.to_owned()), "{text}");
        }
        assert_eq!(kept("utf-8;j\u{f6}rg@b\u{fc}cher.test").unwrap(), "utf-8;j\\x{F6}rg@b\\x{FC}cher.test");
        for text in [
            "",
            "rfc822",
            "rfc822;",
            ";a@x",
            "rfc 822;a@x",
            "rfc822;a@\u{fc}",
            "rfc822;+0D",
            "utf-8;a b",
            "utf-8;a=b",
        ] {
            assert_eq!(kept(text), None, "{text}");
        }
        assert_eq!(kept(&format!("rfc822;{}", "x".repeat(494))), None);
    }
}
