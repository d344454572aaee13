//! Messages for the clients that send what they are given, one of each kind that is known to make trouble.

use crate::support::samples::{sample, with_attachment};

/// A message with its envelope.
pub struct Letter {
    /// For MAIL; empty = the null reverse-path.
    pub from: &'static str,
    /// For RCPT.
    pub to: &'static [&'static str],
    /// CRLF at each line end.
    pub content: Vec<u8>,
}

const BOB: &[&str] = &["bob@upstream.test"];

/// One of each kind. The subjects differ, so that each can be found again.
pub fn letters() -> Vec<Letter> {
    let ann = |to, content: Vec<u8>| Letter { from: "ann@client.test", to, content };
    vec![
        ann(BOB, short("plain", "Hello Bob,\r\n")),
        ann(BOB, short("=?utf-8?B?R3LDvMOfZSB1bmQg4pyT?=", "Hello Bob,\r\n")),
        ann(BOB, short("raw subject Grüße ✓", "Hello Bob,\r\n")),
        ann(BOB, sample("eight-bit.eml")),
        ann(BOB, with_attachment(10_000)),
        ann(&["bob@upstream.test", "carol@upstream.test", "dave@upstream.test"], sample("multipart.eml")),
        ann(BOB, sample("dots.eml")),
        Letter { from: "", to: BOB, content: short("null", "What you sent did not arrive.\r\n") },
    ]
}

/// Without Date and Message-ID, as applications often send it.
fn short(subject: &str, body: &str) -> Vec<u8> {
    let content_type = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
    let addresses = "From: Ann <ann@client.test>\r\nTo: Bob <bob@upstream.test>\r\n";
    format!("{addresses}Subject: {subject}\r\n{content_type}\r\n{body}").into_bytes()
}
