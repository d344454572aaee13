//! `/send`.

use super::reader::Reader;
use crate::admin::Admin;

const SITES: &str = "[sending]\nenabled = false\n[site.shop]\nsenders = [\"@shop.test\"]\n";

#[test]
fn a_test_message_is_sent_and_its_page_shown() {
    let reader = Reader::start(SITES);
    reader.is_guarded("/send");
    let form = reader.page("/send?to=ann%40b.test&site=shop&text=%3Cb%3E");
    for expected in [
        "ann@b.test</textarea>",
        "&#60;b&#62;</textarea>",
        "<option selected>shop</option>",
        "Test message from Postroom",
        "aria-current=\"page\">Send a test",
    ] {
        assert!(form.contains(expected), "{expected}: {form}");
    }
    let fields =
        "to=ann%40b.test%2C%0D%0Abob%40b.test&from=me%40shop.test&subject=Hi&text=There&site=&listener=";
    let shown = reader.act("/send", fields);
    assert!(shown.contains("The test message to 2 recipients is in the queue."), "{shown}");
    let list = reader.admin.proxy.get("/api/v1/messages").unwrap();
    let message = &list["messages"][0];
    assert_eq!(message["subject"], "Hi");
    assert_eq!((&message["reverse_path"], &message["site"]), (&"me@shop.test".into(), &"shop".into()));
    assert_eq!(message["recipients"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_is_refused_stands_beside_its_field_and_nothing_typed_is_lost() {
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"qa@a.test\"]\n";
    let reader = Reader::start(&format!("{SITES}{redirect}"));
    let refused = |status: u16, fields: &str| {
        let answer = reader.send("/send", fields);
        assert_eq!(answer.status, status, "{}", answer.text());
        answer.text()
    };
    let wrong = refused(409, "to=ann%40b.test&subject=Kept&text=Typed+%3Ctext%3E&site=%28none%29");
    for expected in [
        "<p class=\"wrong\">redirect is on, and ann@b.test is neither an enabled report address (qa@a.test)",
        "ann@b.test</textarea>",
        "value=\"Kept\"",
        "Typed &#60;text&#62;</textarea>",
        "<option value=\"(none)\" selected>",
        "Redirect is on: only qa@a.test may get it.",
    ] {
        assert!(wrong.contains(expected), "{expected}: {wrong}");
    }
    assert!(refused(400, "to=qa%40a.test&from=nobody").contains("<p class=\"wrong\">`nobody` is no address"));
    assert!(refused(400, "to=+").contains("<p class=\"wrong\">`to` has 0 addresses"));
    assert!(refused(400, "to=qa%40a.test&site=gone").contains("<p class=\"wrong\">there is no site `gone`"));
    let long = format!("to=qa%40a.test&subject={}", "x".repeat(501));
    assert!(refused(400, &long).contains("<p class=\"wrong\">`subject` is one line"));
    let list = reader.admin.proxy.get("/api/v1/messages").unwrap();
    assert_eq!(list["messages"].as_array().map(Vec::len), Some(0), "{list}");
    assert!(reader.act("/send", "to=qa%40a.test").contains("The test message to qa@a.test is in the queue."));
}

#[test]
fn without_a_password_a_test_is_sent_with_the_token_of_the_page() {
    let admin = Admin::start("");
    let page = super::page(&admin, "/send", &[]);
    assert_eq!(admin.form("/send", &[], "to=a%40b.test").status, 403);
    let fields = format!("csrf_token={}&to=a%40b.test", super::csrf_token(&page));
    assert_eq!(admin.form("/send", &[], &fields).status, 303);
}
