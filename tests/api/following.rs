//! Who follows events goes on where it stopped.

use super::*;
use crate::support::eventually;
use serde_json::json;

/// The ids of the next events of a stream.
fn next_ids(stream: &mut BufReader<UnixStream>, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut line = String::new();
    while ids.len() < count {
        line.clear();
        assert!(stream.read_line(&mut line).expect("the stream goes on") > 0, "the stream ended");
        if let Some(id) = line.strip_prefix("id: ") {
            ids.push(id.trim().parse().expect("a number"));
        }
    }
    ids
}

/// With the event of its start.
fn started() -> Proxy {
    let proxy = Proxy::start("");
    eventually("the event of the start", || (newest(&proxy) > 0).then_some(()));
    proxy
}

fn newest(proxy: &Proxy) -> u64 {
    get(proxy, "/api/v1/events?limit=1").json()["events"][0]["id"].as_u64().unwrap_or(0)
}

/// Records three events each time: a change, the mode that it switches, and that it is in force.
fn switch(proxy: &Proxy, on: bool) {
    let before = newest(proxy);
    let done = ask(proxy, "PATCH", "/api/v1/settings", &json!({ "sending": { "enabled": on } }));
    assert_eq!(done.status, 200);
    // They are written behind the answer.
    eventually("its events", || (newest(proxy) == before + 3).then_some(()));
}

#[test]
fn a_stream_begins_behind_the_event_that_its_reader_had_last() {
    let proxy = started();
    for number in 0..6 {
        switch(&proxy, number % 2 == 1);
    }
    let newest_now = newest(&proxy);
    let seen = newest_now - 5;
    let (status, headers, mut stream) =
        begin(&proxy, "GET", "/api/v1/events/stream", &[("Last-Event-ID", &seen.to_string())], b"");
    assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
    assert_eq!(next_ids(&mut stream, 5), (seen + 1..=newest_now).collect::<Vec<_>>());
    // And then those to come, none twice and none left out.
    switch(&proxy, false);
    assert_eq!(next_ids(&mut stream, 3), [newest_now + 1, newest_now + 2, newest_now + 3]);

    let (_, _, mut stream) =
        begin(&proxy, "GET", &format!("/api/v1/events/stream?from={newest_now}"), &[], b"");
    assert_eq!(next_ids(&mut stream, 3), [newest_now, newest_now + 1, newest_now + 2]);
    let (_, _, mut stream) = begin(&proxy, "GET", "/api/v1/events/stream?from=0&code=MODE", &[], b"");
    assert_eq!(next_ids(&mut stream, 7).len(), 7, "the filter holds for what is kept, too");
    let wrong = request(&proxy, "GET", "/api/v1/events/stream", &[("Last-Event-ID", "x")], b"");
    assert_eq!(wrong.problem().0, 400);
}

#[test]
fn a_listing_goes_on_from_where_it_ended_also_when_nothing_has_come() {
    let proxy = started();
    switch(&proxy, false);
    let first = get(&proxy, "/api/v1/events?from=0&limit=2").json();
    assert_eq!(first["events"].as_array().unwrap().len(), 2, "{first}");
    let mut next = first["next"].as_u64().unwrap();
    let mut seen = first["events"][1]["id"].as_u64().unwrap();
    loop {
        let page = get(&proxy, &format!("/api/v1/events?from={next}&limit=2")).json();
        next = page["next"].as_u64().expect("where to go on");
        match page["events"].as_array().unwrap().last() {
            Some(last) => seen = last["id"].as_u64().unwrap(),
            None => break,
        }
    }
    assert_eq!((seen, next), (newest(&proxy), seen + 1));
}
