//! The filter language: what it means, what an index answers of it, and what is said of what cannot be read.

use super::{Home, MINUTE, ids, message, put};
use jiff::{Timestamp, Zoned};
use postroom::mail::*;
use postroom::queue::{Filter, FilterError, Operations, OperatorAction, Timeline};
use proptest::prelude::*;
use std::time::Duration;

/// 2026-11-21, 14:00 in Prague.
fn now() -> Zoned {
    "2026-11-21T14:00:00+01:00[Europe/Prague]".parse().unwrap()
}

fn parse(expression: &str) -> Result<Filter, FilterError> {
    Filter::parse(expression, &now())
}

fn at(time: &str) -> QueueId {
    let time: Timestamp = time.parse().unwrap();
    QueueId::from_number(((time.as_millisecond() as u128) << 80) | 0x1234_5678)
}

/// Deferred, of an hour ago, for two recipients, one of them delivered.
fn order() -> Message {
    let mut ann = Recipient::pending("ann@example.com".parse().unwrap());
    ann.state = RecipientState::Delivered;
    ann.upstream = Some("primary".to_owned());
    ann.reply = Some("250 2.0.0 taken".to_owned());
    let mut bob = Recipient::pending("Bob@Example.net".parse().unwrap());
    bob.state = RecipientState::Deferred;
    bob.reply = Some("450 4.2.1 mailbox busy".to_owned());
    bob.refused_by = vec![Refusal { upstream: "backup".to_owned(), revision: 1 }];
    Message {
        recipients: vec![ann, bob],
        header: HeaderFacts {
            subject: Some("=?utf-8?q?Your_order_4711_=E2=9C=93?=".to_owned()),
            ..HeaderFacts::default()
        },
        attempts: 1,
        site: "shop".to_owned(),
        size: 2_000,
        ..Message::new(at("2026-11-21T12:00:00Z"), ReversePath::Address("noreply@shop.test".parse().unwrap()))
    }
}

#[test]
fn each_term_means_what_it_says() {
    let message = order();
    let id = message.id.to_string();
    let yes = [
        "",
        "  ",
        "state:deferred",
        "STATE:Deferred",
        "state:failed,deferred",
        "from:shop.test",
        "from:NOREPLY@",
        "to:ann",
        "to:bob@example.NET",
        "to:carol@,bob@",
        "to:<ann@example.com>,carol@",
        "from:<noreply@shop.test>",
        "from:\"noreply@shop.test\"",
        "subject:order",
        "subject:\"order 4711 ✓\"",
        "site:shop",
        "site:intranet,SHOP",
        "upstream:primary",
        "upstream:backup",
        "class:normal,bulk",
        "older:59m",
        "newer:61m",
        "older:2026-11-22",
        "newer:2026-11-21",
        "newer:2026-11-21T12:00:00Z",
        "newer:2026-11-21T13:00:00+01:00",
        "newer:2026-11-21T13:00",
        "older:2026-11-21T13:01",
        "newer:\"2026-11-21 12:59:30\"",
        "newer:2026-11-21T07:00[America/New_York]",
        "larger:1999",
        "larger:1kB",
        "mailbox",
        "\"mailbox busy\"",
        "4.2.1 4711",
        "✓",
        "-state:failed",
        "-newsletter -older:2d",
        "-\"mailbox full\"",
        "from:shop to:bob -subject:invoice larger:1k",
        id.as_str(),
    ];
    for expression in yes {
        assert!(parse(expression).unwrap().matches(&message), "{expression}");
    }
    let no = [
        "state:queued",
        "-state:deferred",
        "from:ann",
        "from:\"\"",
        "from:<>",
        "to:shop",
        "subject:newsletter",
        "subject:\"\"",
        "subject:\"4711 order\"",
        "site:sho",
        "site:\"\"",
        "upstream:prim",
        "upstream:\"\"",
        "class:bulk",
        "older:61m",
        "newer:59m",
        "older:2026-11-21",
        "newer:2026-11-21T12:00:01Z",
        "newer:2026-11-21T20:00",
        "newer:2026-11-21T13:00:01",
        "older:2026-11-21T13:00",
        "newer:2026-11-21T07:01[America/New_York]",
        "to:carol@,dave@",
        "to:\"carol@,bob@\"",
        "from:<shop.test>x",
        "larger:2000",
        "larger:1MiB",
        "\"busy mailbox\"",
        "order newsletter",
        "-order",
        "state:deferred state:failed",
    ];
    for expression in no {
        assert!(!parse(expression).unwrap().matches(&message), "{expression}");
    }
    let bare = Message::new(at("2026-11-21T12:00:00Z"), ReversePath::Null);
    for expression in
        ["from:\"\"", "from:<>", "from:shop.test,<>", "subject:\"\"", "site:\"\"", "upstream:\"\""]
    {
        assert!(parse(expression).unwrap().matches(&bare), "{expression}");
    }
}

#[test]
fn text_that_looks_like_more_is_text_and_quotes_keep_everything() {
    let mut message = order();
    for subject in ["12:30 re: x", "fe80::1", "a\"b\\c", "state:failed", "-minus", "OR", "http://x.test/"] {
        message.header.subject = Some(subject.to_owned());
        let quoted = format!("\"{}\"", subject.replace('\\', "\\\\").replace('"', "\\\""));
        assert!(parse(&quoted).unwrap().matches(&message), "{quoted}");
        assert!(parse(&format!("subject:{quoted}")).unwrap().matches(&message), "{quoted}");
    }
    message.header.subject = Some("12:30 fe80::1 a-b".to_owned());
    assert!(parse("12:30 fe80::1 a-b").unwrap().matches(&message));
}

#[test]
fn an_error_says_where_why_and_what_would_be_right() {
    let cases = [
        ("stat:failed", 1, "did you mean `state:`?"),
        ("a  -sender:x", 5, "there are state: from:"),
        ("state:", 1, "nothing stands behind `state:`"),
        ("a state:lost", 9, "queued, deferred, held, failed, sent"),
        ("class:quick", 7, "urgent, normal, bulk"),
        ("older:soon", 7, "an age (90s, 5m, 2h, 2d; m are minutes)"),
        ("older:30", 7, "is no time"),
        ("newer:2026-13-01", 7, "is no time"),
        ("newer:2026-11-21T20:00[Mars/Olympus]", 7, "is no time"),
        ("newer:2026-11-21T20:00+99:00", 7, "is no time"),
        ("newer:2026-11-21Z", 7, "is no time"),
        ("newer:2026-11-21T25:00", 7, "is no time"),
        ("site:intranet,", 6, "before or behind a comma"),
        ("site:shop,\"\"", 6, "before or behind a comma"),
        ("x upstream:,primary", 12, "before or behind a comma"),
        ("to:ann@x,", 4, "before or behind a comma"),
        ("from:,", 6, "before or behind a comma"),
        ("to:<>", 4, "every message is to somebody"),
        ("larger:much", 8, "is no size"),
        ("x \"open", 3, "not closed"),
        ("subject:\"open", 9, "not closed"),
        ("-", 1, "nothing stands behind `-`"),
        ("--yes", 1, "one `-` says not"),
        ("\"\"", 1, "nothing between these quotes"),
        ("from:a OR from:b", 8, "commas"),
        ("to:\"\"", 4, "every message is to somebody"),
        ("✓ stat:failed", 3, "did you mean"),
    ];
    for (expression, column, what) in cases {
        let error = parse(expression).unwrap_err();
        assert_eq!(error.column(), column, "{expression}: {error}");
        assert!(error.to_string().contains(what), "{expression}: {error}");
    }
    let pointed = parse("a -stat:failed").unwrap_err().pointed();
    assert!(pointed.ends_with("\n    a -stat:failed\n       ^^^^"), "{pointed}");
}

#[tokio::test]
async fn a_listing_is_what_the_filter_means_whatever_index_it_comes_from() {
    let home = Home::new();
    let queue = home.open();
    let mut all = Vec::new();
    for number in 0..30 {
        let one = message(&queue, &[&format!("r{number}@example.com")], 10);
        put(&queue, &one).await.unwrap();
        all.push(one.id);
        home.clock.advance(MINUTE);
    }
    queue.act(OperatorAction::Hold, all[..10].to_vec()).await.unwrap();
    let now = queue.wall(queue.now()).to_zoned(jiff::tz::TimeZone::UTC);
    for (expression, expected) in [
        ("state:held", 0..10),
        ("-state:held", 10..30),
        ("state:held,queued older:25m", 0..5),
        ("newer:3m", 27..30),
        ("older:3m newer:5m", 25..27),
        ("state:held newer:22m", 8..10),
        ("state:held -older:22m", 8..10),
        ("newer:1m older:2m", 0..0),
        ("state:sent", 0..0),
        ("r7@", 7..8),
    ] {
        let filter = Filter::parse(expression, &now).unwrap();
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = queue.list(filter.clone(), cursor, 4).await.unwrap();
            found.extend(ids(&page.messages));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        found.reverse();
        assert_eq!(found, all[expected.clone()], "{expression}");
    }
}

#[tokio::test]
async fn what_a_filter_no_longer_means_is_left_alone() {
    let home = Home::new();
    let queue = home.open();
    let one = message(&queue, &["ann@example.com"], 10);
    put(&queue, &one).await.unwrap();
    let held = Filter::of_states(vec![MessageState::Held]);
    let results = queue.act_where(OperatorAction::Delete, vec![one.id], held.clone()).await.unwrap();
    assert_eq!(results, [postroom::queue::ActionResult::Unchanged]);
    queue.act(OperatorAction::Hold, vec![one.id]).await.unwrap();
    let results = queue.act_where(OperatorAction::Delete, vec![one.id], held).await.unwrap();
    assert_eq!(results, [postroom::queue::ActionResult::Done]);
}

/// One has come into the filter for another that has left it: nobody has counted it.
#[tokio::test]
async fn what_has_changed_since_the_count_is_left_alone() {
    let home = Home::new();
    let queue = home.open();
    let mut all = Vec::new();
    for _ in 0..2 {
        let one = message(&queue, &["ann@example.com"], 10);
        put(&queue, &one).await.unwrap();
        all.push(one.id);
    }
    queue.act(OperatorAction::Hold, all[..1].to_vec()).await.unwrap();
    home.clock.advance(MINUTE);
    let counted_at = queue.wall(queue.now());
    let held = Filter::of_states(vec![MessageState::Held]).as_counted_at(counted_at);
    home.clock.advance(MINUTE);
    queue.act(OperatorAction::Hold, all[1..].to_vec()).await.unwrap();
    let results = queue.act_where(OperatorAction::Delete, all, held).await.unwrap();
    assert_eq!(results, [postroom::queue::ActionResult::Done, postroom::queue::ActionResult::Unchanged]);
}

/// A page ends after so many records, found or not, so that nobody waits for a search through a long queue.
#[tokio::test]
async fn a_search_for_what_is_rare_ends_its_pages() {
    let home = Home::new();
    let queue = home.open();
    let rare = message(&queue, &["rare@example.com"], 0);
    put(&queue, &rare).await.unwrap();
    home.clock.advance(Duration::from_millis(1));
    let mut pending = Vec::new();
    for number in 0..10_100 {
        pending.push(queue_one(&queue, number));
    }
    for one in pending {
        one.await.unwrap();
    }
    let filter = parse("rare@").unwrap();
    let first = queue.list(filter.clone(), None, 10).await.unwrap();
    assert!(first.messages.is_empty() && first.next.is_some());
    let second = queue.list(filter, first.next, 10).await.unwrap();
    assert_eq!((ids(&second.messages), second.next), (vec![rare.id], None));
}

fn queue_one(queue: &postroom::queue::redb::RedbQueue, number: usize) -> postroom::queue::Pending<'_, ()> {
    use postroom::queue::MailStore;
    let one = message(queue, &[&format!("r{number}@example.com")], 0);
    queue.put(one, bytes::Bytes::new(), Vec::new())
}

fn term() -> impl Strategy<Value = (bool, &'static str, String)> {
    let word = prop::sample::select(vec!["ann", "shop", "a b", "\"", "\\", "Order", "x-y", "-", "held", ":"]);
    let text = prop::sample::select(vec!["", "from:", "to:", "subject:"]);
    let texts = (any::<bool>(), text, word.prop_map(str::to_owned));
    let state = prop::sample::select(vec!["queued", "deferred", "held", "failed", "queued,held"]);
    let states = (any::<bool>(), Just("state:"), state.prop_map(str::to_owned));
    prop_oneof![texts, states]
}

fn some_message() -> impl Strategy<Value = Message> {
    let text =
        || prop::sample::select(vec!["ann", "shop", "a b", "a\"b", "c\\d", "ORDER x-y", "re: - held", ""]);
    (text(), text(), any::<bool>(), 0..3u32).prop_map(|(subject, local, is_held, attempts)| {
        let local: String = local.chars().filter(char::is_ascii_alphanumeric).chain(['q']).collect();
        let mut message = order();
        message.attempts = attempts;
        message.reverse_path = ReversePath::Address(format!("{local}@a.test").parse().unwrap());
        message.header.subject = Some(subject.to_owned());
        message.recipients = vec![Recipient::pending(format!("{local}x@b.test").parse().unwrap())];
        message.held_since = is_held.then_some(postroom::clock::Moment(1));
        message
    })
}

/// What a term means, said another way.
fn meant(message: &Message, key: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let subject = message.header.subject.clone().unwrap_or_default().trim().to_ascii_lowercase();
    let from = message.reverse_path.as_str().to_ascii_lowercase();
    let to = message.recipients[0].address.to_string().to_ascii_lowercase();
    match key {
        "state:" => {
            value.split(',').any(|word| format!("{:?}", message.state()).to_ascii_lowercase() == word)
        }
        "from:" => from.contains(&value),
        "to:" => to.contains(&value),
        "subject:" => subject.contains(&value),
        _ => [subject, from, to, message.id.to_string().to_ascii_lowercase()]
            .iter()
            .any(|text| text.contains(&value)),
    }
}

proptest! {
    #[test]
    fn terms_are_joined_and_negated(message in some_message(), terms in prop::collection::vec(term(), 0..4)) {
        let written = |(negated, key, value): &(bool, &str, String)| {
            let quoted = format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let value = if *key == "state:" { value } else { &quoted };
            format!("{}{key}{value}", if *negated { "-" } else { "" })
        };
        let expression = terms.iter().map(written).collect::<Vec<_>>().join("  ");
        let expected = terms.iter().all(|(negated, key, value)| meant(&message, key, value) != *negated);
        prop_assert_eq!(parse(&expression).unwrap().matches(&message), expected, "{}", expression);
    }
}
