//! Our own notices (rule 9): who is told of what, and what the notice says to people and to programs.

use super::stage::{Stage, at, server, upstream};
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::free_address;
use crate::support::scripted::{Act, Received, Script, Scripted};
use postroom::event::code;
use postroom::mail::{Message, MessageState, Notify, Recipient, RecipientState, ReversePath};
use postroom::queue::OperatorAction;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const CONTENT: &[u8] =
    b"From: a@x.test\r\nTo: b@y.test\r\nBcc: secret@y.test\r\nSubject: =?utf-8?Q?Your_order_=E2=9C=93?=\r\n\
      Message-ID: <order-4711@x.test>\r\n\r\nbody of the message\r\n.\r\n";

/// As reception would have it, and nothing is asked of notices.
pub(super) fn unsaid(message: &mut Message) {
    message.header.has_message_id = true;
    message.header.subject = Some("=?utf-8?Q?Your_order_=E2=9C=93?=".to_owned());
    ask(message, Notify::Unsaid);
}

pub(super) fn ask(message: &mut Message, notify: Notify) {
    message.recipients.iter_mut().for_each(|one: &mut Recipient| one.notify = notify);
}

pub(super) fn of(success: bool, failure: bool, delay: bool) -> Notify {
    Notify::Of { success, failure, delay }
}

/// Refuses b@ for good, c@ for now.
pub(super) fn refusing(script: Script) -> Script {
    script.on("RCPT TO:<b@", "550 5.1.1 who?").on("RCPT TO:<c@", "451 4.2.0 later")
}

pub(super) fn bounces(server: &Scripted) -> Vec<Received> {
    server.transactions().into_iter().filter(|one| one.mail.starts_with("<>")).collect()
}

pub(super) async fn one_bounce(stage: &Stage, server: &Scripted) -> Received {
    let bounce = stage.until("a bounce", async || bounces(server).pop()).await;
    assert_eq!((bounces(server).len(), stage.count(code::BOUNCED).await), (1, 1));
    bounce
}

/// A stage with one upstream, and `more` in its configuration.
pub(super) async fn stage(only: &Scripted, more: &str) -> Stage {
    Stage::start(&(upstream("only", only, "") + more)).await
}

/// What Python's email package reads in a notice: its header, the text, the blocks of its status, what is returned.
pub(super) fn parsed(content: &[u8]) -> Value {
    const SCRIPT: &str = r#"
import email, email.policy, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.SMTP)
assert m.get_content_type() == "multipart/report", m.get_content_type()
assert not m.defects, m.defects
text, status, returned = m.iter_parts()
assert text.get_content_type() == "text/plain"
raw = status.get_payload()
blocks = raw if isinstance(raw, list) else email.message_from_bytes(status.get_payload(decode=True)).get_payload()
if isinstance(blocks, str):
    blocks = [email.message_from_string(block) for block in status.get_payload(decode=True).decode().strip().split("\r\n\r\n")]
kind = returned.get_content_type()
back = returned.get_payload(0).as_bytes() if returned.is_multipart() else returned.get_payload(decode=True)
print(json.dumps({
    "header": {name: str(value) for name, value in m.items()},
    "report_type": m.get_param("report-type"),
    "text": text.get_content(),
    "status_type": status.get_content_type(),
    "status": [[[name, " ".join(str(value).split())] for name, value in block.items()] for block in blocks],
    "kind": kind,
    "returned": back.decode("utf-8", "replace"),
}))
"#;
    let output = succeeded(Command::new("python3").args(["-c", SCRIPT]), content);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Of the block about a recipient.
pub(super) fn field(report: &Value, block: usize, name: &str) -> Vec<String> {
    let fields = report["status"][block].as_array().unwrap();
    let named = fields.iter().filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}

/// Who bounced, as the parser of Debian's libmail-deliverystatus-bounceparser-perl sees it; none where it is not installed.
#[track_caller]
fn bounced(content: &[u8]) -> Option<Vec<String>> {
    const SCRIPT: &str = "use Mail::DeliveryStatus::BounceParser; local $/; \
        my $b = Mail::DeliveryStatus::BounceParser->new(scalar <STDIN>); die 'no bounce' unless $b->is_bounce; \
        print join(' ', map { $_->get('email') . '=' . $_->get('std_reason') } $b->reports);";
    if !have(&["perl", "/usr/share/perl5/Mail/DeliveryStatus/BounceParser.pm"]) {
        return None;
    }
    // It reads what is in a mailbox, where lines end as on Unix.
    let content = String::from_utf8_lossy(content).replace("\r\n", "\n");
    let output = succeeded(Command::new("perl").args(["-e", SCRIPT]), content.as_bytes());
    Some(String::from_utf8(output.stdout).unwrap().split(' ').map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_told_what_failed_who_said_so_and_what_to_do() {
    let only = server(refusing);
    let stage = stage(&only, "").await;
    let id = stage.put_content(&["good@y.test", "b@y.test", "c@y.test"], CONTENT, |message| {
        unsaid(message);
        message.envelope_id = Some("QQ+2B1".to_owned());
        message.recipients[1].original_recipient = Some("rfc822;B+2Bx@y.test".to_owned());
    });
    let id = id.await;
    let bounce = one_bounce(&stage, &only).await;
    assert_eq!(bounce.recipients, ["<a@x.test>"]);
    let report = parsed(&bounce.content);
    let header = &report["header"];
    assert_eq!(header["From"], "Mail Delivery System <MAILER-DAEMON@mail.test>");
    assert_eq!((&header["To"], &header["Auto-Submitted"]), (&json!("a@x.test"), &json!("auto-replied")));
    assert_eq!(header["References"], "<order-4711@x.test>");
    assert_eq!(
        (&report["report_type"], &report["status_type"]),
        (&json!("delivery-status"), &json!("message/delivery-status"))
    );
    let text = report["text"].as_str().unwrap();
    for said in ["Your order \u{2713}", "<b@y.test>", "(only) said: 550 5.1.1 who?", "check the address"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(report["status"].as_array().unwrap().len(), 2, "of those alone that failed");
    assert_eq!(field(&report, 0, "Reporting-MTA"), ["dns; mail.test"]);
    assert_eq!(field(&report, 0, "Original-Envelope-Id"), ["QQ+1"]);
    for (name, value) in [
        ("Original-Recipient", "rfc822; B+x@y.test"),
        ("Final-Recipient", "rfc822; b@y.test"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; 127.0.0.1"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 who?"),
    ] {
        assert_eq!(field(&report, 1, name), [value]);
    }
    assert_eq!(report["kind"], "text/rfc822-headers");
    let returned = report["returned"].as_str().unwrap();
    assert!(returned.starts_with("From: a@x.test\r\nTo: b@y.test\r\nSubject:"), "{returned}");
    assert!(!returned.contains("body of the message"), "{returned}");
    assert!(bounced(&bounce.content).is_none_or(|all| all == ["B+x@y.test=user_unknown"]));
    // It stays, and an operator may try again; that it fails once more is no news.
    stage.queue.act(OperatorAction::Retry, vec![id]).await.unwrap();
    stage.wait_for_event("b@y.test", 2).await;
    stage.when(id, |message| message.recipients[1].state == RecipientState::Failed).await;
    assert_eq!(stage.count(code::BOUNCED).await, 1);
    stage.stop().await;
}

// CASES F36
#[tokio::test(flavor = "multi_thread")]
async fn no_reply_forges_a_field_of_the_report() {
    let reply =
        b"550 5.1.1 no\rAction: delivered\0\xfc \x1b[2J Final-Recipient: rfc822; forged@y.test =?x?=\r\n"
            .to_vec();
    let long = [b"554 5.7.1 ".to_vec(), b"x".repeat(480), b"\r\n".to_vec()].concat();
    let only = server(|s| s.on("RCPT TO:<b@", Act::Say(reply)).on("RCPT TO:<d@", Act::Say(long)));
    let stage = stage(&only, "").await;
    stage.put_content(&["b@y.test", "d@y.test"], CONTENT, unsaid).await;
    let bounce = one_bounce(&stage, &only).await;
    assert!(bounce.content.is_ascii() && !bounce.content.contains(&0) && !bounce.content.contains(&0x1b));
    assert!(bounce.content.split(|byte| *byte == b'\n').all(|line| line.len() <= 998));
    let report = parsed(&bounce.content);
    assert_eq!(report["status"].as_array().unwrap().len(), 3);
    assert_eq!(field(&report, 1, "Final-Recipient"), ["rfc822; b@y.test"]);
    assert_eq!(field(&report, 1, "Action"), ["failed"]);
    assert_eq!(field(&report, 2, "Final-Recipient"), ["rfc822; d@y.test"]);
    let all = bounced(&bounce.content).unwrap_or_default();
    let is_ours = |one: &String| one.starts_with("b@y.test=") || one.starts_with("d@y.test=");
    assert!(all.iter().all(is_ours), "{all:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_who_did_not_want_to_be_or_must_not_be() {
    type Change = fn(&mut Message);
    let changes: [Change; 4] = [
        |message| ask(message, Notify::Never),
        |message| ask(message, of(true, false, true)),
        |message| message.reverse_path = ReversePath::Null,
        |message| message.is_notice = true,
    ];
    let only = server(refusing);
    let stage = stage(&only, "").await;
    let mut put = Vec::new();
    for change in changes {
        put.push(
            stage
                .put_changed(&["b@y.test"], |message| {
                    unsaid(message);
                    change(message);
                })
                .await,
        );
    }
    for id in &put[..3] {
        stage.when(*id, |message| message.state() == MessageState::Failed).await;
    }
    stage.delivered(put[3]).await;
    assert_eq!(stage.count(code::BOUNCED).await, 0);
    assert!(only.transactions().is_empty());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mode_decided_causes_none() {
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"b@own.test\"]\n";
    for (mode, notify) in
        [(redirect, Notify::Unsaid), ("[debug]\nenabled = true\nfailure_rate = 0\n", of(true, true, true))]
    {
        let only = server(refusing);
        let stage = stage(&only, mode).await;
        let id = stage.put_changed(&["a@y.test"], |message| ask(message, notify)).await;
        match notify {
            Notify::Unsaid => drop(stage.when(id, |message| message.state() == MessageState::Failed).await),
            _ => stage.delivered(id).await,
        }
        assert_eq!((stage.count(code::BOUNCED).await, only.transactions().len()), (0, 0), "{mode}");
        stage.stop().await;
    }
}

// CASES F40
#[tokio::test(flavor = "multi_thread")]
async fn one_notice_tells_of_all_that_expired() {
    let stage = Stage::start(&at("only", free_address().port(), "")).await;
    let id = stage.put_changed(&["b@y.test", "c@y.test"], unsaid).await;
    stage.wait_for_event(code::CIRCUIT_OPEN, 1).await;
    stage.clock.advance(6 * DAY);
    // In steps in which its circuit stays open for a while.
    let is_over = async || {
        stage.clock.advance(Duration::from_secs(2));
        stage.queue.show(id).await.unwrap().due.is_none().then_some(())
    };
    stage.until("the end of its life", is_over).await;
    let good = server(|s| s);
    stage.configure(&upstream("only", &good, ""));
    // However long its circuit stays open: a probe of before may fail meanwhile.
    let arrives = async || {
        stage.clock.advance(Duration::from_secs(2));
        bounces(&good).pop()
    };
    stage.until("a bounce", arrives).await;
    let bounce = one_bounce(&stage, &good).await;
    let report = parsed(&bounce.content);
    for (block, address) in [(1, "rfc822; b@y.test"), (2, "rfc822; c@y.test")] {
        assert_eq!(field(&report, block, "Final-Recipient"), [address]);
        assert_eq!(
            (field(&report, block, "Action"), field(&report, block, "Status")),
            (vec!["failed".to_owned()], vec!["4.4.7".to_owned()])
        );
        assert!(
            field(&report, block, "Diagnostic-Code")[0].starts_with("x-postroom; no upstream was available")
        );
    }
    assert!(bounced(&bounce.content).is_none_or(|all| all.len() == 2));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_it_is_told_once_that_it_is_late() {
    let only = server(refusing);
    let stage = stage(&only, "").await;
    let asked = stage.put_changed(&["c@y.test"], |message| ask(message, of(false, true, true))).await;
    let unsaid = stage.put_changed(&["c@y.test"], |message| ask(message, Notify::Unsaid)).await;
    for (attempts, hours) in [(1, 0), (2, 3), (3, 2), (4, 2)] {
        stage.clock.advance(hours * HOUR);
        stage.when_attempted(asked, attempts).await;
        stage.when_attempted(unsaid, attempts).await;
        assert_eq!(stage.count(code::BOUNCED).await, usize::from(attempts >= 3), "attempt {attempts}");
        if attempts >= 3 {
            // Before the clock jumps over the attempt that it is sent in.
            one_bounce(&stage, &only).await;
        }
    }
    let report = parsed(&one_bounce(&stage, &only).await.content);
    assert_eq!(field(&report, 1, "Action"), ["delayed"]);
    assert_eq!(field(&report, 1, "Status"), ["4.2.0"]);
    assert_eq!(field(&report, 1, "Will-Retry-Until").len(), 1);
    assert!(report["text"].as_str().unwrap().contains("It need not be sent again"));
    stage.stop().await;
}

/// No attempt ends that could tell: there is none.
#[tokio::test(flavor = "multi_thread")]
async fn whose_mail_waits_for_upstreams_that_are_down_is_told_that_it_is_late() {
    let down = free_address();
    let only = at("only", down.port(), "");
    let more = "[site.shop]\nsenders = [\"@shop.test\"]\n[site.shop.redirect]\nenabled = true\n\
                report_emails = [\"qa@r.test\"]\n";
    let stage = Stage::start(&(only.clone() + more)).await;
    let asked =
        stage.put_changed(&["c@y.test", "d@y.test"], |message| ask(message, of(false, true, true))).await;
    stage.put_changed(&["c@y.test"], |message| ask(message, Notify::Unsaid)).await;
    // Whom nobody tells: the null reverse-path, and mail under a mode.
    stage
        .put_changed(&["c@y.test"], |message| {
            ask(message, of(false, true, true));
            message.reverse_path = ReversePath::Null;
        })
        .await;
    stage
        .put_changed(&["c@y.test"], |message| {
            ask(message, of(false, true, true));
            message.site = "shop".to_owned();
        })
        .await;
    stage
        .until("the circuit is open", async || (stage.count(code::CIRCUIT_OPEN).await > 0).then_some(()))
        .await;
    stage.clock.advance(4 * HOUR);
    stage
        .until("a notice", async || {
            // While it probes it is not looked at, and a minute later it is.
            stage.clock.advance(Duration::from_secs(2));
            (stage.count(code::BOUNCED).await > 0).then_some(())
        })
        .await;
    for _ in 0..3 {
        // Later maintenance finds nothing more to tell.
        stage.clock.advance(HOUR);
    }
    let about = stage.when(asked, |_| true).await;
    assert_eq!((about.state(), about.attempts, about.delay_told), (MessageState::Queued, 0, true));
    assert_eq!(about.due, about.due.min(Some(stage.queue.now())), "due as before");
    // With an upstream there, mail leaves, and one notice with it.
    let server = server(|script| script);
    stage.configure(&(upstream("only", &server, "") + more));
    let notices = stage
        .until("all is sent", async || {
            // However long its circuit stays open.
            stage.clock.advance(Duration::from_secs(2));
            let all = server.transactions();
            (all.len() == 5)
                .then(|| all.into_iter().filter(|one| one.mail.starts_with("<>")).collect::<Vec<_>>())
        })
        .await;
    let notice = notices.iter().find(|one| one.recipients == ["<a@x.test>"]).unwrap();
    let report = parsed(&notice.content);
    assert_eq!(field(&report, 1, "Action"), ["delayed"]);
    assert_eq!(field(&report, 2, "Status"), ["4.4.1"]);
    assert!(report["text"].as_str().unwrap().contains("no upstream was available; only: "));
    assert_eq!(stage.count(code::BOUNCED).await, 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_success_is_told_where_the_upstream_does_not_report() {
    for (extensions, told) in [(&["PIPELINING"][..], 1), (&["PIPELINING", "DSN"], 0)] {
        let only = Scripted::start(|s| s.ehlo(extensions));
        let stage = stage(&only, "").await;
        let id = stage
            .put_changed(&["b@y.test", "d@y.test"], |message| {
                message.recipients[0].notify = of(true, true, false)
            })
            .await;
        stage.delivered(id).await;
        assert_eq!(stage.count(code::BOUNCED).await, told);
        if told > 0 {
            let report = parsed(&one_bounce(&stage, &only).await.content);
            assert_eq!(report["status"].as_array().unwrap().len(), 2);
            assert_eq!(
                (field(&report, 1, "Action"), field(&report, 1, "Status")),
                (vec!["relayed".to_owned()], vec!["2.0.0".to_owned()])
            );
        }
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_to_whom_the_settings_say_and_obeys_the_modes_of_its_site() {
    let report = "report_emails = [\"qa@own.test\", { email = \"off@own.test\", enabled = false }]\n";
    for (more, to) in [
        ("[sender]\nrewrite = \"always\"\naddress = \"shop@own.test\"\n".to_owned(), Some("<shop@own.test>")),
        (format!("[queue]\nbounce = \"report\"\n[redirect]\n{report}"), Some("<qa@own.test>")),
        ("[queue]\nbounce = \"none\"\n".to_owned(), None),
        // The message itself is allowed out; the notice to its sender is not.
        (format!("[redirect]\nenabled = true\nallow = [\"b@y.test\"]\n{report}"), None),
    ] {
        let only = server(refusing);
        let stage = stage(&only, &more).await;
        let id = stage.put_content(&["b@y.test"], CONTENT, unsaid).await;
        stage.when(id, |message| message.state() == MessageState::Failed).await;
        match (to, more.contains("enabled = true")) {
            (Some(to), _) => assert_eq!(one_bounce(&stage, &only).await.recipients, [to], "{more}"),
            (None, false) => assert_eq!(stage.count(code::BOUNCED).await, 0, "{more}"),
            (None, true) => {
                let copy = one_bounce(&stage, &only).await;
                assert_eq!(copy.recipients, ["<qa@own.test>"]);
                assert!(String::from_utf8_lossy(&copy.content).contains("X-Original-To: a@x.test\r\n"));
            }
        }
        stage.stop().await;
    }
}

// CASES F39
#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_that_is_refused_is_dropped_and_causes_none() {
    let only = server(|s| s.on("RCPT", "550 5.1.1 nobody here"));
    let stage = stage(&only, "").await;
    let id = stage.put_content(&["b@y.test"], CONTENT, unsaid).await;
    stage.when(id, |message| message.state() == MessageState::Failed).await;
    stage.wait_for_event("a@x.test", 1).await;
    stage
        .until("the bounce to be dropped", async || (stage.queue.status().messages() == 1).then_some(()))
        .await;
    let events = stage.events().await;
    let refused = events.iter().filter(|event| event.fact.code == "a@x.test").count();
    assert_eq!((stage.count(code::BOUNCED).await, refused), (1, 1));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_utf8_gets_it_as_it_is() {
    let only = Scripted::start(|s| {
        s.ehlo(&["PIPELINING", "SMTPUTF8", "8BITMIME"]).on("RCPT TO:<j", "550 5.1.1 gibt\u{2019}s nicht")
    });
    let stage = stage(&only, "").await;
    stage
        .put_content(&["j\u{f6}rg@y.test"], CONTENT, |message| {
            unsaid(message);
            message.smtp_utf8 = true;
        })
        .await;
    let bounce = one_bounce(&stage, &only).await;
    let report = parsed(&bounce.content);
    assert_eq!(
        (&report["status_type"], &report["kind"]),
        (&json!("message/global-delivery-status"), &json!("text/rfc822-headers"))
    );
    let text = String::from_utf8(bounce.content).unwrap();
    assert!(text.contains("\r\nFinal-Recipient: utf-8; j\u{f6}rg@y.test\r\n"), "{text}");
    assert!(text.contains("\r\nDiagnostic-Code: smtp; 550 5.1.1 gibt\u{2019}s nicht\r\n"), "{text}");
    stage.stop().await;
}
