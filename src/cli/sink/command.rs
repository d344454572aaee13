//! Commands in the form that mailin's parser knows.

use std::borrow::Cow;

/// Stands for the null reverse-path, where mailin wants at least one character.
pub(super) const NULL_PATH: &str = "\u{0}";

/// Whether the line begins with this command, in any case of letters.
pub(super) fn starts_with(line: &[u8], command: &str) -> bool {
    line.get(..command.len()).is_some_and(|start| start.eq_ignore_ascii_case(command.as_bytes()))
}

/// MAIL and RCPT in the form that mailin's parser knows: a path that is never empty, and no parameter but BODY. Every
/// other command as it is.
pub(super) fn for_mailin(line: &[u8]) -> Cow<'_, [u8]> {
    let verb = match line {
        _ if starts_with(line, "MAIL FROM:") => "MAIL FROM:",
        _ if starts_with(line, "RCPT TO:") => "RCPT TO:",
        _ => return Cow::Borrowed(line),
    };
    let rest = line[verb.len()..].trim_ascii_start();
    let Some(end) = rest.iter().position(|byte| *byte == b'>') else { return Cow::Borrowed(line) };
    let (path, parameters) = (&rest[..end], rest[end + 1..].to_ascii_uppercase());
    let path = if path == b"<" { [b"<", NULL_PATH.as_bytes()].concat() } else { path.to_vec() };
    let eight_bit = memchr::memmem::find(&parameters, b" BODY=8BITMIME").is_some();
    let body: &[u8] = if eight_bit { b"> BODY=8BITMIME\r\n" } else { b">\r\n" };
    Cow::Owned([verb.as_bytes(), &path, body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_brought_into_the_form_that_the_parser_knows() {
        for (sent, given) in [
            ("MAIL FROM:<> SIZE=10\r\n", "MAIL FROM:<\0>\r\n"),
            ("mail from: <a@x> BODY=7BIT SIZE=1\r\n", "MAIL FROM:<a@x>\r\n"),
            ("MAIL FROM:<ü@x> smtputf8 body=8bitmime\r\n", "MAIL FROM:<ü@x> BODY=8BITMIME\r\n"),
            ("RCPT TO:<b@y> NOTIFY=NEVER\r\n", "RCPT TO:<b@y>\r\n"),
            ("MAIL FROM:a@x\r\n", "MAIL FROM:a@x\r\n"),
            ("DATA\r\n", "DATA\r\n"),
        ] {
            assert_eq!(for_mailin(sent.as_bytes()), given.as_bytes(), "{sent:?}");
        }
    }
}
