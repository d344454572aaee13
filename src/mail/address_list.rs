//! Address lists of header fields and of `sendmail` arguments (RFC 5322 section 3.4), for an envelope.
//!
//! An envelope needs what mail-parser does not keep: quotes of a local part (of `"a b"@x` it makes the name `a b` and the
//! address `@x`) and names without a domain (`root`). So mailboxes are kept byte for byte here, and their display names,
//! comments and groups are only skipped. As everybody does, `;` is taken for `,`.

/// The mailboxes that the value names, in order, as they are written but for white space and comments. Nothing is checked: what
/// is no mailbox comes out as it is, to be refused by whoever reads it as one.
pub fn mailboxes(value: &str) -> Vec<String> {
    let mut list = List::default();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => enclosed(rest, '"'),
            '[' => enclosed(rest, ']'),
            '(' => comment(rest),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match first {
            '(' => list.gap = true,
            first if first.is_whitespace() => list.gap = true,
            '<' => list.open(),
            '>' => list.close(),
            // What stood before it was the name of a group, or within brackets a source route.
            ':' if !list.in_brackets => list.current.clear(),
            ',' | ';' if !list.in_brackets => list.end(),
            _ => list.push(token),
        }
    }
    list.end();
    list.found
}

/// How many bytes a quoted string or a domain literal at the start of `text` has; all where it is not closed.
fn enclosed(text: &str, close: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == close => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// How many bytes a comment at the start of `text` has, with those that are in it.
fn comment(text: &str) -> usize {
    let (mut depth, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[derive(Default)]
struct List {
    found: Vec<String>,
    current: String,
    /// White space or a comment stood before what comes next.
    gap: bool,
    in_brackets: bool,
    /// `current` stood in brackets: what comes behind them does not belong to it.
    closed: bool,
}

impl List {
    fn push(&mut self, token: &str) {
        if self.closed {
            return;
        }
        // `ann @ example . com` is one mailbox (RFC 5322 section 4.4), `ann bob` is none.
        let joined = |text: &str| text.ends_with(['@', '.']);
        if std::mem::take(&mut self.gap)
            && !self.current.is_empty()
            && !joined(&self.current)
            && !token.starts_with(['@', '.'])
        {
            self.current.push(' ');
        }
        self.current.push_str(token);
    }

    fn open(&mut self) {
        if !self.closed {
            self.current.clear();
            self.in_brackets = true;
        }
        self.gap = false;
    }

    fn close(&mut self) {
        self.closed |= std::mem::take(&mut self.in_brackets);
    }

    fn end(&mut self) {
        let mailbox = std::mem::take(&mut self.current);
        if !mailbox.is_empty() {
            self.found.push(mailbox);
        }
        (self.gap, self.in_brackets, self.closed) = (false, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Address;
    use proptest::prelude::*;

    #[test]
    fn what_people_write() {
        for (value, found) in [
            ("ann@x.test", &["ann@x.test"][..]),
            (" root\r\n", &["root"]),
            ("root (Cron Daemon)", &["root"]),
            ("Ann <ann@x>, bob@y", &["ann@x", "bob@y"]),
            ("\"Last, First\" <a@b>,\r\n\tc@d", &["a@b", "c@d"]),
            ("Ann<ann@x>", &["ann@x"]),
            ("\"a b\"@x, \"<,>\\\"\"@y", &["\"a b\"@x", "\"<,>\\\"\"@y"]),
            ("\"x@y\" <z@w>", &["z@w"]),
            ("=?utf-8?q?J=C3=B6?= <a@b>", &["a@b"]),
            ("J\u{f6}rg <j\u{f6}@b\u{fc}cher.test>", &["j\u{f6}@b\u{fc}cher.test"]),
            ("undisclosed-recipients:;", &[]),
            ("\"A, B\": a@b, C <c@d>; e@f", &["a@b", "c@d", "e@f"]),
            ("<>", &[]),
            (",, a@x ,,b@x,", &["a@x", "b@x"]),
            ("a@b; c@d", &["a@b", "c@d"]),
            ("a@[IPv6:::1], b@[192.0.2.1]", &["a@[IPv6:::1]", "b@[192.0.2.1]"]),
            ("(c (d)) a (d) @ (e) b . c", &["a@b.c"]),
            ("a@b <c@d> trailing, e@f", &["c@d", "e@f"]),
            ("<@r1,@r2:a@b>", &["@r1,@r2:a@b"]),
            ("", &[]),
            (":;,()", &[]),
        ] {
            assert_eq!(mailboxes(value), found, "{value}");
        }
    }

    /// Nothing is guessed: what is no mailbox is not taken for one.
    #[test]
    fn what_is_no_mailbox_is_none() {
        for value in ["a@b c@d", "Ann ann@x", "a@\"b", "(never closed"] {
            let found = mailboxes(value);
            assert!(
                found.iter().all(|text| Address::with_or_without_domain(text).is_err()),
                "{value}: {found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(value in r#"[<>"\\@a.,;:() \[\]\r\n\x00-\x7fü=]{0,40}"#) {
            mailboxes(&value);
        }

        /// However they are dressed, the mailboxes come out.
        #[test]
        fn every_quoted_local_part_is_kept(inside in "[ -~]{0,20}", name in "[ -~]{0,20}") {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let mailbox = format!("{}@x.test", quoted(&inside));
            let value = format!("{mailbox}, {} <{mailbox}>,\r\n g: {mailbox};", quoted(&name));
            prop_assert_eq!(mailboxes(&value), vec![mailbox; 3]);
        }
    }
}
