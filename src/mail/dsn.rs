//! What a sender asks for of delivery status notifications (RFC 3461), as words of a command line and of MAIL and RCPT.

use super::message::{Notify, Return};

/// What is asked for in one transaction: said where DSN is offered, dropped where it is not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DsnRequest {
    /// NOTIFY, for every recipient.
    pub notify: Notify,
    /// RET.
    pub returns: Option<Return>,
    /// ENVID as it stands in MAIL, see [`xtext`].
    pub envelope_id: Option<String>,
}

impl DsnRequest {
    /// The parameters of MAIL, each with a blank before it.
    pub fn mail_parameters(&self) -> String {
        let returns = match self.returns {
            Some(Return::Full) => " RET=FULL",
            Some(Return::Headers) => " RET=HDRS",
            None => "",
        };
        let id = self.envelope_id.as_deref().map(|id| format!(" ENVID={id}")).unwrap_or_default();
        returns.to_owned() + &id
    }

    /// The parameters of RCPT, each with a blank before it.
    pub fn rcpt_parameters(&self) -> String {
        let Notify::Of { success, failure, delay } = self.notify else {
            return if self.notify == Notify::Never { " NOTIFY=NEVER" } else { "" }.to_owned();
        };
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let said: Vec<&str> = words.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
        format!(" NOTIFY={}", said.join(","))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_and_ret_are_read_in_any_case_and_written_as_the_rfc_has_them() {
        let said = |text: &str| {
            notify(text).map(|notify| DsnRequest { notify, ..DsnRequest::default() }.rcpt_parameters())
        };
        assert_eq!(said("never").unwrap(), " NOTIFY=NEVER");
        assert_eq!(said("Failure").unwrap(), " NOTIFY=FAILURE");
        assert_eq!(said("delay,FAILURE,success,delay").unwrap(), " NOTIFY=SUCCESS,FAILURE,DELAY");
        for text in ["", ",", "never,failure", "success ", "always", "failure;delay"] {
            assert_eq!(said(text), None, "{text}");
        }
        assert_eq!((returns("Full"), returns("hdrs")), (Some(Return::Full), Some(Return::Headers)));
        assert_eq!(returns("headers"), None);
        assert_eq!(DsnRequest::default().mail_parameters() + &DsnRequest::default().rcpt_parameters(), "");
    }

    #[test]
    fn no_envelope_id_becomes_another_parameter() {
        assert_eq!(xtext("a b+c=d\r\n\u{fc}"), "a+20b+2Bc+3Dd+0D+0A+C3+BC");
    }
}
