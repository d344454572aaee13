//! Plays every transcript of `tests/dialogs` against a real listener on 127.0.0.1.
//!
//! A transcript is read line by line:
//! ```text
//! # a comment
//! set bare_newline reject        before the first line: another setting than the default
//! C: EHLO c.test                 the client sends this line and CRLF; lines that follow each other leave in one write
//! C+ x\n.\n                      the client sends exactly these bytes
//! S: 250*                        the server's next reply, its lines joined by \n; * stands for anything
//! server closes                  nothing more comes
//! client closes                  and waits until the session is over
//! queued <a@x.test> -> <b@y.test> <c@y.test>
//! | Subject: t                   a line of the stored content, CRLF at its end
//! nothing queued                 where no message is
//! ```
//! Escapes in C, S and |: `\r` `\n` `\t` `\0` `\\` `\xFF`, and `\{9:text}` for nine times text.
//! Every transcript ends with what is queued, and that is compared in full.

use super::test_server::{Client, TestServer, settings};
use postroom::config::Settings;
use postroom::config::password::StoredPassword;
use postroom::config::settings::{BareNewline, InboundAuth, User};
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialog_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    paths.sort();
    assert!(paths.len() > 40, "only {} transcripts", paths.len());
    let plays: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, tokio::spawn(async move { play(&text).await }))
        })
        .collect();
    let mut wrong = Vec::new();
    for (path, played) in plays {
        if let Err(what) = played.await.unwrap_or_else(|panic| Err(panic.to_string())) {
            wrong.push(format!("{}: {what}", path.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What a transcript says is in the queue.
struct Expected {
    envelope: String,
    content: Vec<u8>,
}

async fn play(text: &str) -> Result<(), String> {
    let mut settings = settings();
    let mut steps = Vec::new();
    let mut expected: Vec<Expected> = Vec::new();
    let mut says_what_is_queued = false;
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line)) {
        if let Some(setting) = line.strip_prefix("set ") {
            set(&mut settings, setting);
        } else if let Some(envelope) = line.strip_prefix("queued ") {
            says_what_is_queued = true;
            expected.push(Expected { envelope: envelope.to_owned(), content: Vec::new() });
        } else if let Some(content) = line.strip_prefix('|') {
            let message = expected.last_mut().ok_or(format!("line {number}: content of no message"))?;
            message.content.extend(unescape(content.strip_prefix(' ').unwrap_or(content)));
            message.content.extend(b"\r\n");
        } else if line == "nothing queued" {
            says_what_is_queued = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            steps.push((number, line));
        }
    }
    if !says_what_is_queued {
        return Err("does not say what is queued".into());
    }

    let server = TestServer::open(settings).await;
    let mut client = server.connect().await;
    converse(&mut client, &server, &steps).await?;
    drop(client);
    server.shutdown.started.cancel();
    server.empty().await;
    if !server.queue.staged.lock().unwrap().is_empty() {
        return Err("staged chunks were left behind".into());
    }
    compare(&server, &expected)
}

async fn converse(client: &mut Client, server: &TestServer, steps: &[(usize, &str)]) -> Result<(), String> {
    let mut unsent = Vec::new();
    for (number, line) in steps {
        if let Some(text) = line.strip_prefix("C: ") {
            unsent.extend(unescape(text));
            unsent.extend(b"\r\n");
        } else if *line == "C:" {
            unsent.extend(b"\r\n");
        } else if let Some(text) = line.strip_prefix("C+ ") {
            unsent.extend(unescape(text));
        } else {
            if !unsent.is_empty() {
                client.say(&unsent).await;
                unsent.clear();
            }
            if let Some(pattern) = line.strip_prefix("S: ") {
                let reply = client.reply().await;
                let pattern = String::from_utf8(unescape(pattern)).unwrap();
                if !matches(&pattern, &reply) {
                    return Err(format!("line {number}: expected {pattern:?}, got {reply:?}"));
                }
            } else if *line == "server closes" {
                let reply = client.reply().await;
                if !reply.is_empty() {
                    return Err(format!("line {number}: expected the end, got {reply:?}"));
                }
            } else if *line == "client closes" {
                *client = server.connect().await;
            } else {
                return Err(format!("line {number} is not understood: {line}"));
            }
        }
    }
    if unsent.is_empty() { Ok(()) } else { Err("ends with bytes that were not sent".into()) }
}

fn compare(server: &TestServer, expected: &[Expected]) -> Result<(), String> {
    let taken = server.queue.taken();
    if taken.len() != expected.len() {
        return Err(format!("{} messages are queued, not {}", taken.len(), expected.len()));
    }
    for ((message, content), expected) in taken.iter().zip(expected) {
        let recipients: Vec<_> = message.recipients.iter().map(|one| format!("<{}>", one.address)).collect();
        let envelope = format!("<{}> -> {}", message.reverse_path.as_str(), recipients.join(" "));
        if envelope != expected.envelope {
            return Err(format!("queued is {envelope}, not {}", expected.envelope));
        }
        if *content != expected.content {
            let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
            return Err(format!("the content is {:?}, not {:?}", show(content), show(&expected.content)));
        }
    }
    Ok(())
}

fn set(settings: &mut Settings, setting: &str) {
    let (name, value) = setting.split_once(' ').expect("a setting has a value");
    let limits = &mut settings.limits;
    match name {
        "bare_newline" => {
            limits.bare_newline =
                if value == "reject" { BareNewline::Reject } else { BareNewline::Normalize };
        }
        "message_size" => limits.message_size = value.parse().unwrap(),
        "recipients" => limits.recipients = value.parse().unwrap(),
        "errors_per_session" => limits.errors_per_session = value.parse().unwrap(),
        "received_hops" => limits.received_hops = value.parse().unwrap(),
        "max_messages" => settings.queue.max_messages = value.parse().unwrap(),
        "min_free_space" => settings.queue.min_free_space = value.parse().unwrap(),
        "user" => {
            let (name, password) = value.split_once(' ').expect("a name and a password");
            let user = User {
                name: name.to_owned(),
                password: StoredPassword::Plain(password.to_owned().into()),
                site: None,
                class: None,
                senders: vec!["@x.test".parse().unwrap()],
            };
            settings.users.insert(name.to_owned(), user);
        }
        "auth" => {
            settings.listeners[0].auth = match value {
                "optional" => InboundAuth::Optional,
                "required" => InboundAuth::Required,
                "any" => InboundAuth::Any,
                _ => panic!("no auth {value}"),
            }
        }
        "allow" => settings.listeners[0].allow = vec![value.parse().unwrap()],
        _ => panic!("no setting {name}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend(plain.as_bytes());
        let mut taken = 1;
        match escaped.as_bytes()[0] {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'x' => {
                bytes.push(u8::from_str_radix(&escaped[1..3], 16).unwrap());
                taken = 3;
            }
            b'{' => {
                let (count, text) = escaped[1..].split_once(':').unwrap();
                let text = &text[..text.find('}').unwrap()];
                bytes.extend(unescape(text).repeat(count.parse().unwrap()));
                taken = 1 + count.len() + 1 + text.len() + 1;
            }
            other => bytes.push(other),
        }
        rest = &escaped[taken..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// `*` stands for anything, also for nothing.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            rest.is_empty()
                || (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(rest, &text[at..]))
        }),
    }
}
