//! The MIME parts of a content (RFC 2045, 2046), found without changing or decoding anything, and single ones decoded.
//!
//! # Promises
//! - Hostile mail costs no more than its length: depth, number of parts and length of headers are bounded, and each byte is looked
//!   at once for each level above it. What is beyond the bounds is part of the part that it stands in.
//! - Nothing fails: what is broken is shown as it stands.
//!
//! mail-parser decodes (transfer encodings, charsets, parameters). Its own tree of parts is not used: it goes as deep as the mail, so
//! that one of 25 MiB ends the process when the tree is dropped, and it looks for the end of each part that has none in all that
//! follows.
//!
//! Limits: charsets that mail-parser's small build does not know (GBK, ISO-2022-JP, Big5) are shown as far as they are UTF-8.

use super::header::fields;
use super::printable;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Parts within parts, messages within messages.
const MAX_DEPTH: usize = 20;
/// Parts that are told apart.
pub const MAX_PARTS: usize = 1_000;
/// Bytes of a part's header that are read.
const MAX_HEADER: usize = 64 * 1024;
/// Bytes of one of its fields that are read.
const MAX_FIELD: usize = 8 * 1024;
/// Bytes of quoted-printable with mistakes in it that are read; what is behind them is left out.
const LENIENT: usize = 8 << 20;
/// Characters of a file name.
const MAX_NAME: usize = 200;

/// A part of a content: the content itself, or one that stands in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MimePart {
    /// How many parts it stands in.
    pub depth: usize,
    /// `type/subtype`, in lower case; `text/plain` where nothing is said.
    pub media_type: String,
    /// As it is said, in lower case.
    pub charset: Option<String>,
    /// In lower case; empty where nothing is said.
    pub encoding: String,
    /// The file name that it is to have, on one printable line.
    pub file_name: Option<String>,
    /// Without the angle brackets.
    pub content_id: Option<String>,
    /// Content-Disposition says that it is to be saved.
    pub is_attachment: bool,
    /// It stands in a message that stands in this one.
    pub is_in_message: bool,
    /// Its header.
    pub header: Range<usize>,
    /// What stands behind its header, encoded, the parts in it included.
    pub body: Range<usize>,
    /// Parts stand in it.
    pub is_container: bool,
}

/// The parts of `content`, in their order: each before those that stand in it. The first is the content itself. Whether these are
/// all of them.
pub fn parts(content: &[u8]) -> (Vec<MimePart>, bool) {
    let mut found = Parts { content, parts: Vec::new(), is_whole: true };
    found.enter(0..content.len(), Place { depth: 0, is_in_message: false, unsaid: "text/plain" });
    (found.parts, found.is_whole)
}

struct Parts<'c> {
    content: &'c [u8],
    parts: Vec<MimePart>,
    is_whole: bool,
}

impl Parts<'_> {
    /// A part with its header, and those that stand in it. Goes no deeper than [`MAX_DEPTH`].
    fn enter(&mut self, range: Range<usize>, place: Place) {
        if self.parts.len() >= MAX_PARTS {
            self.is_whole = false;
            return;
        }
        let (mut part, boundary) = read_header(self.content, range, place);
        let is_message = part.media_type == "message/rfc822" && is_plain(&part.encoding);
        let is_digest = part.media_type == "multipart/digest";
        let within = match boundary {
            _ if is_message => vec![part.body.clone()],
            Some(boundary) if part.media_type.starts_with("multipart/") => {
                between(self.content, part.body.clone(), boundary.as_bytes())
            }
            _ => Vec::new(),
        };
        let is_deep = place.depth >= MAX_DEPTH;
        self.is_whole &= within.is_empty() || !is_deep;
        // A multipart without parts is shown as what it is: text.
        part.is_container = !within.is_empty() && !is_deep;
        let goes_in = part.is_container;
        self.parts.push(part);
        // RFC 2046 section 5.1.5.
        let unsaid = if is_digest { "message/rfc822" } else { "text/plain" };
        let inside =
            Place { depth: place.depth + 1, is_in_message: place.is_in_message || is_message, unsaid };
        for range in within.into_iter().take_while(|_| goes_in) {
            self.enter(range, inside);
        }
    }
}

/// Where a part stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    is_in_message: bool,
    /// What it is where it says nothing.
    unsaid: &'static str,
}

fn read_header(content: &[u8], range: Range<usize>, place: Place) -> (MimePart, Option<String>) {
    let bytes = &content[range.clone()];
    let mut end = 0;
    let mut part = MimePart {
        depth: place.depth,
        media_type: place.unsaid.to_owned(),
        charset: None,
        encoding: String::new(),
        file_name: None,
        content_id: None,
        is_attachment: false,
        is_in_message: place.is_in_message,
        header: range.start..range.start,
        body: range.clone(),
        is_container: false,
    };
    let (mut boundary, mut name) = (None, None);
    for (field, value) in fields(bytes) {
        end += field_length(&bytes[end..], field, value);
        if end > MAX_HEADER {
            break;
        }
        let value = &value[..value.len().min(MAX_FIELD)];
        if field.eq_ignore_ascii_case(b"Content-Type") {
            let Some(said) = content_type(value) else { continue };
            if let Some(subtype) = &said.c_subtype {
                part.media_type = word(&format!("{}/{subtype}", said.c_type));
            }
            part.charset = said.attribute("charset").map(word);
            boundary = said.attribute("boundary").map(str::to_owned);
            name = said.attribute("name").map(str::to_owned);
        } else if field.eq_ignore_ascii_case(b"Content-Disposition") {
            let Some(said) = content_type(value) else { continue };
            part.is_attachment = said.c_type.eq_ignore_ascii_case("attachment");
            part.file_name = said.attribute("filename").map(file_name);
        } else if field.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            part.encoding = word(&String::from_utf8_lossy(value));
        } else if field.eq_ignore_ascii_case(b"Content-ID") {
            let id = String::from_utf8_lossy(value);
            let id = id.trim().trim_start_matches('<').trim_end_matches('>');
            part.content_id = (!id.is_empty()).then(|| id.to_owned());
        }
    }
    part.file_name =
        part.file_name.or_else(|| name.as_deref().map(file_name)).filter(|name| !name.is_empty());
    let blank = bytes.get(end..).unwrap_or_default();
    let blank = if blank.starts_with(b"\r\n") { 2 } else { usize::from(blank.starts_with(b"\n")) };
    part.header.end = range.start + end;
    part.body.start = range.start + end + blank;
    (part, boundary.filter(|boundary| !boundary.is_empty()))
}

/// Of a field at the start of `bytes`: name, colon, blanks around it, and value.
fn field_length(bytes: &[u8], name: &[u8], value: &[u8]) -> usize {
    let colon = bytes[name.len()..].iter().take_while(|byte| **byte != b':').count();
    name.len() + colon + 1 + value.len()
}

/// A field's value with parameters. mail-parser knows its end by the line end.
fn content_type(value: &[u8]) -> Option<ContentType<'static>> {
    let value = [value, b"\n"].concat();
    let parse = || match MessageStream::new(&value).parse_content_type().into_owned() {
        HeaderValue::ContentType(said) => Some(said),
        _ => None,
    };
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}

fn word(text: &str) -> String {
    let text = text.split(['(', ';']).next().unwrap_or_default();
    text.trim()
        .chars()
        .take(MAX_NAME)
        .filter(|letter| letter.is_ascii_graphic())
        .collect::<String>()
        .to_ascii_lowercase()
}

/// A name without folders: whoever saves it decides where.
fn file_name(said: &str) -> String {
    let name = said.rsplit(['/', '\\']).next().unwrap_or_default();
    printable(name).trim().trim_start_matches('.').chars().take(MAX_NAME).collect()
}

/// What stands between the lines of that boundary; what is before the first and behind the last is for nobody.
fn between(content: &[u8], body: Range<usize>, boundary: &[u8]) -> Vec<Range<usize>> {
    let delimiter = [b"--", boundary].concat();
    let bytes = &content[body.clone()];
    let (mut found, mut start) = (Vec::new(), None);
    for at in memmem::find_iter(bytes, &delimiter) {
        if at > 0 && bytes[at - 1] != b'\n' {
            continue;
        }
        let rest = &bytes[at + delimiter.len()..];
        let (is_end, rest) = match rest.strip_prefix(b"--") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let line = &rest[..memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)];
        if !line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(start) = start.take() {
            // The line end before a boundary is part of it.
            let end = at - usize::from(at > 0);
            let end = if end > 0 && bytes[end - 1] == b'\r' { end - 1 } else { end };
            found.push(body.start + start..body.start + end.max(start));
        }
        if is_end || found.len() >= MAX_PARTS {
            return found;
        }
        start = Some(bytes.len() - rest.len() + line.len());
    }
    found.extend(start.map(|start| body.start + start..body.end));
    found
}

fn is_plain(encoding: &str) -> bool {
    !matches!(encoding, "base64" | "quoted-printable")
}

impl MimePart {
    /// Its body, with the transfer encoding taken off. What is no encoding of anything stays as it is, line by line.
    pub fn decoded<'c>(&self, content: &'c [u8]) -> Cow<'c, [u8]> {
        let body = &content[self.body.clone()];
        let decode = || match self.encoding.as_str() {
            "base64" => base64_decode(body).or_else(|| base64_decode(&letters_of_base64(body))),
            "quoted-printable" => quoted_printable_decode(body).or_else(|| line_by_line(body)),
            _ => None,
        };
        catch_unwind(AssertUnwindSafe(decode)).ok().flatten().map_or(Cow::Borrowed(body), Cow::Owned)
    }

    /// Its body as text.
    pub fn text(&self, content: &[u8]) -> String {
        let decoded = self.decoded(content);
        let decoder = self.charset.as_deref().and_then(|charset| charset_decoder(charset.as_bytes()));
        let text = decoder.and_then(|decode| catch_unwind(AssertUnwindSafe(|| decode(&decoded))).ok());
        text.unwrap_or_else(|| String::from_utf8_lossy(&decoded).into_owned())
    }

    /// Text to be read in its place.
    pub fn is_text(&self) -> bool {
        self.media_type == "text/plain" && !self.is_attachment && !self.is_in_message
    }

    /// HTML to be read in its place.
    pub fn is_html(&self) -> bool {
        self.media_type == "text/html" && !self.is_attachment && !self.is_in_message
    }
}

/// RFC 2045 section 6.8: what is not of the alphabet is left out, and behind the padding there is nothing.
fn letters_of_base64(body: &[u8]) -> Vec<u8> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let end = memchr::memchr(b'=', body).unwrap_or(body.len());
    body[..end].iter().copied().filter(is_letter).collect()
}

/// Lines that are quoted-printable decoded, others as they are.
fn line_by_line(body: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(body.len());
    for line in body.get(..LENIENT).unwrap_or(body).split_inclusive(|byte| *byte == b'\n') {
        match quoted_printable_decode(line) {
            Some(line) => decoded.extend_from_slice(&line),
            None => decoded.extend_from_slice(line),
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content: &str) -> Vec<String> {
        let (parts, _) = parts(content.as_bytes());
        let line = |part: &MimePart| {
            let text = if part.is_container { String::new() } else { part.text(content.as_bytes()) };
            format!("{}{} {text}", "  ".repeat(part.depth), part.media_type).trim_end().to_owned()
        };
        parts.iter().map(line).collect()
    }

    const NESTED: &str = "Subject: t\r\nContent-Type: Multipart/Mixed;\r\n boundary=\"a b\"\r\n\r\npreamble\r\n--a b\r\n\
         Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nplain\r\n--a \r\nContent-Type: text/html\r\n\r\n<p>\r\n\
         --a b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n--ab is no end\r\n--a b--\r\nepilogue\r\n--a b\r\nno\r\n";

    #[test]
    fn parts_stand_in_parts_and_end_where_those_around_them_end() {
        let expected = [
            "multipart/mixed",
            "  multipart/alternative",
            "    text/plain plain",
            "    text/html <p>",
            "  message/rfc822",
            "    text/plain --ab is no end",
        ];
        assert_eq!(shown(NESTED), expected);
        assert_eq!(shown(&NESTED.replace("\r\n", "\n")), expected);
        let (all, is_whole) = parts(NESTED.as_bytes());
        assert!(
            is_whole && all[5].is_in_message && !all[5].is_text() && all[2].is_text() && all[3].is_html()
        );
    }

    #[test]
    fn what_is_broken_is_shown_as_it_stands() {
        for (content, expected) in [
            ("", vec!["text/plain"]),
            ("no header", vec!["text/plain no header"]),
            ("\r\nbody", vec!["text/plain body"]),
            ("Content-Type: \r\n\r\nx", vec!["text/plain x"]),
            ("Content-Type: multipart/mixed\r\n\r\nx", vec!["multipart/mixed x"]),
            ("Content-Type: multipart/mixed; boundary=b\r\n\r\nx", vec!["multipart/mixed x"]),
            ("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b", vec!["multipart/mixed", "  text/plain"]),
            ("Content-Type: text/plain; charset=nonsense\r\n\r\n\u{fc}", vec!["text/plain \u{fc}"]),
            ("Content-Transfer-Encoding: base64\r\n\r\nSGk=\r\n-- \r\nx", vec!["text/plain Hi"]),
            ("Content-Transfer-Encoding: base64\r\n\r\nS!Gk", vec!["text/plain Hi"]),
            (
                "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC =\r\na=\r\n=ZZ",
                vec!["text/plain \u{fc} a=ZZ"],
            ),
        ] {
            assert_eq!(shown(content), expected, "{content:?}");
        }
    }

    #[test]
    fn names_of_files_have_no_folders_and_stay_on_their_line() {
        for (header, name) in [
            ("Content-Type: a/b; name=\"x.txt\"", Some("x.txt")),
            ("Content-Disposition: attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("Content-Disposition: attachment; filename=\"C:\\\\temp\\\\a.doc\"", Some("a.doc")),
            ("Content-Disposition: attachment; filename=\".bashrc\"", Some("bashrc")),
            (
                "Content-Disposition: attachment; filename*=UTF-8''gr%C3%BC%0Ax%E2%80%AEtxt.exe",
                Some("gr\u{fc} x txt.exe"),
            ),
            (
                "Content-Disposition: attachment; filename=\"=?utf-8?Q?gr=C3=BCn.txt?=\"",
                Some("gr\u{fc}n.txt"),
            ),
            ("Content-Disposition: attachment", None),
        ] {
            let content = format!("{header}\r\n\r\n");
            assert_eq!(parts(content.as_bytes()).0[0].file_name.as_deref(), name, "{header}");
        }
    }

    #[test]
    fn hostile_mail_is_bounded() {
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
        let (all, is_whole) = parts(deep.as_bytes());
        assert_eq!((all.len(), is_whole), (MAX_DEPTH + 1, false));
        let nested: String = (0..20_000)
            .map(|number| format!("Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n--b{number}\r\n"))
            .collect();
        assert_eq!(parts(nested.as_bytes()).0.len(), MAX_DEPTH + 1);
        let many =
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(10_000));
        let (all, is_whole) = parts(many.as_bytes());
        assert_eq!((all.len(), is_whole), (MAX_PARTS, false));
        // One without an end in each of many.
        let open = "--b\r\nContent-Type: multipart/mixed; boundary=none\r\n\r\n".repeat(50_000);
        parts(format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{open}").as_bytes());
        parts(
            format!("Content-Type: multipart/mixed; boundary=-\r\n\r\n{}", "-".repeat(2_000_000)).as_bytes(),
        );
        parts(
            format!("Content-Type: multipart/mixed; boundary=b\r\n{}\r\n--b\r\n", " x\r\n".repeat(500_000))
                .as_bytes(),
        );
    }

    proptest::proptest! {
        #[test]
        fn every_part_stands_in_the_content(content in "(Content-Type: |multipart/mixed|; boundary=|message/rfc822|\"|b|--b|--|\r\n|\n| |;|\u{fc}|=|\\PC){0,80}") {
            let (parts, _) = parts(content.as_bytes());
            for part in &parts {
                proptest::prop_assert!(part.body.end <= content.len() && part.header.end <= part.body.start);
                part.text(content.as_bytes());
            }
        }
    }
}
