//! Header text for people: encoded words (RFC 2047) decoded, everything on one printable line.
//!
//! For logs and listings only; what is relayed is never touched. Nothing here fails: text that cannot be decoded is
//! shown as it stands. mail-parser does the decoding; should it panic on some input, the caller gets the raw text.
//!
//! Limits: charsets that mail-parser's small build does not know (GBK, ISO-2022-JP, Big5) are shown as far as they
//! are UTF-8, with replacement characters. A character that an application split over two encoded words, which RFC
//! 2047 section 5 forbids, is shown as replacement characters.

use crate::mail::printable;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most characters that [`decode_words`] returns.
pub const MAX_CHARS: usize = 256;

/// An unstructured field value with its encoded words decoded (RFC 2047), on one printable line of at most
/// [`MAX_CHARS`] characters; what was cut off is marked with `…`.
pub fn decode_words(raw: &str) -> String {
    let line = decoded_line(raw);
    if line.chars().nth(MAX_CHARS).is_none() {
        return line;
    }
    line.chars().take(MAX_CHARS - 1).chain(['…']).collect()
}

/// As [`decode_words`], but whole.
pub fn decoded_line(raw: &str) -> String {
    if !raw.contains("=?") {
        return unfolded(raw);
    }
    // The parser knows the end of a value by its line end.
    let value = format!("{raw}\n");
    let decoded = catch_parser_panic(|| match MessageStream::new(value.as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => Some(printable(&text)),
        _ => None,
    });
    decoded.flatten().unwrap_or_else(|| unfolded(raw))
}

/// The white space that a folded line goes on with is part of the value, the line end before it is not (RFC 5322
/// section 2.2.3).
fn unfolded(raw: &str) -> String {
    printable(raw.trim().replace("\r\n", "").as_str())
}

/// Runs mail-parser on what a client sent. None if it panics: then only decoded text is missing somewhere.
pub(super) fn catch_parser_panic<T>(parse: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded_and_the_rest_stays() {
        for (raw, shown) in [
            ("Your order 4711", "Your order 4711"),
            ("", ""),
            ("in\r\n two\r\n\tlines", "in two lines"),
            ("=?utf-8?Q?Your_order_4711_=E2=9C=93?=", "Your order 4711 ✓"),
            ("Re: =?utf-8?B?4pyT?= done", "Re: ✓ done"),
            // White space between two encoded words is no part of the text (RFC 2047 section 6.2).
            ("=?iso-8859-1?Q?Gr=FC=DFe?=\r\n =?iso-8859-1?Q?_aus_K=F6ln?=", "Grüße aus Köln"),
            ("=?windows-1252?Q?5=80?=", "5€"),
            // Nothing that claims to be an encoded word and is none is lost.
            ("=?", "=?"),
            ("=?utf-8?X?nonsense?=", "=?utf-8?X?nonsense?="),
            ("already ✓ decoded", "already ✓ decoded"),
        ] {
            assert_eq!(decode_words(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn a_decoded_subject_cannot_become_a_second_line() {
        let shown = decode_words("=?utf-8?Q?paid=0D=0ARcpt:_forged=1B[2J=E2=80=A8x=E2=80=AE?=");
        assert_eq!(shown, "paid  Rcpt: forged [2J x ");
    }

    #[test]
    fn a_long_subject_is_cut_by_characters() {
        assert_eq!(decode_words(&"✓".repeat(MAX_CHARS)), "✓".repeat(MAX_CHARS));
        let cut = decode_words(&"✓".repeat(998));
        assert_eq!(cut.chars().count(), MAX_CHARS);
        assert!(cut.ends_with("✓…"));
    }

    #[test]
    fn a_panic_in_the_parser_stays_there() {
        assert_eq!(catch_parser_panic(|| -> u8 { panic!("as a parser might") }), None);
        assert_eq!(catch_parser_panic(|| 1), Some(1));
    }

    const HOSTILE: &str = "(=\\?|\\?=|\\?|=|_|utf-8|[QqBb]|[0-9A-F]{2}|\r\n |.|\u{1b}|\u{2028}){0,60}";

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_the_subject_the_line_is_printable(raw in HOSTILE) {
            let shown = decode_words(&raw);
            proptest::prop_assert!(shown.chars().all(crate::mail::printable::is_printable));
            proptest::prop_assert!(shown.chars().count() <= MAX_CHARS);
        }
    }
}
