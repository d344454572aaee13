//! The page of the queue, and what is done from it.

use super::csrf_token;
use super::reader::Reader;
use crate::admin::Admin;
use crate::support::recorder::Recorder;
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use crate::support::{eventually, plain_upstream};
use serde_json::Value;

const OFF: &str = "[sending]\nenabled = false\n";

/// Sends a small message to each, and says their queue ids.
#[track_caller]
pub fn send(admin: &Admin, recipients: &[&str]) -> Vec<String> {
    let mut talk = Talk::hello(admin.proxy.address());
    let ids = recipients.iter().map(|one| talk.mail(one, 100));
    ids.map(|reply| reply.split_whitespace().last().expect("an id").to_owned()).collect()
}

/// Messages of the queue as the API lists them.
#[track_caller]
fn queued(admin: &Admin) -> Vec<Value> {
    let listed = admin.proxy.get("/api/v1/messages?limit=1000").expect("a listing");
    listed["messages"].as_array().expect("a list").clone()
}

#[track_caller]
fn states(admin: &Admin) -> Vec<String> {
    queued(admin).iter().map(|one| one["state"].as_str().expect("a state").to_owned()).collect()
}

/// The ids of the rows of a page, in their order.
pub fn rows(page: &str) -> Vec<String> {
    page.split("<tr id=\"").skip(1).map(|row| row[..26].to_owned()).collect()
}

/// Where the link with that text leads to.
#[track_caller]
pub fn link(page: &str, text: &str) -> String {
    let before =
        page.split_once(&format!(">{text}</a>")).unwrap_or_else(|| panic!("no link {text}: {page}")).0;
    let at = before.rfind("href=\"").expect("a link") + 6;
    before[at..].split('"').next().expect("its end").replace("&#38;", "&")
}

/// The fields of the form that asks, as a reader sends them.
#[track_caller]
pub fn fields(page: &str) -> String {
    let form =
        page.split_once("<section class=\"card ask\">").unwrap_or_else(|| panic!("no question: {page}")).1;
    let inputs = form.split("<input type=\"hidden\" name=\"").skip(1).filter_map(|input| {
        let (name, rest) = input.split_once("\" value=\"")?;
        let value =
            rest.split_once('"')?.0.replace("&#34;", "\"").replace("&#60;", "<").replace("&#38;", "&");
        let value = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
        (name != "csrf_token").then(|| format!("{name}={value}"))
    });
    inputs.collect::<Vec<_>>().join("&")
}

#[test]
fn an_empty_queue_says_so_and_where_to_go() {
    let reader = Reader::start(OFF);
    let page = reader.page("/queue");
    assert!(page.contains("The queue is empty."), "{page}");
    assert!(page.contains("href=\"/sent\"") && page.contains("href=\"/send\""), "{page}");
    assert!(page.contains("aria-current=\"page\">Queue"), "{page}");
}

#[test]
fn what_waits_is_shown_with_all_that_is_known_of_it() {
    let server = Scripted::start(|script| script.on("RCPT TO:<full", "452 4.2.2 <full> & \"busy\""));
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let reader = Reader::start(&format!("{upstream}\n[site.shop]\nsenders = [\"shop@a.test\"]\n"));
    let id = send(&reader.admin, &["full@b.test"]).remove(0);
    eventually("it to be deferred", || (states(&reader.admin) == ["deferred"]).then_some(()));
    let page = reader.page("/queue");
    for expected in [
        &*format!("<tr id=\"{id}\">"),
        &format!("href=\"/messages/{id}\">full@b.test</a>"),
        "<span class=\"badge deferred\">deferred</span>",
        "shop@a.test<br>→&#160;full@b.test",
        "<td data-label=\"Site\" class=\"nowrap pair\">shop</td>",
        "normal",
        "primary",
        "452 4.2.2 &#60;full&#62; &#38; &#34;busy&#34;",
        "<td data-label=\"Attempts\" class=\"number pair\">1</td>",
        "<time data-countdown datetime=",
        "<time data-age datetime=",
        "deferred <span class=\"count\">1</span>",
        "<option value=\"shop\">shop</option>",
        "<body data-live>",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert_eq!(rows(&reader.page("/queue?state=deferred&site=shop&q=to:full")), [id]);
    for none in
        ["/queue?state=held", "/queue?site=-", "/queue?q=to:nobody", "/queue?q=-to:full&state=deferred"]
    {
        let page = reader.page(none);
        assert!(rows(&page).is_empty() && page.contains("No message matches"), "{none}: {page}");
    }
    let page = reader.page("/queue?q=upstream:primry+site:shp");
    assert!(page.contains("No upstream primry is configured.") && page.contains("No site shp"), "{page}");
}

#[test]
fn a_filter_that_is_wrong_is_shown_where_it_is_wrong_and_stays() {
    let reader = Reader::start(OFF);
    send(&reader.admin, &["b@b.test"]);
    let page = reader.page_with(400, "/queue?q=to:b+olde:2d&state=queued");
    assert!(page.contains("character 6: `olde:` is not known; did you mean `older:`?"), "{page}");
    assert!(page.contains("to:b olde:2d\n         ^^^^"), "{page}");
    assert!(page.contains("value=\"to:b olde:2d\""), "{page}");
    assert!(rows(&page).is_empty() && !page.contains("<body data-live"), "{page}");
    // What is wrong in another part of the address is told there, too; nothing of it means everything.
    for wrong in ["/queue?state=nonsense", "/queue?cursor=1", "/queue?q=%22", "/queue?site=%22+state:failed"]
    {
        let answer = reader.get(wrong);
        let is_told = answer.status == 400 || rows(&answer.text()).is_empty();
        assert!(is_told, "{wrong}: {answer:?}");
    }
    let long = format!("/queue?q={}", "x".repeat(600));
    assert!(reader.page_with(400, &long).contains("up to 500 bytes"));
}

#[test]
fn a_long_list_goes_on_where_the_page_ends_and_keeps_its_place() {
    let reader = Reader::start(OFF);
    let recipients: Vec<String> = (0..120).map(|number| format!("r{number}@b.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut ids = send(&reader.admin, &recipients);
    // Two of one millisecond are in any order.
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let first = reader.page("/queue?q=to:b.test");
    assert_eq!(rows(&first), ids[..50]);
    assert!(!first.contains(">Newest</a>"), "{first}");
    let second = reader.page(&link(&first, "Older"));
    assert_eq!(rows(&second), ids[50..100]);
    assert!(second.contains("50 or more newer messages"), "{second}");
    let third = reader.page(&link(&second, "Older"));
    assert_eq!(rows(&third), ids[100..]);
    assert!(!third.contains(">Older</a>"), "{third}");
    assert_eq!(rows(&reader.page(&link(&third, "Newest"))), ids[..50]);
    // The script asks for the page by its first row: what comes in above does not move it.
    let at = first.split_once("data-refresh=\"").unwrap().1.split('"').next().unwrap().replace("&#38;", "&");
    send(&reader.admin, &["newer@b.test"]);
    let again = reader.page(&at);
    assert_eq!(rows(&again), ids[..50]);
    assert!(again.contains("1 newer message<"), "{again}");
}

#[test]
fn no_page_is_large_whatever_stands_in_mail() {
    let reply = format!("550 5.1.1 {}", "<\"&'>".repeat(80));
    let server = Scripted::start(|script| script.on("RCPT", reply.as_str()));
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let reader = Reader::start(&format!("[queue]\nbounce = \"none\"\n{upstream}\n[site.shop]\n"));
    let mut talk = Talk::hello(reader.admin.proxy.address());
    for number in 0..52 {
        let long = format!("\"{}\"@{}.test", "&<>".repeat(20), "x".repeat(60));
        let recipients = [format!("<\"{number}{}\"@b.test>", "<>&".repeat(18)), "<c@b.test>".to_owned()];
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        talk.begin_data(&format!("<{long}>"), &recipients);
        talk.send(format!("Subject: {}\r\n\r\nx\r\n.\r\n", "<'&\"\u{1f4e7}>".repeat(100)));
        talk.hear("250");
    }
    eventually("all to fail", || states(&reader.admin).iter().all(|state| state == "failed").then_some(()));
    // No id has a U.
    let worst = format!("/queue?q={}&state=failed&site=-", "-u%22%22%22u%22+".repeat(40));
    for path in ["/queue", "/queue?state=failed&q=from:x", &worst] {
        let page = reader.page(path);
        assert_eq!(rows(&page).len(), 50, "{path}");
        println!("{path}: {} bytes", page.len());
    }
}

#[test]
fn what_is_selected_is_held_released_and_retried() {
    let reader = Reader::start(OFF);
    let ids = send(&reader.admin, &["a@b.test", "b@b.test", "c@b.test"]);
    let page = reader.act("/queue/act", &format!("selected=hold&id={}&id={}&q=to:b.test", ids[0], ids[1]));
    assert!(page.contains("Hold: 2 messages held.") && page.contains("value=\"to:b.test\""), "{page}");
    assert_eq!(states(&reader.admin), ["queued", "held", "held"]);
    assert!(page.contains("held by an operator"), "{page}");
    let page = reader.act("/queue/act", &format!("selected=release&id={}&id={}", ids[0], ids[2]));
    assert!(page.contains("Release: 1 message released."), "{page}");
    assert!(page.contains("1 message had nothing to do: they were not held."), "{page}");
    let page = reader.act("/queue/act", &format!("selected=retry&id={}&id={}", ids[0], ids[1]));
    assert!(page.contains("Resend: 1 message made due now."), "{page}");
    assert!(page.contains("held mail has to be released first"), "{page}");
    assert_eq!(states(&reader.admin), ["queued", "held", "queued"]);
}

#[test]
fn nothing_is_deleted_before_it_was_asked() {
    let reader = Reader::start(OFF);
    let ids = send(&reader.admin, &["a@b.test", "b@b.test", "c@b.test"]);
    let asked = reader.send("/queue/act", &format!("selected=delete&id={}", ids[0]));
    assert_eq!(asked.status, 200, "{asked:?}");
    let page = asked.text();
    assert!(page.contains("Delete 1 message?") && page.contains("nobody is told"), "{page}");
    assert_eq!(queued(&reader.admin).len(), 3, "asked, and not done");
    let page = reader.act("/queue/act", &fields(&page));
    assert!(page.contains("Delete: 1 message deleted."), "{page}");
    assert_eq!(queued(&reader.admin).len(), 2);

    // By a filter: what was counted is what is meant, and mail that comes later is not.
    let asked = reader.send("/queue/act", "all=delete&q=to%3A%40b.test&state=queued&site=-").text();
    assert!(asked.contains("Delete 2 messages?"), "{asked}");
    assert!(asked.contains("to:@b.test state:&#34;queued&#34; site:&#34;&#34;"), "{asked}");
    send(&reader.admin, &["later@b.test"]);
    let page = reader.act("/queue/act", &fields(&asked));
    assert!(page.contains("Delete: 2 messages deleted."), "{page}");
    assert_eq!(queued(&reader.admin).len(), 1);
    assert_eq!(queued(&reader.admin)[0]["recipients"][0]["address"], "later@b.test");
}

#[test]
fn more_than_was_counted_is_refused() {
    let reader = Reader::start(OFF);
    let ids = send(&reader.admin, &["a@b.test", "b@b.test"]);
    reader.act("/queue/act", &format!("selected=hold&id={}", ids[0]));
    let asked = reader.send("/queue/act", "all=delete&state=held").text();
    assert!(asked.contains("Delete 1 message?"), "{asked}");
    reader.act("/queue/act", &format!("selected=hold&id={}", ids[1]));
    let page = reader.act("/queue/act", &fields(&asked));
    assert!(page.contains("notice refused") && page.contains("count them again"), "{page}");
    assert_eq!(queued(&reader.admin).len(), 2, "nothing was changed");
}

#[test]
fn all_that_the_filter_means_is_acted_on_after_the_question() {
    let reader = Reader::start(OFF);
    send(&reader.admin, &["a@b.test", "b@b.test", "c@c.test"]);
    for (action, title, done, states_then) in [
        ("hold", "Hold 2 messages?", "Hold: 2 messages held.", ["queued", "held", "held"]),
        ("release", "Release 2 messages?", "Release: 2 messages released.", ["queued", "queued", "queued"]),
        ("retry", "Resend 2 messages?", "Resend: 2 messages made due now.", ["queued", "queued", "queued"]),
    ] {
        let asked = reader.send("/queue/act", &format!("all={action}&q=to%3Ab.test")).text();
        assert!(asked.contains(title), "{asked}");
        let page = reader.act("/queue/act", &fields(&asked));
        assert!(page.contains(done), "{page}");
        assert_eq!(states(&reader.admin), states_then, "{action}");
    }
    let asked = reader.send("/queue/act", "all=hold").text();
    assert!(asked.contains("Hold 3 messages?") && asked.contains("All messages of the queue"), "{asked}");
    reader.act("/queue/act", &fields(&asked));
    assert_eq!(states(&reader.admin), ["held", "held", "held"]);
    let page = reader.act("/queue/act", "all=hold&q=to%3Anobody");
    assert!(page.contains("No message is meant: nothing was changed."), "{page}");
    let refused = reader.send("/queue/act", "all=hold&q=olde%3A2d");
    let page = reader.page_with(400, refused.header("location").unwrap());
    assert!(page.contains("notice refused") && page.contains("did you mean"), "{page}");
}

#[test]
fn what_a_mode_holds_is_released_only_after_the_question() {
    let simulate = "[simulate]\nenabled = true\n";
    let reader = Reader::start(simulate);
    let id = send(&reader.admin, &["a@b.test"]).remove(0);
    eventually("it to be deferred", || (states(&reader.admin) == ["deferred"]).then_some(()));
    let body = r#"{"simulate": {"enabled": false}, "sending": {"enabled": false}}"#;
    reader.set(body);
    let body = r#"{"sending": {"enabled": true}}"#;
    reader.set(body);
    eventually("it to be held", || (states(&reader.admin) == ["held"]).then_some(()));
    let page = reader.page("/queue");
    assert!(page.contains("a mode has ended"), "{page}");
    let body = r#"{"sending": {"enabled": false}}"#;
    reader.set(body);
    let asked = reader.send("/queue/act", &format!("selected=release&id={id}"));
    assert_eq!(asked.status, 200, "{asked:?}");
    let asked = asked.text();
    assert!(asked.contains("All of them are held because a mode has ended"), "{asked}");
    assert_eq!(states(&reader.admin), ["held"]);
    let page = reader.act("/queue/act", &fields(&asked));
    assert!(page.contains("Release: 1 message released."), "{page}");
    assert_eq!(states(&reader.admin), ["deferred"]);
}

#[test]
fn ids_that_are_gone_and_forms_that_say_nothing_are_told() {
    let reader = Reader::start(OFF);
    let gone = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for action in ["retry", "hold", "release"] {
        let page = reader.act("/queue/act", &format!("selected={action}&id={gone}"));
        assert!(page.contains("nothing was changed") && page.contains(gone), "{page}");
    }
    let asked = reader.send("/queue/act", &format!("selected=delete&id={gone}")).text();
    assert!(asked.contains("not in the queue any more"), "{asked}");
    let page = reader.act("/queue/act", &fields(&asked));
    assert!(page.contains("nothing was changed"), "{page}");
    for (form, told) in [
        ("selected=retry", "No message is selected"),
        ("id=01ARZ3NDEKTSV4RRFFQ69G5FAV", "has to be said"),
        ("selected=resend&id=01ARZ3NDEKTSV4RRFFQ69G5FAV", "has to be said"),
        ("selected=retry&id=nonsense", "is not a queue id"),
        ("all=delete&state=damaged", "by ticking them"),
    ] {
        let page = reader.act("/queue/act", form);
        assert!(page.contains(told), "{form}: {page}");
    }
}

#[test]
fn a_form_of_somebody_else_does_nothing() {
    let reader = Reader::start(OFF);
    send(&reader.admin, &["a@b.test"]);
    reader.is_guarded("/queue/act");
    reader.is_guarded("/queue/sending");
    let forged = format!("all=delete&confirmed=yes&matching=9&csrf_token={}", "x".repeat(43));
    assert_eq!(reader.forge("/queue/act", &forged).status, 403);
    assert_eq!(queued(&reader.admin).len(), 1);
}

#[test]
fn without_a_password_mail_is_worked_on_and_sending_stays() {
    let admin = Admin::start("");
    let id = send(&admin, &["a@b.test"]).remove(0);
    let page = admin.get("/queue", &["Accept: text/html"]).text();
    assert!(page.contains("disabled aria-describedby=\"may-not\">Start sending"), "{page}");
    assert!(page.contains("set a password"), "{page}");
    let token = csrf_token(&page);
    let done = admin.form("/queue/act", &[], &format!("csrf_token={token}&selected=hold&id={id}"));
    assert_eq!(done.status, 303, "{done:?}");
    assert_eq!(states(&admin), ["held"]);
    let form = format!("csrf_token={token}&sending=on&confirmed=yes");
    assert_eq!(admin.form("/queue/sending", &[], &form).status, 403);
    assert_eq!(admin.proxy.get("/api/v1/settings").unwrap()["sending"]["enabled"], false);
}

#[test]
fn sending_is_stopped_and_started_after_a_question() {
    let recorder = Recorder::start();
    let site = "[site.apart.sending]\nenabled = true\n";
    let reader = Reader::start(&format!("{}{site}", recorder.upstream("only")));
    let is_on = || reader.admin.proxy.get("/api/v1/settings").unwrap()["sending"]["enabled"] == true;
    assert!(reader.page("/queue").contains(">Stop sending</button>"));
    let asked = reader.send("/queue/sending", "sending=off").text();
    assert!(asked.contains("Stop sending?") && asked.contains("nothing expires"), "{asked}");
    assert!(asked.contains("Sending stays on for what says so itself: apart."), "{asked}");
    assert!(is_on(), "asked, and not done");
    let page = reader.act("/queue/sending", &fields(&asked));
    assert!(page.contains("Sending is off") && page.contains("SENDING OFF"), "{page}");
    assert!(!is_on());
    send(&reader.admin, &["a@b.test"]);
    let page = reader.page("/queue");
    assert!(page.contains("sending is off") && page.contains(">Start sending</button>"), "{page}");
    let asked = reader.send("/queue/sending", "sending=on").text();
    assert!(asked.contains("1 message waits; what is due is sent at once."), "{asked}");
    let page = reader.act("/queue/sending", &fields(&asked));
    assert!(page.contains("Sending is on."), "{page}");
    recorder.wait(1);
}

#[test]
fn a_damaged_record_is_shown_and_can_be_deleted() {
    let recorder = Recorder::start();
    let mut reader = Reader::start(&format!("{OFF}{}", recorder.upstream("only")));
    let mut talk = Talk::hello(reader.admin.proxy.address());
    talk.begin_data("<a@a.test>", &["<b@b.test>"]);
    let unique = "what-will-be-damaged ".repeat(10);
    talk.send(format!("Subject: x\r\n\r\n{unique}\r\n.\r\n"));
    let id = talk.hear("250").split_whitespace().last().unwrap().to_owned();
    drop(talk);
    reader.admin.proxy.terminate();
    let file = reader.admin.proxy.data_dir().join("queue.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, unique.as_bytes()).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|place| bytes[place + 5] ^= 1);
    std::fs::write(&file, bytes).unwrap();
    reader.start_again(&recorder.upstream("only"));
    eventually("it to be set aside", || {
        reader.page("/queue").contains("damaged <span class=\"count\">1</span>").then_some(())
    });
    for path in ["/queue", "/queue?state=damaged", &format!("/queue?state=damaged&cursor={id}")] {
        let page = reader.page(path);
        assert_eq!(rows(&page), [&*id], "{path}");
        assert!(page.contains("<span class=\"badge damaged\">damaged</span>"), "{page}");
    }
    let page = reader.page("/queue?state=damaged");
    assert!(!page.contains("value=\"retry\"") && page.contains("Delete selected"), "{page}");
    let asked = reader.send("/queue/act", &format!("selected=delete&id={id}&state=damaged")).text();
    let page = reader.act("/queue/act", &fields(&asked));
    assert!(page.contains("Delete: 1 message deleted."), "{page}");
    assert!(reader.page("/queue").contains("The queue is empty."));
}
