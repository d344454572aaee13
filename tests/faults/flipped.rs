//! A flipped byte anywhere in the queue file: the proxy starts and sets aside what is damaged, or it does not start. It
//! never sends altered content, and mail never vanishes without a word.

use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::recorder::{Recorder, added};
use crate::support::talk::Talk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Places that are tried in contents, and in everything else: records, indexes, the pages' own structure. More of them
/// with POSTROOM_TEST_FLIPS.
const IN_CONTENT: usize = 24;
const ELSEWHERE: usize = 120;
const MESSAGES: usize = 12;

/// What the flips led to.
#[derive(Default, Debug)]
struct Tally {
    /// It did not start.
    refused: usize,
    /// Some message was set aside.
    set_aside: usize,
    /// It said that it cannot go on.
    in_trouble: usize,
    /// Some message stood in no index any more: listed, and sent when an operator asked for it.
    forgotten: usize,
    /// All mail was sent: an event, or a page that is used no more.
    all_sent: usize,
}

#[test]
fn a_flipped_byte_is_noticed_where_it_matters_and_alters_nothing_that_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let sent = fill(&data);
    let file = data.join("queue.redb");
    let whole = std::fs::read(&file).unwrap();
    let (content, elsewhere) = used_places(&whole);
    let elsewhere_samples =
        std::env::var("POSTROOM_TEST_FLIPS").map_or(ELSEWHERE, |count| count.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(0x5EED);
    let mut places = Vec::new();
    for (from, count) in [(content, IN_CONTENT), (elsewhere, elsewhere_samples)] {
        places.extend((0..count).map(|_| from[random.usize(..from.len())]));
    }
    // The file's header, byte by byte near the start of it and of its two commit slots.
    places.extend((0..192).step_by(8));
    let mut tally = Tally::default();
    for place in places {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << random.u32(..8);
        std::fs::write(&file, &damaged).unwrap();
        look(&data, place, &sent, &mut tally);
    }
    println!("{tally:?}");
}

/// Bytes that are not zero: those of contents, which are long runs of letters, digits and line ends, and all others.
fn used_places(whole: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let mut places = (Vec::new(), Vec::new());
    let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || b"\r\n".contains(byte);
    let mut start = 0;
    for run in whole.chunk_by(|one, next| is_text(one) == is_text(next)) {
        let content = is_text(&run[0]) && run.len() > 64;
        let list = if content { &mut places.0 } else { &mut places.1 };
        list.extend((start..start + run.len()).filter(|place| whole[*place] != 0));
        start += run.len();
    }
    places
}

/// A message that was acknowledged.
struct Sent {
    id: String,
    content: Vec<u8>,
}

/// By recipient, as the upstream sees it.
type All = BTreeMap<String, Sent>;

/// Queues messages of all kinds of sizes and kills the proxy.
fn fill(data: &Path) -> All {
    let mut proxy = Proxy::start_with("", Launch::default().data_dir(data));
    let mut client = Talk::hello(proxy.address());
    let mut sent = BTreeMap::new();
    for number in 0..MESSAGES {
        let recipient = format!("r{number}@b.test");
        let size = [100, 3_000, 20_000, 300_000][number % 4];
        let mut content = format!("Subject: message {number}\r\n\r\n").into_bytes();
        let mut random = fastrand::Rng::with_seed(number as u64);
        while content.len() < size {
            content.extend((0..70).map(|_| random.alphanumeric() as u8));
            content.extend_from_slice(b"\r\n");
        }
        client.envelope(&recipient).unwrap();
        client.send(&content);
        client.send(".\r\n");
        let reply = client.hear("250 2.0.0 queued as ");
        let id = reply.trim_end().rsplit(' ').next().unwrap().to_owned();
        sent.insert(format!("<{recipient}>"), Sent { id, content });
    }
    proxy.kill();
    sent
}

/// Starts on the damaged file with somebody to send to, and accounts for every message.
fn look(data: &Path, place: usize, sent: &All, tally: &mut Tally) {
    let recorder = Recorder::start();
    let config = format!("[log]\nlevel = \"warn\"\n{}", recorder.upstream("only"));
    let mut proxy = Proxy::spawn_with(&config, Launch::default().data_dir(data));
    let mut started = false;
    eventually("a start or its refusal", || {
        started = proxy.http_status("/livez") == Some(200);
        (started || proxy.has_ended()).then_some(())
    });
    if !started {
        let (code, said) = proxy.refused();
        assert_eq!(code, Some(1), "byte {place}: {said}");
        assert!(said.contains("queue.redb"), "byte {place}: {said}");
        tally.refused += 1;
        return;
    }
    let mut asked_for = false;
    let mut since = Instant::now();
    let found = eventually(&format!("byte {place}: every message to be sent or set aside"), || {
        let listed = listed(&proxy, sent);
        let troubled = listed.is_none() || proxy.http_status("/readyz") != Some(200);
        let (queued, set_aside) = listed.unwrap_or_default();
        if since.elapsed() > Duration::from_secs(2) && !queued.is_empty() {
            since = Instant::now();
            asked_for = true;
            proxy.try_command(&["queue", "retry", "--all"]);
        }
        let arrived: BTreeSet<String> =
            recorder.wait(0).iter().map(|message| message.rcpt.concat()).collect();
        let gone = |name: &String| arrived.contains(name) || set_aside.contains(name);
        (troubled || queued.is_empty() && sent.keys().all(gone)).then_some((set_aside, troubled))
    });
    for message in recorder.wait(0) {
        let recipient = message.rcpt.concat();
        let original =
            sent.get(&recipient).unwrap_or_else(|| panic!("byte {place}: to {recipient}, who is nobody"));
        assert_eq!(message.mail.split(' ').next(), Some("<shop@a.test>"), "byte {place}");
        assert!(added(&message.content, &original.content).starts_with("Received:"), "byte {place}");
    }
    match found {
        (_, true) => tally.in_trouble += 1,
        (set_aside, _) if !set_aside.is_empty() => tally.set_aside += 1,
        _ if asked_for => tally.forgotten += 1,
        _ => tally.all_sent += 1,
    }
}

/// Recipients of what is queued, and of what is set aside; none where the queue cannot be listed.
fn listed(proxy: &Proxy, sent: &All) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let listing = proxy.get("/api/v1/messages?limit=1000")?;
    let (mut queued, mut set_aside) = (BTreeSet::new(), BTreeSet::new());
    for message in listing["messages"].as_array()? {
        if message["state"] == "damaged" {
            // What is wrong stands in the subject: where the id is what is damaged, it names the right one.
            let what = message["subject"].as_str()?;
            let mut named = sent.iter().filter(|(_, one)| message["id"] == *one.id || what.contains(&one.id));
            set_aside.extend(named.next().map(|(name, _)| name.clone()));
        } else {
            let names = message["recipients"].as_array()?;
            queued.extend(names.iter().map(|one| format!("<{}>", one["address"].as_str().unwrap())));
        }
    }
    Some((queued, set_aside))
}
