//! `postroom sendmail` as programs call it.

use crate::support::clients::succeeded;
use crate::support::proxy::{BINARY, Proxy, postroom};
use crate::support::recorder::{Recorded, Recorder, added};
use crate::support::scripted::{Act, Scripted};
use crate::support::{eventually, free_address, not_proved_here};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn command(server: impl std::fmt::Display, arguments: &[&str]) -> Command {
    let mut command = postroom();
    command.arg("sendmail").args(arguments).env("POSTROOM_SENDMAIL", server.to_string());
    command
}

/// Runs it to its end, whatever comes of it.
#[track_caller]
fn finish(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the built binary");
    let mut stdin = child.stdin.take().expect("it was piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("its output")
    })
}

#[track_caller]
fn sendmail(server: impl std::fmt::Display, arguments: &[&str], input: &str) -> Output {
    finish(command(server, arguments), input.as_bytes())
}

/// Panics unless it ended with that code; returns what it said on standard error.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.is_empty(), code == 0, "{said:?}");
    said
}

/// A proxy in front of a recorder.
fn stage(config: &str) -> (Proxy, Recorder) {
    let recorder = Recorder::start();
    (Proxy::start(&format!("{config}{}", recorder.upstream("recorder"))), recorder)
}

fn one(recorder: &Recorder) -> Recorded {
    let messages = recorder.wait(1);
    let [message] = &messages[..] else { panic!("{messages:#?}") };
    message.clone()
}

fn at(server: &Scripted) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port()))
}

#[test]
fn recipients_are_taken_from_header_and_arguments_and_bcc_is_removed() {
    let (proxy, recorder) = stage("");
    let header = "Subject: t\nTo: A <a@x.test>,\n \"odd, one\"@x.test\nBcc: b@x.test\nCc: c@x.test\n";
    let message = format!("{header}From: f@x.test\n\n.dot\nü\n");
    let output = sendmail(proxy.address(), &["-t", "-i", "-f", "f@x.test", "d@x.test"], &message);
    ended(&output, 0);
    assert!(output.stdout.is_empty());
    let message = one(&recorder);
    assert!(message.mail.starts_with("<f@x.test>") && message.mail.contains("BODY=8BITMIME"), "{message:?}");
    assert_eq!(
        message.rcpt,
        ["<d@x.test>", "<a@x.test>", "<\"odd, one\"@x.test>", "<b@x.test>", "<c@x.test>"]
    );
    let sent = "Subject: t\r\nTo: A <a@x.test>,\r\n \"odd, one\"@x.test\r\nCc: c@x.test\r\nFrom: f@x.test\r\n\r\n.dot\r\nü\r\n";
    added(&message.content, sent.as_bytes());
}

#[test]
fn a_single_dot_ends_the_message_unless_dots_are_ignored() {
    let recorder = Recorder::start();
    let message = "Subject: t\n\na\n.\nb\n";
    for (number, (arguments, body)) in
        [(&["-fa@x", "b@x"][..], "a\r\n"), (&["-oi", "-fa@x", "b@x"], "a\r\n.\r\nb\r\n")].iter().enumerate()
    {
        ended(&sendmail(recorder.address(), arguments, message), 0);
        let content = &recorder.wait(number + 1)[number].content;
        assert_eq!(String::from_utf8_lossy(content), format!("Subject: t\r\n\r\n{body}"));
    }
}

/// What cron does, on a machine that has no `[aliases]` and on one that has.
#[test]
fn root_is_an_alias_or_somebody_at_the_default_domain() {
    let login = String::from_utf8(succeeded(Command::new("id").arg("-un"), b"").stdout).expect("a name");
    for (aliases, recipient) in
        [("", "<root@here.test>"), ("[aliases]\nroot = \"admin@x.test\"\n", "<admin@x.test>")]
    {
        let (proxy, recorder) = stage(&format!("default_domain = \"here.test\"\n{aliases}"));
        ended(&sendmail(proxy.address(), &["-i", "root"], "Subject: t\n\nhello\n"), 0);
        let message = one(&recorder);
        assert_eq!(message.rcpt, [recipient]);
        let sender = format!("{}@here.test", login.trim());
        assert!(message.mail.starts_with(&format!("<{sender}>")), "{message:?}");
        assert!(
            String::from_utf8_lossy(&message.content).contains(&format!("\r\nFrom: {sender}\r\n")),
            "{message:?}"
        );
    }
}

#[test]
fn a_full_name_makes_a_from_where_there_is_none() {
    let (proxy, recorder) = stage("");
    ended(&sendmail(proxy.address(), &["-F", "Jörg, Köln", "-fa@x.test", "b@x.test"], "hello\n"), 0);
    let content = String::from_utf8(one(&recorder).content).expect("text");
    assert!(content.contains("\r\nFrom: =?utf-8?b?SsO2cmcsIEvDtmxu?= <a@x.test>\r\n"), "{content}");
    assert!(content.ends_with("\r\n\r\nhello\r\n"), "{content}");
}

#[test]
fn with_nobody_there_it_is_to_be_tried_again() {
    let nobody = free_address();
    let said = ended(&sendmail(nobody, &["-t"], "To: a@x\n\nx\n"), 75);
    assert!(
        said.contains(&nobody.to_string()) && said.contains("nothing was sent, try again later"),
        "{said}"
    );
    let output = sendmail(nobody, &["-bs"], "EHLO x\r\n");
    ended(&output, 75);
    assert!(output.stdout.starts_with(b"421 4.4.1 "), "{output:?}");
    // It greets, and does not want us now.
    let busy = Scripted::start(|s| s.greeting(Act::last("421 4.7.0 too many")));
    assert!(ended(&sendmail(at(&busy), &["a@x"], "x\n"), 75).contains("too many"));
}

#[test]
fn who_is_refused_decides_the_exit_code() {
    for (rule, reply, code) in [
        ("RCPT TO:<", "550 5.1.1 who?", 67),
        ("RCPT TO:<", "550 5.7.1 not you", 69),
        ("RCPT TO:<", "451 4.3.0 later", 75),
        ("MAIL", "550 5.7.1 not you", 69),
        ("MAIL", "452 4.3.1 full", 75),
        ("DATA", "554 5.5.1 no", 69),
        ("<dot>", "554 5.6.0 no", 69),
        ("<dot>", "452 4.3.1 full", 75),
    ] {
        let server = Scripted::start(|s| s.ehlo(&["PIPELINING", "ENHANCEDSTATUSCODES"]).on(rule, reply));
        let said = ended(&sendmail(at(&server), &["-fa@x", "b@x", "c@x"], "x\n"), code);
        for expected in [reply, "b@x: ", "c@x: ", "nothing was sent"] {
            assert!(said.contains(expected), "{rule}: {said}");
        }
    }
}

#[test]
fn some_refused_is_neither_sent_nor_to_be_sent_again() {
    for reply in ["550 5.1.1 who?", "452 4.2.2 full"] {
        let server = Scripted::start(|s| s.ehlo(&["PIPELINING"]).on("RCPT TO:<b", reply));
        let said = ended(&sendmail(at(&server), &["-fa@x", "b@x", "c@x", "d e@x"], "x\n"), 67);
        assert!(said.contains(&format!("b@x: {reply}")) && said.contains("d e@x: "), "{said}");
        assert!(said.contains("the message was accepted for c@x: do not send it to them again"), "{said}");
        let received = server.wait_for(1);
        assert_eq!((received.len(), &received[0].recipients[..]), (1, &["<c@x>".to_owned()][..]));
    }
}

/// The server may have it: a duplicate is better than a loss.
#[test]
fn a_reply_that_is_lost_is_no_success() {
    let server = Scripted::start(|s| s.at_dot(Act::Close));
    let said = ended(&sendmail(at(&server), &["-fa@x", "b@x"], "x\n"), 75);
    assert!(said.contains("may arrive twice") && !said.contains("nothing was sent"), "{said}");
}

#[test]
fn recipients_beyond_what_the_server_takes_at_once_follow_in_another_transaction() {
    let (proxy, recorder) = stage("[limits]\nrecipients = 100\n");
    let recipients: Vec<String> = (0..250).map(|number| format!("r{number}@x.test")).collect();
    let to = format!("To: {}\n\nhello\n", recipients.join(",\n "));
    ended(&sendmail(proxy.address(), &["-t", "-fa@x.test"], &to), 0);
    let messages = recorder.wait(3);
    let mut reached: Vec<String> = messages.into_iter().flat_map(|message| message.rcpt).collect();
    reached.sort();
    let mut expected: Vec<String> = recipients.iter().map(|one| format!("<{one}>")).collect();
    expected.sort();
    assert_eq!(reached, expected);
}

#[test]
fn what_is_asked_of_notifications_is_said_where_it_is_offered() {
    let arguments = ["-N", "success,delay", "-Rhdrs", "-Vid=1", "-fa@x", "b@x"];
    for (offers, mail, rcpt) in
        [(&["DSN"][..], "<a@x> RET=HDRS ENVID=id+3D1", "<b@x> NOTIFY=SUCCESS,DELAY"), (&[], "<a@x>", "<b@x>")]
    {
        let server = Scripted::start(|s| s.ehlo(offers));
        ended(&sendmail(at(&server), &arguments, "x\n"), 0);
        let received = server.wait_for(1).remove(0);
        assert_eq!((received.mail.as_str(), received.recipients), (mail, vec![rcpt.to_owned()]));
    }
}

// CASES B22
#[test]
fn an_address_that_is_not_ascii_needs_smtputf8() {
    let recorder = Recorder::start();
    ended(&sendmail(recorder.address(), &["-t", "-fa@x"], "To: Jörg <jörg@bücher.test>\n\nx\n"), 0);
    let message = one(&recorder);
    assert_eq!(message.rcpt, ["<jörg@bücher.test>"]);
    assert!(message.mail.contains("SMTPUTF8"), "{message:?}");
    let old = Scripted::start(|s| s.ehlo(&["8BITMIME"]));
    let said = ended(&sendmail(at(&old), &["-fa@x", "jörg@bücher.test"], "x\n"), 65);
    assert!(said.contains("SMTPUTF8") && said.contains("nothing was sent"), "{said}");
    assert!(old.transactions().is_empty());
}

#[test]
fn wrong_usage_and_wrong_data_send_nothing() {
    let server = Scripted::start(|s| s);
    for (arguments, input, code) in [
        (&[][..], "To: a@x\n\nx\n", 64),
        (&["-t"], "Subject: no recipients\n\nTo: a@x\n", 64),
        (&["-t"], "", 64),
        (&["-Z", "a@x"], "x\n", 64),
        (&["a@x", "-f"], "x\n", 64),
        (&["-bd"], "", 64),
        (&["-bv", "a@x"], "", 64),
        // What stands on standard input is not thrown away as if it had been sent.
        (&["-q", "a@x"], "x\n", 64),
        (&["-bi", "a@x"], "x\n", 64),
        (&["-bs", "a@x"], "x\n", 64),
        (&["-f", "a b@x", "a@x"], "x\n", 64),
        (&["a b@x"], "x\n", 65),
        (&["-t"], "To: a@x@y\n\nx\n", 65),
    ] {
        ended(&sendmail(at(&server), arguments, input), code);
    }
    ended(&sendmail("no port:x", &["a@x"], "x\n"), 64);
    assert!(server.sessions().is_empty());
}

#[test]
fn a_binary_is_no_header_and_a_message_all_the_same() {
    let (proxy, recorder) = stage("");
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    ended(&finish(command(proxy.address(), &["-t", "-i"]), &binary), 64);
    ended(&finish(command(proxy.address(), &["-i", "-fa@x.test", "b@x.test"]), &binary), 0);
    assert!(one(&recorder).content.len() > 1 << 20);
}

#[test]
fn what_is_larger_than_the_proxy_takes_is_refused_for_good() {
    let (proxy, recorder) = stage("");
    let huge = b"a line of a message of 100 MB\n".repeat(100_000_000 / 30);
    let said = ended(&finish(command(proxy.address(), &["-i", "-fa@x.test", "b@x.test"]), &huge), 69);
    assert!(
        said.contains("bytes, and the server takes 26214400 at most") && said.contains("nothing was sent"),
        "{said}"
    );
    ended(&sendmail(proxy.address(), &["-fa@x.test", "b@x.test"], "small\n"), 0);
    assert!(one(&recorder).content.ends_with(b"small\r\n"));
}

/// Nothing leaves before the whole message was read.
#[test]
fn killed_in_the_middle_it_has_sent_nothing() {
    let server = Scripted::start(|s| s);
    let mut command = command(at(&server), &["-fa@x", "b@x"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the built binary");
    let mut stdin = child.stdin.take().expect("it was piped");
    // More than a pipe holds: it has begun to read.
    stdin.write_all(&b"half a message\n".repeat(20_000)).expect("it reads");
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    drop(stdin);
    assert!(server.sessions().is_empty());
}

/// Any user may run it, wherever: neither the file that `POSTROOM_CONFIG` names nor the one in the working folder is read.
#[test]
fn no_configuration_is_read() {
    let recorder = Recorder::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("postroom.toml"), "this is not TOML").expect("a folder of our own");
    let mut command = command(recorder.address(), &["-fa@x", "b@x"]);
    command.current_dir(&folder).env("POSTROOM_CONFIG", "/nonexistent").env("POSTROOM_NONSENSE", "1");
    ended(&finish(command, b"x\n"), 0);
    one(&recorder);
}

#[test]
fn verbose_says_what_the_server_answered() {
    let (proxy, recorder) = stage("");
    let output = sendmail(proxy.address(), &["-v", "-fa@x.test", "b@x.test"], "x\n");
    ended(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("b@x.test: 250 2.0.0 queued as "), "{said}");
    one(&recorder);
}

#[test]
fn a_session_on_standard_input_and_output() {
    let (proxy, recorder) = stage("");
    let mut command = command(proxy.address(), &["-bs"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the built binary");
    let mut say = child.stdin.take().expect("it was piped");
    let mut hear = BufReader::new(child.stdout.take().expect("it was piped"));
    let mut answer = |code: &str| {
        let mut line = String::new();
        while !line.starts_with(&format!("{code} ")) {
            line.clear();
            assert!(hear.read_line(&mut line).expect("text") > 0, "waited for {code}");
            assert!(line.starts_with(code), "{line}");
        }
    };
    answer("220");
    for (line, code) in [
        ("EHLO here.test", "250"),
        ("MAIL FROM:<a@x.test>", "250"),
        ("RCPT TO:<b@x.test>", "250"),
        ("DATA", "354"),
        ("Subject: t\r\n\r\n..dot\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        say.write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
        answer(code);
    }
    // Standard input is still open: the server's end is the end.
    assert!(child.wait().expect("a child of ours").success());
    assert!(one(&recorder).content.ends_with(b"Subject: t\r\n\r\n.dot\r\n"));
}

/// What scripts write has lines that end with LF.
#[test]
fn a_session_with_bare_line_ends_is_one_and_one_that_does_not_end_its_message_fails() {
    let (proxy, recorder) = stage("");
    let session = |end: &str| {
        let input =
            format!("EHLO me\nMAIL FROM:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\nSubject: t\n\nx\n{end}");
        sendmail(proxy.address(), &["-bs"], &input)
    };
    let said = ended(&session(""), 75);
    assert!(said.contains("nothing was sent"), "{said}");
    ended(&session(".\nQUIT\n"), 0);
    assert!(one(&recorder).content.ends_with(b"Subject: t\r\n\r\nx\r\n"));
}

/// A server refuses a client that speaks first; on a busy machine it was refused.
#[test]
fn a_session_that_is_there_at_once_waits_for_the_end_of_the_greeting() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("its address");
    let client = std::thread::spawn(move || sendmail(server, &["-bs"], "QUIT\n"));
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    for line in ["220-one\r\n", "220 two\r\n"] {
        let early = stream.read(&mut [0]).expect_err("it waits");
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
        stream.write_all(line.as_bytes()).expect("it reads");
    }
    stream.set_read_timeout(None).expect("a socket");
    let mut said = [0; 6];
    stream.read_exact(&mut said).expect("it speaks");
    assert_eq!(&said, b"QUIT\r\n");
    stream.write_all(b"221 2.0.0 bye\r\n").expect("it reads");
    drop(stream);
    ended(&client.join().expect("no panic"), 0);
}

/// By the names of symbolic links, as `/usr/sbin/sendmail` is one.
#[test]
fn it_is_called_by_its_names() {
    let proxy = Proxy::start(&format!("[upstream.only]\nhost = \"{}\"\ntls = \"none\"\n", free_address()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let named = |name: &str| {
        let link = folder.path().join(name);
        symlink(BINARY, &link).expect("a folder of our own");
        let mut command = Command::new(link);
        command
            .env("POSTROOM_SENDMAIL", proxy.address().to_string())
            .env("POSTROOM_CONFIG", proxy.config_file());
        command
    };
    let mut send = named("sendmail");
    send.args(["-i", "-fa@x.test", "b@x.test"]);
    ended(&finish(send, b"Subject: named\n\nx\n"), 0);
    let listed = finish(named("mailq"), b"");
    ended(&listed, 0);
    let shown = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(shown.contains("a@x.test") && shown.contains("named"), "{shown}");
    assert_eq!(listed.stdout, proxy.command(&["queue", "list"]).stdout);
    assert_eq!(proxy.command(&["sendmail", "-bp"]).stdout, listed.stdout, "behind --config");
    let aliases = finish(named("newaliases"), b"");
    ended(&aliases, 0);
    assert!(aliases.stdout.is_empty());
    let mut verbose = command(proxy.address(), &["-bi", "-v"]);
    let said = verbose.output().expect("the built binary").stdout;
    assert!(String::from_utf8_lossy(&said).contains("[aliases]"));
}

#[test]
fn mailq_says_who_may_look() {
    let proxy = Proxy::start("");
    let mut locked = command("127.0.0.1:1", &["-bp"]);
    locked.env("POSTROOM_CONFIG", proxy.config_file());
    let is_root = rustix::process::getuid().is_root();
    if is_root {
        // Root may everything: somebody else asks, with a copy of the program and of the configuration within reach.
        let folder = tempfile::Builder::new()
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("a folder");
        let (program, config) = (folder.path().join("postroom"), folder.path().join("postroom.toml"));
        std::fs::copy(BINARY, &program).expect("a folder of our own");
        std::fs::copy(proxy.config_file(), &config).expect("a folder of our own");
        let mut nobody = Command::new(program);
        nobody
            .args(["sendmail", "-bp"])
            .env("POSTROOM_CONFIG", config)
            .uid(65534)
            .gid(65534)
            .current_dir("/");
        if let Err(error) = nobody.output() {
            return not_proved_here(
                "mailq_says_who_may_look",
                &format!("nobody cannot run the program: {error}"),
            );
        }
        let said = ended(&finish(nobody, b""), 77);
        assert!(
            said.contains("control.sock cannot be opened") && said.contains("as the user that"),
            "{said}"
        );
        return;
    }
    std::fs::set_permissions(proxy.data_dir(), PermissionsExt::from_mode(0o000))
        .expect("a folder of our own");
    let output = finish(locked, b"");
    std::fs::set_permissions(proxy.data_dir(), PermissionsExt::from_mode(0o700))
        .expect("a folder of our own");
    ended(&output, 77);
}

#[test]
fn mailq_with_a_wrong_configuration_is_a_configuration_error() {
    let mut command = command("127.0.0.1:1", &["-bp"]);
    command.env("POSTROOM_CONFIG", "/nonexistent/postroom.toml");
    assert!(ended(&finish(command, b""), 78).contains("/nonexistent/postroom.toml"));
}

#[test]
fn mailq_without_a_configuration_says_where_it_looked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command("127.0.0.1:1", &["-bp"]);
    command.current_dir(folder.path());
    let said = ended(&finish(command, b""), 69);
    assert!(said.contains("no configuration file was found ($POSTROOM_CONFIG, "), "{said}");
}

#[test]
fn help_has_the_options_and_examples() {
    let output = sendmail("127.0.0.1:1", &["--help"], "");
    ended(&output, 0);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in ["-t ", "-bs", "Examples:", "POSTROOM_SENDMAIL", "75"] {
        assert!(help.contains(expected), "{help}");
    }
    // On a terminal of eighty columns nothing is wrapped anew.
    let long = help.lines().find(|line| line.starts_with(' ') && line.chars().count() > 80);
    assert_eq!(long, None);
    eventually("global help names the verb", || {
        let all = postroom().arg("--help").output().expect("the built binary").stdout;
        String::from_utf8_lossy(&all).contains("sendmail").then_some(())
    });
}

/// From the command line through the proxy to an upstream that offers DSN (RFC 3461).
#[test]
fn what_is_asked_of_notifications_reaches_the_upstream() {
    let server = Scripted::start(|s| s.ehlo(&["PIPELINING", "DSN"]));
    let upstream = format!("[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n", server.port());
    let proxy = Proxy::start(&upstream);
    let arguments =
        ["-N", "success,failure", "-R", "hdrs", "-V", "id+1", "-f", "a@x.test", "b@y.test", "c@y.test"];
    ended(&sendmail(proxy.address(), &arguments, "Subject: t\n\nhello\n"), 0);
    let sent = server.wait_for(1).remove(0);
    assert_eq!(sent.mail, "<a@x.test> RET=HDRS ENVID=id+2B1");
    let notify = "NOTIFY=SUCCESS,FAILURE";
    assert_eq!(sent.recipients, [format!("<b@y.test> {notify}"), format!("<c@y.test> {notify}")]);
}
