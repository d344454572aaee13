//! What stands in a message, on its pages: HTML, text, header, parts, and hostile mail.

use super::message::{OFF, sent_by};
use super::reader::Reader;

const NEWSLETTER: &str = "From: =?utf-8?Q?Caf=C3=A9?= <news@a.test>\r\nTo: b@b.test\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
     Received: from x\r\n\tby y\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
     --m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
     --a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe <you>, see https://x.test/\r\n\
     --a\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
     --r\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><head><base href=\"https://evil.test/\"><title>\u{201e}Hi\"</title></head><body><img src=\"cid:logo@a\"><p>Gr\u{fc}\u{df}e</p></body></html>\r\n\
     --r\r\nContent-Type: image/png\r\nContent-ID: <logo@a>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--r--\r\n--a--\r\n\
     --m\r\nContent-Type: application/pdf; name=\"=?utf-8?Q?Rechnung_=E2=84=961.pdf?=\"\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n\
     --m\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner <b>\r\n\r\ninner text\r\n--m--\r\n";

fn reader_with(content: &str) -> (Reader, String) {
    let reader = Reader::start(OFF);
    let id = sent_by(&reader, &["b@b.test"], content.as_bytes());
    (reader, format!("/messages/{id}"))
}

#[test]
fn html_is_a_document_that_may_do_nothing() {
    let (reader, at) = reader_with(NEWSLETTER);
    let page = reader.page(&format!("{at}/read"));
    let frame = format!("src=\"{at}/html\" sandbox=\"allow-popups allow-popups-to-escape-sandbox\"");
    assert!(page.contains(&frame) && page.contains("Load remote content"), "{page}");
    let document = reader.get(&format!("{at}/html"));
    assert_eq!(document.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        (
            "content-security-policy",
            "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
             font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'",
        ),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "no-referrer"),
        ("x-dns-prefetch-control", "off"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(document.header(name), Some(value));
    }
    let text = document.text();
    assert!(
        text.contains("<img src=\"data:image/png;base64,iVBORw0KGgo=\"><p>Gr\u{fc}\u{df}e</p>"),
        "{text}"
    );
    let remote = reader.get(&format!("{at}/html?remote=1"));
    let policy = remote.header("content-security-policy").unwrap_or_default();
    assert!(
        policy.contains("img-src data: http: https:;") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    assert!(policy.starts_with("sandbox allow-popups allow-popups-to-escape-sandbox;"), "{policy}");
    assert!(reader.page(&format!("{at}/read?remote=1")).contains("/html?remote=1\""));
    assert_eq!(reader.admin.get(&format!("{at}/html"), &[]).status, 401);
}

#[test]
fn text_header_and_parts_are_shown_as_text() {
    let (reader, at) = reader_with(NEWSLETTER);
    let page = reader.page(&format!("{at}/text"));
    assert!(page.contains("Gr\u{fc}\u{df}e &#60;you&#62;, see https://x.test/</pre>"), "{page}");
    assert!(!page.contains("inner text"), "{page}");
    let page = reader.page(&format!("{at}/headers"));
    for expected in
        ["<dt>Subject</dt><dd>Gr\u{fc}\u{df}e<details>", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "from x\n by y"]
    {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let page = reader.page(&format!("{at}/headers?h=subj"));
    assert!(page.contains("<dt>Subject</dt>") && !page.contains("<dt>MIME-Version</dt>"), "{page}");
    assert!(
        reader.page(&format!("{at}/headers?h=%22%3E%3Cb%3E")).contains("value=\"&#34;&#62;&#60;b&#62;\"")
    );
    let page = reader.page(&format!("{at}/raw"));
    assert!(page.contains("--m--") && page.contains("Subject: inner &#60;b&#62;"), "{page}");
    let page = reader.page(&format!("{at}/parts"));
    for expected in [
        "Rechnung \u{2116}1.pdf",
        "application/pdf",
        "multipart/alternative",
        "message/rfc822",
        // SHA-256 of `%PDF`.
        "315d429b7714cedb6ad04ac31240145257692630457f3c88253c5beceac76027",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
}

#[test]
fn each_part_is_a_file_to_be_saved() {
    let (reader, at) = reader_with(NEWSLETTER);
    let part = |number: usize| reader.get(&format!("{at}/parts/{number}"));
    let pdf = part(7);
    assert_eq!(pdf.body, b"%PDF");
    for (name, value) in [
        ("content-type", "application/pdf"),
        (
            "content-disposition",
            "attachment; filename=\"Rechnung _1.pdf\"; filename*=UTF-8''Rechnung%20%E2%84%961.pdf",
        ),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(pdf.header(name), Some(value));
    }
    let html = part(5);
    assert!(
        html.header("content-disposition").is_some_and(|value| value.starts_with("attachment")),
        "{html:?}"
    );
    assert_eq!(part(8).body, b"Subject: inner <b>\r\n\r\ninner text");
    assert_eq!([part(0).status, part(99).status], [404, 404]);
    assert_eq!(reader.get(&format!("{at}/parts/x")).status, 400);
}

#[test]
fn whatever_stands_in_mail_the_pages_come_and_are_small() {
    let reader = Reader::start(&format!("[limits]\nmessage_size = \"40MiB\"\n{OFF}"));
    let quotes = "\"<&>'".repeat(200);
    let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let nested: String = (0..20_000)
        .map(|number| format!("Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n--b{number}\r\n"))
        .collect();
    let many =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(10_000));
    let named = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        format!("--b\r\nContent-Type: a/b; name=\"{}\"\r\n\r\nx\r\n", "&".repeat(900)).repeat(200)
    );
    let html = format!("Content-Type: text/html\r\n\r\n{}", "<b>cid:x</b>\r\n".repeat(700_000));
    let samples = [
        ("Subject", format!("Subject: {quotes}\r\nX: {quotes}\r\n\r\n{quotes}\r\n")),
        ("a huge header", format!("X: {}\r\n\r\n", format!("{}\r\n ", "<".repeat(900)).repeat(3_000))),
        ("many fields", format!("{}\r\n", "X: <y>\r\n".repeat(50_000))),
        ("deep", deep),
        ("nested", nested),
        ("many parts", many),
        ("names", named),
        ("HTML", html),
        ("a charset", "Content-Type: text/plain; charset=\"utf-7<b>\"\r\n\r\n\u{fc}+ADw-\r\n".to_owned()),
        ("base64", "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n".to_owned()),
        ("no header", "hello\r\n<script>alert(1)</script>\r\n".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, content) in samples {
        let id = sent_by(&reader, &["b@b.test"], content.as_bytes());
        for tab in ["", "/read", "/text", "/headers", "/parts", "/raw", "/sent"] {
            let page = reader.page(&format!("/messages/{id}{tab}"));
            assert!(!page.contains("<script>alert"), "{what}{tab}");
        }
        assert_eq!(reader.get(&format!("/messages/{id}/html")).status, 200, "{what}");
        assert_eq!(reader.get(&format!("/messages/{id}/parts/1")).status, 200, "{what}");
    }
}
