//! One transaction with servers that refuse, hang, close and talk nonsense (CASES F12 to F36).

use super::{LONG, SHORT, connected, envelope, open, send, short, small, upstream, upstream_at};
use crate::support::scripted::{Act, Script, Scripted};
use postroom::deliver::connection::Connection;
use postroom::deliver::outgoing::Outgoing;
use postroom::deliver::peer_cache::PeerCache;
use postroom::deliver::session_error::SessionErrorKind;
use postroom::deliver::transact::transact;
use postroom::deliver::transaction_result::{RecipientAnswer, TransactionResult};
use postroom::mail::ReversePath;
use std::sync::Arc;

/// The same with a server that says PIPELINING and with one that does not.
async fn with_and_without_pipelining(
    script: impl Fn(Script) -> Script,
    check: impl AsyncFn(&Scripted, &mut Connection),
) {
    for extensions in [&["PIPELINING"][..], &[]] {
        let server = Scripted::start(|plain| script(plain.ehlo(extensions)));
        check(&server, &mut connected(&server).await).await;
    }
}

fn lost(transaction: &TransactionResult) -> Option<SessionErrorKind> {
    transaction.lost.as_ref().map(|error| error.kind)
}

// CASES F18
#[tokio::test]
async fn every_recipient_has_its_own_answer() {
    let script =
        |script: Script| script.on("RCPT TO:<b", "451 4.2.0 later").on("RCPT TO:<c", "550 5.1.1 who?");
    with_and_without_pipelining(script, async |server, connection| {
        let done = send(connection, &["a@y", "b@y", "c@y", "d@y"]).await;
        assert_eq!(short(&done), ["ok", "Rcpt 451", "Rcpt 550", "ok"]);
        assert_eq!((lost(&done), done.began), (None, true));
        assert_eq!(server.wait_for(1)[0].recipients, ["<a@y>", "<d@y>"]);
    })
    .await;
}

// CASES F17
#[tokio::test]
async fn mail_refused_is_the_answer_for_all_and_the_session_goes_on() {
    let script = |script: Script| script.once("MAIL", "550 5.7.1 not you").once("MAIL", "451 4.3.0 later");
    with_and_without_pipelining(script, async |server, connection| {
        assert_eq!(short(&send(connection, &["a@y", "b@y"]).await), ["Mail 550", "Mail 550"]);
        assert_eq!(short(&send(connection, &["a@y", "b@y"]).await), ["Mail 451", "Mail 451"]);
        assert_eq!(short(&send(connection, &["a@y"]).await), ["ok"]);
        assert_eq!(server.sessions().len(), 1);
    })
    .await;
}

// CASES F22
#[tokio::test]
async fn after_a_refused_transaction_the_next_one_starts_clean() {
    let script = |script: Script| script.once("DATA", "451 4.3.0 later").once("RCPT TO:<late", "550 no");
    with_and_without_pipelining(script, async |server, connection| {
        assert_eq!(short(&send(connection, &["a@y", "late@y"]).await), ["Data 451", "Rcpt 550"]);
        assert_eq!(short(&send(connection, &["b@y"]).await), ["ok"]);
        assert_eq!(server.wait_for(1)[0].recipients, ["<b@y>"]);
        assert!(server.sessions()[0].commands.contains(&"RSET".to_owned()));
    })
    .await;
}

// CASES F19
#[tokio::test]
async fn without_recipients_nothing_is_sent_even_after_354() {
    let server =
        Scripted::start(|script| script.ehlo(&["PIPELINING"]).on("RCPT", "550 no").on("DATA", "354 go"));
    let mut connection = connected(&server).await;
    let done = send(&mut connection, &["a@y", "b@y"]).await;
    assert_eq!((short(&done), lost(&done)), (vec!["Rcpt 550".to_owned(); 2], None));
    assert!(!connection.is_reusable());
    connection.quit().await;
    let raw = server.wait_for_ends(1).remove(0).raw;
    assert!(raw.ends_with(b"DATA\r\n"), "{}", String::from_utf8_lossy(&raw));
}

// CASES F12
#[tokio::test]
async fn what_a_message_needs_and_is_not_there_is_found_out_without_talking() {
    let server = Scripted::start(|script| script.ehlo(&["SIZE 1000", "PIPELINING"]));
    let mut connection = connected(&server).await;
    let mut large = envelope(&["a@y"]);
    large.size = 1_001;
    let foreign = envelope(&["ü@y"]);
    let mut from_foreign = envelope(&["a@y"]);
    from_foreign.reverse_path = ReversePath::Address("ü@x.test".parse().unwrap());
    for (envelope, missing) in [(large, "Size"), (foreign, "SmtpUtf8"), (from_foreign, "SmtpUtf8")] {
        let done = transact(&mut connection, &envelope, &mut small()).await;
        assert_eq!((short(&done), done.began), (vec![missing.to_owned()], false));
    }
    let mut fits = envelope(&["a@y"]);
    fits.size = 1_000;
    assert_eq!(short(&transact(&mut connection, &fits, &mut small()).await), ["ok"]);
    assert_eq!(server.sessions()[0].commands.len(), 4);
}

/// An address that is not ASCII is nobody else's trouble, whatever MAIL, RCPT, DATA and the dot are answered with.
#[tokio::test]
async fn who_needs_smtputf8_is_left_out_and_the_others_are_offered() {
    for (step, reply, expected) in [
        ("<none>", "", ["ok", "SmtpUtf8", "ok", "SmtpUtf8"]),
        ("MAIL", "451 later", ["Mail 451", "SmtpUtf8", "Mail 451", "SmtpUtf8"]),
        ("RCPT TO:<c", "550 no", ["ok", "SmtpUtf8", "Rcpt 550", "SmtpUtf8"]),
        ("DATA", "550 no", ["Data 550", "SmtpUtf8", "Data 550", "SmtpUtf8"]),
        ("DATA", "250 what?", ["undecided", "SmtpUtf8", "undecided", "SmtpUtf8"]),
    ] {
        with_and_without_pipelining(
            |script| script.on(step, reply),
            async |server, connection| {
                let done = send(connection, &["a@y", "ü@y", "c@y", "u@ü"]).await;
                assert_eq!(short(&done), expected, "{step} {reply}");
                let commands = server.sessions()[0].commands.concat();
                assert!(commands.contains("MAIL FROM:<a@x.test>") && commands.is_ascii(), "{commands}");
            },
        )
        .await;
    }
}

// CASES F21
#[tokio::test]
async fn data_answered_with_250_is_nonsense() {
    with_and_without_pipelining(
        |script| script.on("DATA", "250 fine"),
        async |_, connection| {
            let done = send(connection, &["a@y"]).await;
            assert_eq!(
                (short(&done), lost(&done)),
                (vec!["undecided".to_owned()], Some(SessionErrorKind::Lost))
            );
            assert!(!connection.is_reusable());
        },
    )
    .await;
}

// CASES F13
#[tokio::test]
async fn a_server_that_answers_out_of_step_is_dropped_and_then_asked_one_thing_at_a_time() {
    let server =
        Scripted::start(|script| script.ehlo(&["PIPELINING"]).once("RCPT", "250 ok\r\n250 ok again"));
    let (upstream, peer_cache) = (upstream(&server), Arc::new(PeerCache::default()));
    let mut connection = Connection::open(&upstream, "mail.test", &peer_cache).await.unwrap();
    let done = send(&mut connection, &["a@y"]).await;
    assert_eq!((short(&done), lost(&done)), (vec!["undecided".to_owned()], Some(SessionErrorKind::Lost)));
    server.change(|script| script.on("RCPT TO:<no", "550 no"));
    let mut connection = Connection::open(&upstream, "mail.test", &peer_cache).await.unwrap();
    assert_eq!(short(&send(&mut connection, &["no@y"]).await), ["Rcpt 550"]);
    // Had DATA been sent along, it would have come.
    assert_eq!(server.sessions()[1].commands, ["EHLO mail.test", "MAIL FROM:<a@x.test>", "RCPT TO:<no@y>"]);
    assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
}

// CASES F13
#[tokio::test]
async fn a_reply_too_many_refuses_nobody() {
    for (step, replies) in
        [("MAIL", "250 ok\r\n550 no"), ("RCPT TO:<b", "250 ok\r\n550 no"), ("DATA", "354 go\r\n250 ok")]
    {
        with_and_without_pipelining(
            |script| script.on(step, replies),
            async |server, connection| {
                let done = send(connection, &["a@y", "b@y", "c@y"]).await;
                assert_eq!(short(&done), ["undecided"; 3], "{step}");
                assert_eq!(lost(&done), Some(SessionErrorKind::Lost));
                assert!(server.transactions().is_empty());
            },
        )
        .await;
    }
}

// CASES F33
#[tokio::test]
async fn replies_that_came_count_though_the_server_closed_while_we_pipelined() {
    let server =
        Scripted::start(|script| script.ehlo(&["PIPELINING"]).on("MAIL", Act::last("550 5.7.1 go away")));
    let done = send(&mut connected(&server).await, &["a@y", "b@y"]).await;
    assert_eq!((short(&done), lost(&done)), (vec!["Mail 550".to_owned(); 2], None));
    let server =
        Scripted::start(|script| script.ehlo(&["PIPELINING"]).on("RCPT TO:<b", Act::last("550 5.1.1 no")));
    let done = send(&mut connected(&server).await, &["a@y", "b@y", "c@y"]).await;
    assert_eq!(short(&done), ["undecided", "Rcpt 550", "undecided"]);
    assert_eq!(lost(&done), Some(SessionErrorKind::Lost));
}

// CASES F34
#[tokio::test]
async fn a_421_ends_the_session_and_decides_nothing_before_the_dot() {
    for step in ["MAIL", "RCPT TO:<b", "DATA"] {
        with_and_without_pipelining(
            |script| script.on("RCPT TO:<a", "550 no").on(step, Act::last("421 4.3.2 closing")),
            async |_, connection| {
                let done = send(connection, &["a@y", "b@y"]).await;
                let first = if step == "MAIL" { "undecided" } else { "Rcpt 550" };
                assert_eq!(short(&done), [first, "undecided"], "{step}");
                assert_eq!(lost(&done), Some(SessionErrorKind::Lost));
                assert!(done.lost.unwrap().text.contains("421 4.3.2 closing") && !connection.is_reusable());
            },
        )
        .await;
    }
}

/// It is an explicit refusal, so nothing is unknown; and it ends the session, so nothing is decided about the mail.
// CASES F34
#[tokio::test]
async fn a_421_to_the_final_dot_is_a_lost_session_and_not_unknown() {
    let server = Scripted::start(|script| script.at_dot(Act::last("421 4.3.2 closing")));
    let done = send(&mut connected(&server).await, &["a@y"]).await;
    assert_eq!((short(&done), lost(&done)), (vec!["undecided".to_owned()], Some(SessionErrorKind::Lost)));
}

// CASES F22, F29, F31, F36
#[tokio::test]
async fn at_the_final_dot_any_valid_reply_decides() {
    for (reply, expected) in [
        ("250", "ok"),
        ("250 ", "ok"),
        ("250-2.0.0 queued\n250 2.0.0 as 1", "ok"),
        ("299 whatever", "ok"),
        ("451 4.3.0 later", "Content 451"),
        ("554 5.7.1 spam", "Content 554"),
    ] {
        let server = Scripted::start(|script| script.at_dot(reply));
        let done = send(&mut connected(&server).await, &["a@y"]).await;
        assert_eq!((short(&done), lost(&done)), (vec![expected.to_owned()], None), "{reply}");
    }
    let server =
        Scripted::start(|script| script.at_dot(Act::Say(b"250 Zugestellt f\xfcr \0 Sie\r\n".to_vec())));
    let done = send(&mut connected(&server).await, &["a@y"]).await;
    let RecipientAnswer::Accepted(reply) = &done.answers[0] else { panic!("{done:?}") };
    assert_eq!(reply.to_string(), "250 Zugestellt f\\xfcr   Sie");
}

// CASES F25, F26, F27, F28
#[tokio::test]
async fn at_the_final_dot_everything_else_leaves_it_unknown() {
    for act in [
        Act::Close,
        Act::Hang,
        Act::last("354 go on"),
        Act::SayAndClose(b"250-".to_vec()),
        Act::SayAndClose(b"250 ok".to_vec()),
        Act::last("850 NONSENSE"),
        Act::last("250-a\r\n550 b"),
        Act::last("bogus"),
        Act::last(&"250-x\r\n".repeat(100_000)),
    ] {
        let server = Scripted::start(|script| script.on("RCPT TO:<b", "550 no").at_dot(act.clone()));
        let upstream = upstream_at(server.port(), |upstream| upstream.final_timeout = SHORT);
        let done = send(&mut open(&upstream).await.unwrap(), &["a@y", "b@y"]).await;
        assert_eq!(short(&done), ["unknown", "Rcpt 550"], "{act:?}");
        assert_eq!(lost(&done), Some(SessionErrorKind::Lost));
    }
}

#[tokio::test]
async fn the_reply_to_the_final_dot_has_a_deadline_of_its_own() {
    let server = Scripted::start(|script| script.at_dot(Act::later(SHORT * 2, "250 at last")));
    let upstream = upstream_at(server.port(), |upstream| upstream.data_timeout = SHORT);
    assert_eq!(short(&send(&mut open(&upstream).await.unwrap(), &["a@y"]).await), ["ok"]);
}

fn large() -> Outgoing {
    Outgoing::memory("", "x".repeat(78).into_bytes().repeat(500_000), false)
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_the_content_counts() {
    for (act, expected) in [
        (Act::last("552 5.3.4 too much"), "Content 552"),
        (Act::last("451 4.3.1 full"), "Content 451"),
        (Act::last("421 4.3.2 closing"), "undecided"),
        (Act::last("250 thanks"), "undecided"),
        (Act::Close, "undecided"),
    ] {
        let server = Scripted::start(|script| script.in_content(1_000_000, act.clone()));
        let done = transact(&mut connected(&server).await, &envelope(&["a@y"]), &mut large()).await;
        assert_eq!(short(&done), [expected], "{act:?}");
        assert_eq!(lost(&done).is_some(), expected == "undecided");
    }
}

#[tokio::test]
async fn a_refusal_is_heard_while_the_server_reads_no_more() {
    // It neither reads nor closes: only whoever listens while writing notices before the time is over.
    let server =
        Scripted::start(|script| script.in_content(1_000_000, "552 5.3.4 too much").on("NEVER", Act::Hang));
    let start = std::time::Instant::now();
    let done = transact(&mut connected(&server).await, &envelope(&["a@y"]), &mut large()).await;
    assert_eq!(short(&done), ["Content 552"]);
    assert!(start.elapsed() < LONG);
}

// CASES F23
#[tokio::test]
async fn a_server_that_stops_reading_is_given_up_before_the_dot() {
    let server = Scripted::start(|script| script.in_content(100_000, Act::Hang));
    let upstream = upstream_at(server.port(), |upstream| upstream.data_timeout = SHORT);
    let done = transact(&mut open(&upstream).await.unwrap(), &envelope(&["a@y"]), &mut large()).await;
    assert_eq!((short(&done), lost(&done)), (vec!["undecided".to_owned()], Some(SessionErrorKind::Lost)));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    for step in ["MAIL", "RCPT", "DATA"] {
        let server = Scripted::start(|script| script.on(step, Act::Hang));
        let upstream = upstream_at(server.port(), |upstream| upstream.command_timeout = SHORT);
        let done = send(&mut open(&upstream).await.unwrap(), &["a@y"]).await;
        assert_eq!((short(&done), lost(&done)), (vec!["undecided".to_owned()], Some(SessionErrorKind::Lost)));
    }
}

#[tokio::test]
async fn a_thousand_recipients_pass_whatever_the_server_says_of_each() {
    let long = format!("250 2.1.5 {}", "x".repeat(400));
    with_and_without_pipelining(
        |script| script.on("RCPT TO:<r500@", "452 4.5.3 too many").on("RCPT", &*long),
        async |server, connection| {
            let recipients: Vec<String> = (0..1_000).map(|number| format!("r{number}@y.test")).collect();
            let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
            let done = send(connection, &recipients).await;
            let answers = short(&done);
            assert_eq!(answers[500], "Rcpt 452");
            assert_eq!(answers.iter().filter(|answer| *answer == "ok").count(), 999);
            assert_eq!(server.wait_for(1)[0].recipients.len(), 999);
        },
    )
    .await;
}

#[tokio::test]
async fn with_pipelining_all_commands_leave_before_the_first_reply() {
    // It reads once, then never again: what it has seen came in one write.
    let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]).on("MAIL", Act::Hang));
    let upstream = upstream_at(server.port(), |upstream| upstream.command_timeout = SHORT);
    send(&mut open(&upstream).await.unwrap(), &["a@y", "b@y"]).await;
    let raw = server.sessions()[0].raw.clone();
    let commands = "EHLO mail.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n";
    assert_eq!(String::from_utf8_lossy(&raw), commands);
}

#[tokio::test]
async fn content_that_cannot_be_read_is_never_ended() {
    let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]));
    let mut connection = connected(&server).await;
    let (queue, message) = super::broken::queue_with_two_chunks_of_three();
    let mut outgoing = Outgoing::stored("Received: x\r\n", queue, &message, Default::default());
    let done = transact(&mut connection, &envelope(&["a@y"]), &mut outgoing).await;
    assert_eq!((short(&done), lost(&done)), (vec!["undecided".to_owned()], Some(SessionErrorKind::Content)));
    assert!(!connection.is_reusable());
    connection.quit().await;
    let raw = server.wait_for_ends(1).remove(0).raw;
    assert!(raw.ends_with(b"half\r\n") && server.transactions().is_empty());
}

// CASES H1
#[tokio::test]
async fn protection_wanted_at_mail_began_nothing() {
    with_and_without_pipelining(
        |script| script.on("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
        async |_, connection| {
            let done = send(connection, &["a@y", "b@y"]).await;
            assert_eq!((short(&done), done.began), (vec!["Mail 530".to_owned(); 2], false));
            assert_eq!(lost(&done), Some(SessionErrorKind::Unauthorized));
            assert!(done.lost.unwrap().text.contains("530 5.7.0 Must issue") && !connection.is_reusable());
        },
    )
    .await;
}
