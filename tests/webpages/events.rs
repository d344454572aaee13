//! The page of events.

use super::queue::{link, send};
use super::reader::Reader;
use crate::support::eventually;
use crate::support::plain_upstream;
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use std::io::Write;
use std::process::{Command, Stdio};

const OFF: &str = "[sending]\nenabled = false\n";

/// The numbers of the events of a page, in their order.
fn events(page: &str) -> Vec<u64> {
    page.split("<tr id=\"e").skip(1).map(|row| row[..15].parse().expect("a number")).collect()
}

#[test]
fn what_happened_is_shown_newest_first_and_filtered() {
    let server = Scripted::start(|script| script.on("RCPT TO:<full", "452 4.2.2 <full> & \"busy\""));
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let reader = Reader::start(&upstream);
    let id = send(&reader.admin, &["full@b.test"]).remove(0);
    let about = format!("/events?id={id}");
    let page = eventually("it to be deferred", || {
        let page = reader.page(&about);
        (events(&page).len() >= 2 && page.contains("452 4.2.2")).then_some(page)
    });
    for expected in [
        "full@b.test",
        "452 4.2.2 &#60;full&#62; &#38; &#34;busy&#34;",
        &*format!("href=\"/messages/{id}\">{id}</a>"),
        "<div>upstream primary</div>",
        "<span class=\"badge Information\">Information</span>",
        "<time datetime=",
        &format!("value=\"{id}\""),
        &format!("href=\"/api/v1/events?id={id}&#38;limit=10000\" download"),
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let all = events(&reader.page("/events"));
    assert!(all.is_sorted_by(|one, next| one > next) && all.len() > events(&page).len(), "{all:?}");
    let page = reader.page("/events?source=Service&code=started&type=Information&since=1h");
    assert_eq!(events(&page).len(), 1, "{page}");
    assert!(events(&reader.page("/events?source=Service&type=Error")).is_empty());
    for (wrong, told) in [
        ("/events?type=Nonsense", "`Nonsense` is no type"),
        ("/events?since=30", "is no time"),
        ("/events?id=1", "is not a queue id"),
    ] {
        let page = reader.page_with(400, wrong);
        assert!(page.contains(told) && events(&page).is_empty(), "{wrong}: {page}");
    }
}

#[test]
fn older_events_follow_page_by_page_and_the_page_keeps_its_place() {
    let reader = Reader::start(OFF);
    let recipients: Vec<String> = (0..120).map(|number| format!("r{number}@b.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    send(&reader.admin, &recipients);
    let first = reader.page("/events?code=QUEUED");
    let mut seen = events(&first);
    assert_eq!(seen.len(), 50);
    let mut page = first.clone();
    while page.contains(">Older</a>") {
        page = reader.page(&link(&page, "Older"));
        assert!(page.contains("newer events"), "{page}");
        seen.extend(events(&page));
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.is_sorted_by(|one, next| one > next), "each once: {seen:?}");
    assert_eq!(events(&reader.page(&link(&page, "Newest"))), seen[..50]);
    let refresh =
        first.split_once("data-refresh=\"").unwrap().1.split('"').next().unwrap().replace("&#38;", "&");
    send(&reader.admin, &["newer@b.test"]);
    let again = reader.page(&refresh);
    assert_eq!(events(&again), seen[..50]);
    assert!(again.contains("1 newer event<"), "{again}");
    let following = reader.page("/events?code=QUEUED&follow=1");
    assert!(
        following.contains("data-rows data-follow") && following.contains("Stop following"),
        "{following}"
    );
    assert_eq!(events(&following)[1..], seen[..49]);
}

#[test]
fn events_are_exported_so_that_no_spreadsheet_runs_them() {
    let reader = Reader::start(OFF);
    let mut talk = Talk::hello(reader.admin.proxy.address());
    talk.begin_data("<a@a.test>", &["<=1+1@b.test>", "<\"a,\\\"b\"@b.test>"]);
    talk.send("Subject: x\r\n\r\nx\r\n.\r\n");
    talk.hear("250");
    reader.admin.proxy.command(&["queue", "delete", "--all", "--yes"]);
    let answer = reader.get("/events.csv?source=Mail");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"postroom-events.csv\""));
    let read = "import csv, json, sys\n\
                rows = list(csv.reader(sys.stdin, strict=True))\n\
                json.dump(rows, sys.stdout)";
    let mut python = Command::new("python3");
    python.args(["-c", read]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = crate::support::spawn(&mut python);
    python.stdin.take().unwrap().write_all(&answer.body).unwrap();
    let rows: Vec<Vec<String>> =
        serde_json::from_slice(&python.wait_with_output().unwrap().stdout).expect("rows");
    assert_eq!(rows[0][..5], ["id", "time", "type", "source", "code"]);
    assert!(rows.iter().all(|row| row.len() == 12), "{rows:?}");
    assert!(rows.len() > 1 && rows[1..].iter().all(|row| row[3] == "Mail"), "{rows:?}");
    let dangerous = |cell: &String| cell.starts_with(['=', '+', '-', '@', '\t']);
    assert!(!rows.iter().flatten().any(dangerous), "{rows:?}");
    let json = reader.get("/api/v1/events?source=Mail&limit=10000").json();
    assert_eq!(json["events"].as_array().unwrap().len(), rows.len() - 1);
    assert_eq!(reader.get("/events.csv?type=x").status, 400);
}

#[test]
fn no_page_of_events_is_large() {
    let reply = format!("550 5.1.1 {}", "<\"&'>".repeat(80));
    let server = Scripted::start(|script| script.on("RCPT", reply.as_str()));
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let reader = Reader::start(&format!("[queue]\nbounce = \"none\"\n{upstream}"));
    let mut talk = Talk::hello(reader.admin.proxy.address());
    for number in 0..60 {
        let recipient = format!("<\"{number}{}\"@b.test>", "<>&".repeat(18));
        talk.begin_data("<a@a.test>", &[&recipient]);
        talk.send("Subject: x\r\n\r\nx\r\n.\r\n");
        talk.hear("250");
    }
    eventually("all to fail", || {
        let listed = reader.admin.proxy.get("/api/v1/messages?state=failed").unwrap();
        (listed["messages"].as_array().unwrap().len() == 60).then_some(())
    });
    let worst = format!("/events?type=Error,Warning&since={}", "2026-01-01T00:00:00Z");
    for path in ["/events", "/events?type=Error", &worst] {
        let page = reader.page(path);
        assert_eq!(events(&page).len(), 50, "{path}");
        println!("{path}: {} bytes", page.len());
    }
}
