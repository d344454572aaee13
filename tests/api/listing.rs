//! Pages of messages: nothing is left out, nothing comes twice, and sent mail is there where it is asked for.

use super::*;
use crate::support::recorder::Recorder;
use crate::support::{eventually, talk::Talk};
use serde_json::json;

fn ids(page: &Value) -> Vec<String> {
    page["messages"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn all(proxy: &Proxy, query: &str, limit: usize) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(proxy, &format!("/api/v1/messages?limit={limit}{query}{cursor}")).json();
        let on_page = ids(&page);
        assert!(on_page.len() <= limit, "{page}");
        found.extend(on_page);
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert!(next.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{next} can stand in a URL");
                cursor = format!("&cursor={next}");
            }
            None => return found,
        }
    }
}

#[test]
fn sent_mail_is_listed_with_the_queue_where_its_state_is_asked_for() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{}[queue]\narchive_days = 1\n", recorder.upstream("only")));
    let mut session = Talk::hello(proxy.address());
    // Sent and queued ones in turn, so that each page has both.
    for number in 0..10 {
        let body = json!({ "sending": { "enabled": number % 2 == 0 } });
        assert_eq!(ask(&proxy, "PATCH", "/api/v1/settings", &body).status, 200);
        assert!(session.mail("b@b.test", 100).starts_with("250"));
        if number % 2 == 0 {
            eventually("it to be sent", || {
                let sent = get(&proxy, "/api/v1/sent").json()["messages"].as_array().unwrap().len();
                // The ones that waited while sending was off go with the next one.
                (sent == number + 1).then_some(())
            });
        }
    }
    let sent = all(&proxy, "&state=sent", 100);
    let queued = all(&proxy, "", 100);
    assert_eq!((sent.len(), queued.len()), (9, 1));
    let mut both: Vec<String> = sent.iter().chain(&queued).cloned().collect();
    both.sort_unstable_by(|one, other| other.cmp(one));
    for limit in 1..=11 {
        assert_eq!(all(&proxy, "&state=sent,queued,deferred", limit), both, "{limit} on a page");
        assert_eq!(all(&proxy, "&state=sent", limit), sent, "{limit} on a page");
    }
    assert_eq!(all(&proxy, "&state=sent&q=to:nobody", 3), Vec::<String>::new());
}

#[test]
fn stats_say_what_waits_and_what_came_of_the_rest() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!(
        "{}[upstream.other]\nhost = \"127.0.0.1:9\"\nenabled = false\n",
        recorder.upstream("only")
    ));
    let mut session = Talk::hello(proxy.address());
    assert!(session.mail("b@b.test", 100).starts_with("250"));
    recorder.wait(1);
    let stats = eventually("the outcome", || {
        let stats = get(&proxy, "/api/v1/stats").json();
        (stats["since_start"]["delivered"] == 1).then_some(stats)
    });
    assert_eq!(stats["since_start"]["accepted"], 1, "{stats}");
    assert_eq!((&stats["queued"], &stats["oldest_queued"]), (&json!(0), &Value::Null), "{stats}");
    let upstreams = stats["upstreams"].as_array().unwrap();
    let of = |name: &str| upstreams.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(
        (&of("only")["since_start"]["delivered"], &of("only")["state"]),
        (&json!(1), &json!("ok")),
        "{stats}"
    );
    assert_eq!(
        (&of("other")["since_start"]["delivered"], &of("other")["state"]),
        (&json!(0), &json!("disabled")),
        "{stats}"
    );
    assert_eq!(
        ask(&proxy, "PATCH", "/api/v1/settings", &json!({ "sending": { "enabled": false } })).status,
        200
    );
    assert!(session.mail("b@b.test", 100).starts_with("250"));
    let stats = get(&proxy, "/api/v1/stats").json();
    assert_eq!(stats["queued"], 1, "{stats}");
    let time = |value: &Value| value.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    let message = get(&proxy, "/api/v1/messages").json()["messages"][0].clone();
    assert!(time(&stats["oldest_queued"]) <= time(&message["received_at"]), "{stats} {message}");
    assert_eq!(
        (&stats["since_start"]["accepted"], &stats["since_start"]["delivered"]),
        (&json!(2), &json!(1)),
        "{stats}"
    );
}
