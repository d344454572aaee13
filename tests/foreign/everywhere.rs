//! One client, and upstreams with and without each extension: everything arrives everywhere, as the client sent it.

use super::outcome::all_delivered;
use crate::support::proxy::Proxy;
use crate::support::recorder::{OFFERS, Recorded, Recorder, added};
use crate::support::tap::Tap;
use std::net::SocketAddr;

/// Has `send` send its messages, `count` in all, through a proxy in front of each upstream in turn.
///
/// A tap between client and proxy keeps what the client put on the wire. Each message has to arrive with the same
/// envelope and, but for the fields that are missing, the same bytes; at an upstream that offers them with the
/// parameters of MAIL that the client gave.
#[track_caller]
pub fn arrives_everywhere(count: usize, send: impl Fn(SocketAddr)) {
    for (upstream, recorder) in upstreams() {
        let proxy = Proxy::start(&recorder.upstream("recorder"));
        let tap = Tap::start(proxy.address());
        send(tap.address());
        let sent = tap.messages();
        assert_eq!(sent.len(), count, "{upstream}: the client sent {sent:#?}");
        all_delivered(&proxy, &upstream);
        let received = recorder.messages();
        assert_eq!(received.len(), count, "{upstream}: {received:#?}");
        for sent in &sent {
            compare(&upstream, sent, &received);
        }
    }
}

/// One that offers everything, one for each extension that does without it, one that offers none, one that knows HELO
/// only. Each refuses what it does not offer.
fn upstreams() -> Vec<(String, Recorder)> {
    let mut upstreams = vec![("everything offered".to_owned(), Recorder::start())];
    for missing in OFFERS {
        let others: Vec<&str> = OFFERS.into_iter().filter(|extension| *extension != missing).collect();
        upstreams.push((format!("{missing} not offered"), Recorder::offering(&others)));
    }
    upstreams.push(("nothing offered".to_owned(), Recorder::offering(&[])));
    upstreams.push(("HELO only".to_owned(), Recorder::helo_only()));
    upstreams
}

#[track_caller]
fn compare(upstream: &str, sent: &Recorded, received: &[Recorded]) {
    let same_subject = |one: &&Recorded| field(&one.content, "subject") == field(&sent.content, "subject");
    let found: Vec<&Recorded> = received.iter().filter(same_subject).collect();
    let [arrived] = found[..] else { panic!("{upstream}: {sent:?} arrived as {found:#?}") };
    let (path, declared) = parameters(&sent.mail);
    let (arrived_path, given) = parameters(&arrived.mail);
    assert_eq!(arrived_path, path, "{upstream}: {sent:?}");
    assert_eq!(arrived.rcpt, sent.rcpt, "{upstream}: {sent:?}");
    if upstream == "everything offered" {
        for parameter in declared.iter().filter(|parameter| !parameter.starts_with("SIZE=")) {
            assert!(given.contains(parameter), "{parameter} was not passed on: {}", arrived.mail);
        }
    }
    let mut expected = vec!["received"];
    let may_be_missing = ["date", "message-id", "from"];
    expected.extend(may_be_missing.into_iter().filter(|name| field(&sent.content, name).is_none()));
    let mut names: Vec<String> =
        fields(added(&arrived.content, &sent.content).as_bytes()).map(|(name, _)| name).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected, "{upstream}: the fields that were added to {sent:?}");
}

/// The path and the parameters of what stood behind `MAIL FROM:`, those in upper case.
fn parameters(mail: &str) -> (&str, Vec<String>) {
    let (path, parameters) = mail.split_at(mail.rfind('>').map_or(mail.len(), |at| at + 1));
    (path, parameters.split_ascii_whitespace().map(str::to_ascii_uppercase).collect())
}

/// The value of that header field, as it stands there; the name in lower case.
fn field(content: &[u8], name: &str) -> Option<Vec<u8>> {
    fields(content).find(|(one, _)| one == name).map(|(_, value)| value)
}

/// The header fields, names in lower case, values with the first line only.
fn fields(content: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let lines = content.split_inclusive(|byte| *byte == b'\n').take_while(|line| *line != b"\r\n");
    lines.filter(|line| !line.starts_with(b" ") && !line.starts_with(b"\t")).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), line[colon + 1..].to_vec()))
    })
}
