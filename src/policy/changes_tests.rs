use super::super::added::added;
use super::*;
use crate::config::default_upstream;
use crate::config::handling::{Redirect, ReportAddress, SenderRewrite};
use crate::mail::{FieldFilter, HeaderScan, QueueId, SenderScan};
use proptest::prelude::*;

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

fn from(address: &str) -> ReversePath {
    ReversePath::Address(at(address))
}

/// As it is stored: the header as the listener has seen it.
fn message(reverse_path: ReversePath, content: &[u8]) -> Message {
    let mut scan = HeaderScan::new("");
    scan.push(content);
    Message {
        header: scan.facts(),
        size: content.len() as u64,
        ..Message::new(QueueId::from_number(1), reverse_path)
    }
}

fn direct() -> PlannedEnvelope {
    PlannedEnvelope { kind: EnvelopeKind::Direct, recipients: vec![at("c@customer.test")] }
}

fn copy(originals: &[&str]) -> PlannedEnvelope {
    let kind = EnvelopeKind::ReportCopy(originals.iter().map(|one| at(one)).collect());
    PlannedEnvelope { kind, recipients: vec![at("ops@report.test")] }
}

fn sender(when: RewriteWhen, name: &str, address: &str) -> Handling {
    let address = Some(Mailbox { name: name.to_owned(), address: at(address) });
    Handling { sender: SenderRewrite { when, address }, ..Handling::default() }
}

fn always() -> Handling {
    sender(RewriteWhen::Always, "The Shop", "shop@own.test")
}

fn missing() -> Handling {
    sender(RewriteWhen::Missing, "", "shop@own.test")
}

fn redirecting(handling: Handling) -> Handling {
    let report = |email: &str, enabled| ReportAddress { email: email.parse().unwrap(), enabled };
    let report_emails = vec![
        report("off@report.test", false),
        report("qa@report.test", true),
        report("ops@report.test", true),
    ];
    Handling { redirect: Redirect { enabled: true, report_emails, allow: Vec::new() }, ..handling }
}

fn upstream(sender: Option<&str>) -> Upstream {
    Upstream { sender: sender.map(at), ..default_upstream("up", "up.test", 25) }
}

/// What the upstream gets, in pieces of `cut` bytes.
struct Sent {
    prefix: String,
    stored: Vec<u8>,
    changes: HeaderChanges,
}

fn sent(planned: &Changes, message: &Message, content: &[u8], utf8: bool, cut: usize) -> Sent {
    let mut scan = SenderScan::new(&RENAMES);
    if planned.needs_header() {
        content.chunks(cut).all(|piece| scan.push(piece));
    }
    let changes = planned.header(scan.facts(), utf8);
    let prefix = String::from_utf8(added(message, &changes, "mail.test", "own", utf8)).unwrap();
    let (mut filter, mut stored) = (FieldFilter::renaming(changes.renames.clone()), Vec::new());
    content.chunks(cut).for_each(|piece| filter.push(piece, |bytes| stored.extend_from_slice(bytes)));
    filter.finish(|bytes| stored.extend_from_slice(bytes));
    Sent { prefix, stored, changes }
}

/// Everything that the upstream gets but the fields that are put in front of every message.
fn relayed(envelope: &PlannedEnvelope, handling: &Handling, upstream: &Upstream, content: &str) -> String {
    let message = message(from("app@site.test"), content.as_bytes());
    let planned = Changes::new(envelope, &message, handling, upstream);
    let sent = sent(&planned, &message, content.as_bytes(), false, 7);
    let prefix = sent.prefix.split_inclusive("\r\n").skip(3);
    let ours = |line: &&str| !line.starts_with("Date: ") && !line.starts_with("Message-ID: ");
    let prefix: String = prefix.filter(ours).collect();
    prefix + &String::from_utf8(sent.stored).unwrap()
}

#[test]
fn who_the_reverse_path_is() {
    let own = from("app@site.test");
    let path = |envelope: &PlannedEnvelope, own: &ReversePath, handling: &Handling, sender| {
        Changes::new(envelope, &message(own.clone(), b""), handling, &upstream(sender)).reverse_path
    };
    let account = Some("account@up.test");
    for (handling, sender, expected) in [
        (Handling::default(), None, "app@site.test"),
        (missing(), None, "app@site.test"),
        (always(), None, "shop@own.test"),
        (always(), account, "account@up.test"),
        (Handling::default(), account, "account@up.test"),
    ] {
        assert_eq!(path(&direct(), &own, &handling, sender), from(expected));
        assert_eq!(path(&direct(), &ReversePath::Null, &handling, sender), ReversePath::Null);
        let (handling, copy) = (redirecting(handling), copy(&["c@customer.test"]));
        let expected = sender.unwrap_or("qa@report.test");
        assert_eq!(path(&copy, &own, &handling, sender), from(expected));
        assert_eq!(path(&copy, &ReversePath::Null, &handling, sender), ReversePath::Null);
    }
    let notice = Message { is_notice: true, ..message(own.clone(), b"") };
    assert_eq!(Changes::new(&direct(), &notice, &always(), &upstream(account)).reverse_path, own);
    assert_eq!(reverse_path_after_sender(&notice, &always()), own);
}

#[test]
fn ordinary_mail_is_not_read_and_not_changed() {
    let content =
        "From: a@x.test\r\nSender: b@x.test\r\nDisposition-Notification-To: a@x.test\r\n\r\nbody\r\n";
    let message = message(from("app@site.test"), content.as_bytes());
    let planned = Changes::new(&direct(), &message, &Handling::default(), &upstream(None));
    assert!(!planned.needs_header() && !planned.wants_smtp_utf8());
    assert_eq!(planned.header(&SenderFacts::default(), false), HeaderChanges::default());
    assert_eq!(relayed(&direct(), &Handling::default(), &upstream(None), content), content);
}

#[test]
fn always_replaces_from_and_moves_the_author_to_reply_to() {
    for (header, expected) in [
        (
            "Subject: s\r\nfrom : Ann\r\n <ann@x.test>\r\nSender: web@x.test\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nReply-To: Ann\r\n <ann@x.test>\r\nSubject: s\r\nX-Original-From : Ann\r\n <ann@x.test>\r\nSender: web@x.test\r\n",
        ),
        (
            "From: a@x.test\r\nREPLY-TO: b@x.test\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nX-Original-From: a@x.test\r\nREPLY-TO: b@x.test\r\n",
        ),
        // Two authors, and two fields: the first that names somebody.
        (
            "From:\r\nFrom: a@x.test, B <b@x.test>\r\nFrom: c@x.test\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nReply-To: a@x.test, B <b@x.test>\r\nX-Original-From:\r\nX-Original-From: a@x.test, B <b@x.test>\r\nX-Original-From: c@x.test\r\n",
        ),
        // Nobody to reply to.
        ("From: root\r\n", "From: \"The Shop\" <shop@own.test>\r\nX-Original-From: root\r\n"),
        (
            "From: Shop@OWN.test\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nX-Original-From: Shop@OWN.test\r\n",
        ),
        ("", "From: \"The Shop\" <shop@own.test>\r\n"),
        // Not sound: only the addresses go there.
        (
            "From: a@x.test, nobody, <b@x.test>\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nReply-To: a@x.test,\r\n b@x.test\r\nX-Original-From: a@x.test, nobody, <b@x.test>\r\n",
        ),
        (
            "From: a@x.test\r\n \r\n",
            "From: \"The Shop\" <shop@own.test>\r\nReply-To: a@x.test\r\nX-Original-From: a@x.test\r\n \r\n",
        ),
        (
            "From: J\u{f6}rg <j@x.test>\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nReply-To: j@x.test\r\nX-Original-From: J\u{f6}rg <j@x.test>\r\n",
        ),
        (
            "From: =?utf-8?q?J=C3=B6rg?= <j@x.test>\r\n",
            "From: \"The Shop\" <shop@own.test>\r\nReply-To: =?utf-8?q?J=C3=B6rg?= <j@x.test>\r\nX-Original-From: =?utf-8?q?J=C3=B6rg?= <j@x.test>\r\n",
        ),
    ] {
        for body in ["\r\nFrom: body\r\n", ""] {
            let content = format!("{header}{body}");
            let gap = if content.is_empty() { "\r\n" } else { "" };
            let seen = relayed(&direct(), &always(), &upstream(None), &content);
            assert_eq!(seen, format!("{expected}{gap}{body}"), "{content:?}");
        }
    }
    let bare = relayed(&direct(), &always(), &upstream(None), "hello\r\nFrom: body\r\n");
    assert_eq!(bare, "From: \"The Shop\" <shop@own.test>\r\n\r\nhello\r\nFrom: body\r\n");
}

#[test]
fn a_from_that_is_right_already_stays() {
    let bare = sender(RewriteWhen::Always, "", "shop@own.test");
    let right = "From: Our Shop <SHOP@own.test>\r\nSender: web@x.test\r\n\r\n";
    assert_eq!(relayed(&direct(), &bare, &upstream(None), right), right);
    assert_eq!(relayed(&direct(), &always(), &upstream(Some("shop@own.test")), right), right);
    for other in [
        "From: Our Shop <shop@own.test>\r\nFrom: shop@own.test\r\n\r\n",
        "From: shop@own.test, root\r\n\r\n",
        "From: shop@own.test, a@x.test\r\n\r\n",
    ] {
        let seen = relayed(&direct(), &bare, &upstream(None), other);
        assert!(
            seen.starts_with("From: shop@own.test\r\n") && seen.contains("\r\nX-Original-From: "),
            "{seen}"
        );
    }
}

#[test]
fn missing_replaces_only_a_from_that_names_nobody() {
    for header in ["From: a@x.test\r\n", "From:\r\nFrom: \"a b\"@x.test\r\n", "From: root, <a@x.test>\r\n"] {
        let content = format!("{header}Sender: s@x.test\r\n\r\n");
        assert_eq!(relayed(&direct(), &missing(), &upstream(None), &content), content);
    }
    for value in ["", " ", " root", " <>", " undisclosed-recipients:;", " a@", "\r\n\t", " \"a@x.test\""] {
        let seen = relayed(&direct(), &missing(), &upstream(None), &format!("From:{value}\r\n\r\n"));
        assert_eq!(seen, format!("From: shop@own.test\r\nX-Original-From:{value}\r\n\r\n"));
    }
    assert_eq!(
        relayed(&direct(), &missing(), &upstream(None), "To: x\r\n\r\n"),
        "From: shop@own.test\r\nTo: x\r\n\r\n"
    );
}

#[test]
fn the_null_reverse_path_and_notices_keep_their_from_but_for_what_an_upstream_wants() {
    let content = b"From: MAILER-DAEMON@mail.test\r\n\r\n";
    let null = message(ReversePath::Null, content);
    let notice = Message { is_notice: true, ..message(from("app@site.test"), content) };
    for message in [null, notice] {
        for handling in [always(), missing()] {
            assert!(!Changes::new(&direct(), &message, &handling, &upstream(None)).needs_header());
            let copy = Changes::new(&copy(&["c@x.test"]), &message, &redirecting(handling), &upstream(None));
            let sent = sent(&copy, &message, content, false, 3);
            assert!(sent.prefix.contains("X-Original-To: c@x.test\r\n"));
            assert_eq!(sent.stored, content);
        }
        let planned = Changes::new(&direct(), &message, &always(), &upstream(Some("account@up.test")));
        let sent = sent(&planned, &message, content, false, 3);
        assert!(sent.prefix.ends_with("\r\nFrom: account@up.test\r\nReply-To: MAILER-DAEMON@mail.test\r\n"));
    }
}

#[test]
fn a_report_copy_says_whom_it_was_for_and_asks_nobody_for_a_receipt() {
    let content = "X-Original-To: forged@x.test\r\nTo: c@customer.test\r\nFrom: a@x.test\r\n\
                   disposition-NOTIFICATION-to : a@x.test,\r\n b@x.test\r\nReturn-Receipt-To: a@x.test\r\n\
                   Return-Receipt-To: b@x.test\r\nDisposition-Notification-To-X: a\r\n\r\nReturn-Receipt-To: body\r\n";
    let expected = "X-Original-To: c@customer.test\r\nX-Original-To: \"a b\"@customer.test\r\n\
                    X-Original-To: forged@x.test\r\nTo: c@customer.test\r\nFrom: a@x.test\r\n\
                    X-Original-Disposition-Notification-To : a@x.test,\r\n b@x.test\r\nX-Original-Return-Receipt-To: a@x.test\r\n\
                    X-Original-Return-Receipt-To: b@x.test\r\nDisposition-Notification-To-X: a\r\n\r\nReturn-Receipt-To: body\r\n";
    let copy = copy(&["c@customer.test", "\"a b\"@customer.test"]);
    let handling = redirecting(Handling::default());
    assert_eq!(relayed(&copy, &handling, &upstream(None), content), expected);
    let seen = relayed(&copy, &redirecting(always()), &upstream(None), content);
    assert!(seen.contains("\r\nFrom: \"The Shop\" <shop@own.test>\r\nReply-To: a@x.test\r\n"), "{seen}");
    assert!(seen.contains("\r\nX-Original-From: a@x.test\r\n"), "{seen}");
}

#[test]
fn a_thousand_original_recipients_make_short_lines() {
    let long = format!("{}@{}.test", "l".repeat(64), "d".repeat(60));
    let originals: Vec<String> = (0..1_000).map(|n| format!("{n}{long}")).collect();
    let copy = copy(&originals.iter().map(String::as_str).collect::<Vec<_>>());
    let seen = relayed(&copy, &redirecting(Handling::default()), &upstream(None), "From: a@x.test\r\n\r\n");
    assert_eq!(seen.matches("X-Original-To: ").count(), 1_000);
    assert!(originals.iter().all(|one| seen.contains(&format!("X-Original-To: {one}\r\n"))));
}

#[test]
fn addresses_that_are_not_ascii_are_encoded_where_they_may_not_stand() {
    let originals = ["d\u{f6}rte@m\u{fc}ller.test", &format!("{}@x.test", "\u{fc}".repeat(120))];
    let message = message(from("app@site.test"), b"From: a@x.test\r\n\r\n");
    let planned =
        Changes::new(&copy(&originals), &message, &redirecting(Handling::default()), &upstream(None));
    let with = planned.header(&SenderFacts::default(), true).original_to;
    assert_eq!(with, format!("X-Original-To: {}\r\nX-Original-To: {}\r\n", originals[0], originals[1]));
    let without = planned.header(&SenderFacts::default(), false).original_to;
    assert!(without.is_ascii() && without.lines().all(|line| line.len() <= READABLE_LINE), "{without}");
    for (field, original) in without.split("X-Original-To: ").skip(1).zip(originals) {
        assert_eq!(crate::event::encoded_words::decode_words(field), original);
    }
}

#[test]
fn a_new_from_that_is_not_ascii_wants_smtputf8_and_stays_out_without() {
    let content = b"From: a@x.test\r\n\r\n";
    let message = message(from("app@site.test"), content);
    let handling = sender(RewriteWhen::Always, "", "\u{fc}@own.test");
    let planned = Changes::new(&direct(), &message, &handling, &upstream(None));
    assert!(planned.wants_smtp_utf8());
    assert_eq!(sent(&planned, &message, content, false, 9).stored, content);
    assert!(sent(&planned, &message, content, true, 9).prefix.contains("\r\nFrom: \u{fc}@own.test\r\n"));
}

#[test]
fn display_names_are_quoted_or_encoded() {
    let field = |name: &str| from_field(&Mailbox { name: name.to_owned(), address: at("shop@own.test") });
    for (name, expected) in [
        ("", "From: shop@own.test\r\n"),
        ("Shop", "From: Shop <shop@own.test>\r\n"),
        ("John Smith", "From: \"John Smith\" <shop@own.test>\r\n"),
        ("a \"b\" \\c", "From: \"a \\\"b\\\" \\\\c\" <shop@own.test>\r\n"),
        ("J\u{f6}rg", "From: =?utf-8?b?SsO2cmc=?= <shop@own.test>\r\n"),
        ("a\r\nBcc: x@y.test", "From: =?utf-8?b?YSAgQmNjOiB4QHkudGVzdA==?= <shop@own.test>\r\n"),
    ] {
        assert_eq!(field(name), expected);
    }
    for name in ["word ".repeat(40), "\u{fc}".repeat(200)] {
        let field = field(&name);
        assert!(field.lines().all(|line| line.len() <= READABLE_LINE), "{field}");
        assert!(field.lines().skip(1).all(|line| line.starts_with(' ')), "{field}");
    }
}

#[test]
fn a_from_of_any_length_is_renamed_in_place_and_not_moved() {
    let value = [b" a@x.test,\r\n".repeat(1_400_000), b" b@x.test\r\n".to_vec()].concat();
    let content = [b"From:", &value[..], b"\r\nbody\r\n"].concat();
    let message = message(from("app@site.test"), &content);
    let planned = Changes::new(&direct(), &message, &always(), &upstream(None));
    let sent = sent(&planned, &message, &content, false, 128 * 1024);
    assert!(sent.prefix.ends_with("\r\nFrom: \"The Shop\" <shop@own.test>\r\n"));
    assert!(sent.stored == [b"X-Original-From:", &value[..], b"\r\nbody\r\n"].concat());
}

/// The stored part as it should leave, and the names of its fields, line by line with the whole content at hand.
fn reference(content: &[u8], renames: &[Rename]) -> (Vec<u8>, Vec<String>) {
    let (mut out, mut names, mut at) = (Vec::new(), Vec::<String>::new(), 0);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let is_fold = matches!(line, [b' ' | b'\t', ..]);
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        let end = line[..colon].trim_ascii_end().len();
        if is_fold && names.is_empty()
            || !is_fold && (end == 0 || !line[..end].iter().all(u8::is_ascii_graphic))
        {
            break;
        }
        let mut rest = line;
        if !is_fold {
            names.push(String::from_utf8_lossy(&line[..end]).to_ascii_lowercase());
            let renamed = renames.iter().find(|one| one.old.eq_ignore_ascii_case(names.last().unwrap()));
            if let Some(rename) = renamed {
                out.extend_from_slice(rename.new.as_bytes());
                rest = &line[end..];
            }
        }
        if !matches!(names.last().unwrap().as_str(), "bcc" | "resent-bcc") {
            out.extend_from_slice(rest);
        }
        at += line.len();
    }
    out.extend_from_slice(&content[at..]);
    (out, names)
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let lines = proptest::sample::select(vec![
        "From: Ann <a@x.test>\r\n",
        "FROM \t: \"x\r\n y\" <a@x.test>\r\n",
        "From:\r\n",
        "From: root\r\n",
        "From: \u{fc}@x.test\r\n",
        "From: a@x.test\r\n \r\n",
        "From: (\\\r\n) <a@x.test>\r\n",
        "From: a@x.test\nBcc: y@x.test\r\n",
        "From: a@x.test\rReply-To: z@x.test\r\n",
        "Fromm: a@x.test\r\n",
        "Sender: s@x.test\r\n",
        "Reply-To: r@x.test\r\n",
        "X-Original-To: forged@x.test\r\n",
        "X-Original-From: forged@x.test\r\n",
        "Disposition-Notification-To: d@x.test\r\n",
        "RETURN-RECEIPT-TO : d@x.test\r\n",
        "Bcc: secret@x.test\r\n",
        "To: c@customer.test\r\n",
        " , b@x.test\r\n",
        "\t\r\n",
        "\r\n",
        "no field\r\n",
        "From",
        ".\r\n",
    ]);
    proptest::collection::vec(lines, 0..10).prop_map(|lines| lines.concat().into_bytes())
}

proptest! {
    /// Whatever the message, the settings and the cuts: what the rules name is changed, and every other byte stays.
    #[test]
    fn nothing_else_is_changed(
        content in content(), report: bool, null: bool, account: bool, utf8: bool, when in 0usize..3, named: bool, cut in 1usize..40,
    ) {
        let when = [RewriteWhen::Never, RewriteWhen::Always, RewriteWhen::Missing][when];
        let handling = sender(when, if named { "J\u{f6}rg" } else { "" }, "shop@own.test");
        let (envelope, handling) = match report {
            true => (copy(&["c@customer.test", "\u{fc}@customer.test"]), redirecting(handling)),
            false => (direct(), handling),
        };
        let own = if null { ReversePath::Null } else { from("app@site.test") };
        let message = message(own.clone(), &content);
        let planned = Changes::new(&envelope, &message, &handling, &upstream(account.then_some("account@up.test")));
        let Sent { prefix, stored, changes } = sent(&planned, &message, &content, utf8, cut);

        let (expected, names) = reference(&content, &changes.renames);
        prop_assert_eq!(&stored, &expected);
        prop_assert!(stored.len() as u64 <= content.len() as u64 + changes.growth);
        if !names.iter().any(|name| name == "bcc") {
            prop_assert_eq!(stored.len() as u64, content.len() as u64 + changes.growth);
        }
        // The prefix: its own fields and no other, whatever the author is called.
        prop_assert!(utf8 || prefix.is_ascii());
        let (_, ours) = reference(prefix.as_bytes(), &[]);
        let count = |names: &[String], name: &str| names.iter().filter(|own| *own == name).count();
        for name in &ours {
            let known = ["received", "x-original-to", "date", "message-id", "from", "reply-to"];
            prop_assert!(known.contains(&name.as_str()), "{}", prefix);
        }
        prop_assert_eq!(count(&ours, "x-original-to"), if report { 2 } else { 0 });
        prop_assert!(prefix.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
        // One From in the end, but for what the application sent and nobody changes; one Reply-To but for its own.
        let (_, left) = reference(&stored, &[]);
        let froms = count(&ours, "from") + count(&left, "from");
        if changes.from.is_some() || count(&names, "from") == 0 {
            prop_assert_eq!(froms, 1);
        } else {
            prop_assert_eq!(froms, count(&names, "from"));
        }
        prop_assert!(count(&ours, "reply-to") == 0 || count(&names, "reply-to") == 0);
        prop_assert!(!report || !left.iter().any(|name| name.starts_with("disp") || name.starts_with("ret")));
        // Who sends it.
        if null {
            prop_assert_eq!(&planned.reverse_path, &ReversePath::Null);
        } else if report || account || when == RewriteWhen::Always {
            prop_assert!(planned.reverse_path != own);
        }
        prop_assert!(!null || account || changes.from.is_none());
    }

    /// A display name is one phrase, whatever stands in it.
    #[test]
    fn no_display_name_breaks_the_field(name in ".{0,300}|[a\r\n\"\\\\<>,:;()=?ü ]{0,60}") {
        let field = from_field(&Mailbox { name, address: at("shop@own.test") });
        prop_assert!(field.is_ascii() && field.ends_with(" <shop@own.test>\r\n") | (field == "From: shop@own.test\r\n"));
        prop_assert_eq!(mailboxes(field["From: ".len()..].trim_end()), ["shop@own.test"]);
        let lines = || field.strip_suffix("\r\n").unwrap().split("\r\n");
        prop_assert!(lines().skip(1).all(|line| line.starts_with(' ') && !line.trim().is_empty()), "{}", field);
        prop_assert!(lines().all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
    }
}
