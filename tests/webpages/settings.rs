//! `/settings` and `/settings/{site}`.

use super::reader::Reader;
use crate::admin::{Admin, config};
use crate::support::free_address;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use serde_json::{Value, json};

const OFF: &str = "[sending]\nenabled = false\n";
const SITES: &str = "[sending]\nenabled = false\n[debug]\nfailure_rate = 0.5\n[site.shop]\nsenders = [\"@shop.test\"]\n\
                     [site.intranet.debug]\nseed = 7\n";

fn settings(reader: &Reader) -> Value {
    reader.admin.proxy.get("/api/v1/settings").unwrap()
}

/// Sends the form as the page has it, but for these fields.
#[track_caller]
fn form(page: &str, changed: &[(&str, &str)]) -> String {
    let mut fields: Vec<(String, String)> = Vec::new();
    let form = page.split_once("class=\"form settings\"").expect("the form").1;
    for piece in form.split('<').skip(1) {
        let attribute = |name: &str| Some(piece.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0);
        let text = |text: &str| text.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"");
        match piece.split([' ', '>']).next() {
            Some("input") if !piece.contains("type=\"checkbox\"") => {
                let (Some(name), Some(value)) = (attribute("name"), attribute("value")) else { continue };
                fields.push((name.to_owned(), text(value)));
            }
            Some("select") => fields.push((attribute("name").unwrap().to_owned(), String::new())),
            Some("option") if piece.contains(" selected") => {
                fields.last_mut().unwrap().1 = text(attribute("value").unwrap());
            }
            Some("textarea") => {
                let value = piece.split_once(">\n").unwrap().1;
                fields.push((attribute("name").unwrap().to_owned(), text(value)));
            }
            _ => {}
        }
    }
    fields.retain(|(name, _)| name != "csrf_token" && changed.iter().all(|(other, _)| name != other));
    let changed = changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = fields.into_iter().chain(changed);
    pairs.map(|(name, value)| format!("{}={}", encode(&name), encode(&value))).collect::<Vec<_>>().join("&")
}

#[test]
fn only_what_differs_is_changed_and_it_can_be_taken_back() {
    let reader = Reader::start(OFF);
    reader.is_guarded("/settings");
    reader.is_guarded("/configuration/reset");
    let page = reader.page("/settings");
    assert!(reader.act("/settings", &form(&page, &[])).contains("Nothing was changed: it was so already."));
    let fields =
        [("debug.failure_rate", "0.25"), ("redirect.report_emails.0.email", "qa@a.test, ops@a.test")];
    let changed = reader.act("/settings", &form(&page, &fields));
    for expected in [
        "The settings are changed.",
        "debug.failure_rate: 0.01 → 0.25",
        "value=\"qa@a.test\"",
        "value=\"ops@a.test\"",
        "the default is 0.01",
        "name=\"key\" value=\"debug.failure_rate\"",
    ] {
        assert!(changed.contains(expected), "{expected}: {changed}");
    }
    let sources = settings(&reader)["sources"].clone();
    let by_page: Vec<&String> =
        sources.as_object().unwrap().keys().filter(|key| !key.starts_with("sending")).collect();
    assert_eq!(by_page, ["debug.failure_rate", "redirect.report_emails"], "{sources}");
    // One off, the other removed, another added.
    let fields = [
        ("redirect.report_emails.0.enabled", "off"),
        ("redirect.report_emails.1.remove", "yes"),
        ("redirect.report_emails.2.email", "new@a.test"),
        ("redirect.allow", "@b.test\r\nann@c.test"),
        ("queue.archive_days", "30"),
        ("log_emails.enabled", "on"),
        ("sender.rewrite", "always"),
        ("sender.address", "\"A B\" <ab@a.test>"),
    ];
    reader.act("/settings", &form(&reader.page("/settings"), &fields));
    let now = settings(&reader);
    let reports =
        json!([{ "email": "qa@a.test", "enabled": false }, { "email": "new@a.test", "enabled": true }]);
    assert_eq!(now["redirect"]["report_emails"], reports, "{now}");
    assert_eq!(now["redirect"]["allow"], json!(["@b.test", "ann@c.test"]));
    assert_eq!((&now["queue"]["archive_days"], &now["log_emails"]["enabled"]), (&json!(30), &json!(true)));
    assert_eq!(now["sender"]["address"], "\"A B\" <ab@a.test>");
    let page = reader.page("/settings");
    assert!(reader.act("/settings", &form(&page, &[])).contains("Nothing was changed: it was so already."));
    let back = reader.act("/configuration/reset", "back=%2Fsettings&key=debug.failure_rate");
    assert!(
        back.contains("<h1>Settings</h1>") && back.contains("debug.failure_rate is as it is configured."),
        "{back}"
    );
    assert_eq!(settings(&reader)["debug"]["failure_rate"], 0.01);
}

#[test]
fn a_change_of_mode_asks_and_names_the_mail_that_waits() {
    let reader =
        Reader::start("[redirect]\nreport_emails = [\"qa@a.test\"]\n[site.shop.redirect]\nenabled = false\n");
    Talk::hello(reader.admin.proxy.address()).mail("b@b.test", 100);
    let typed = form(&reader.page("/settings"), &[("redirect.enabled", "on"), ("debug.seed", "3")]);
    let asked = reader.send("/settings", &typed);
    assert_eq!(asked.status, 200);
    let asked = asked.text();
    for expected in [
        "Change what happens to mail?",
        "In the queue, of all sites: 1 message",
        "Mail of no site: LIVE → REDIRECT. Mail goes to qa@a.test and not to its recipients.",
        "Mail that waits is caught, too",
        "name=\"debug.seed\" value=\"3\"",
        "name=\"confirm\"",
    ] {
        assert!(asked.contains(expected), "{expected}: {asked}");
    }
    // The site says it itself.
    assert!(!asked.contains("shop:"), "{asked}");
    assert_eq!(settings(&reader)["redirect"]["enabled"], false);
    let done = reader.act("/settings", &format!("{typed}&confirm=yes"));
    assert!(
        done.contains("redirect.enabled: no → yes") && done.contains("<strong>REDIRECT</strong>"),
        "{done}"
    );
    // To take it back ends the mode.
    let asked = reader.send("/configuration/reset", "back=%2Fsettings&key=redirect.enabled");
    assert!(asked.status == 200 && asked.text().contains("It ends redirect."), "{}", asked.text());
    assert!(asked.text().contains("name=\"key\" value=\"redirect.enabled\""), "{}", asked.text());
    assert_eq!(settings(&reader)["redirect"]["enabled"], true);
    let back = reader.act("/configuration/reset", "back=%2Fsettings&key=redirect.enabled&confirm=yes");
    assert!(back.contains("redirect.enabled is as it is configured."), "{back}");
    assert_eq!(settings(&reader)["redirect"]["enabled"], false);
}

#[test]
fn a_site_shows_what_it_inherits_and_can_go_back_to_it() {
    let reader = Reader::start(SITES);
    assert_eq!(reader.get("/settings/nobody").status, 404);
    let page = reader.page("/settings/shop");
    for expected in [
        "<option value=\"inherit\" selected>as all mail: off</option>",
        "name=\"debug.failure_rate\" value=\"\" placeholder=\"0.5\"",
        "aria-current=\"page\">shop</a>",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("archive_days") && !page.contains("log_emails"), "{page}");
    assert!(reader.act("/settings/shop", &form(&page, &[])).contains("Nothing was changed"));
    // Who types into a list means it.
    let fields = [("debug.failure_rate", "0.5"), ("redirect.allow", "@shop.test")];
    let page = reader.act("/settings/shop", &form(&page, &fields));
    assert_eq!(settings(&reader)["site"]["shop"]["debug"]["failure_rate"], 0.5, "{page}");
    assert_eq!(settings(&reader)["site"]["shop"]["redirect"]["allow"], json!(["@shop.test"]));
    assert!(page.contains("without it, as all mail: 0.5"), "{page}");
    assert!(page.contains("name=\"key\" value=\"site.shop.debug.failure_rate\""), "{page}");
    let fields = [("debug.failure_rate", ""), ("redirect.allow.own", "inherit")];
    reader.act("/settings/shop", &form(&page, &fields));
    let now = settings(&reader);
    assert_eq!(now["site"]["shop"], json!({}), "{now}");
    // A mode of a site alone.
    let typed = form(&reader.page("/settings/shop"), &[("sending.enabled", "on")]);
    let asked = reader.send("/settings/shop", &typed).text();
    assert!(asked.contains("shop: SENDING OFF → LIVE."), "{asked}");
    let done = reader.act("/settings/shop", &format!("{typed}&confirm=yes"));
    assert!(done.contains("site.shop.sending.enabled: not given → yes"), "{done}");
    // What the file says for a site cannot be inherited from here.
    let page = reader.page("/settings/intranet");
    assert!(page.contains("name=\"debug.seed\" value=\"7\" placeholder=\"\""), "{page}");
}

#[test]
fn what_the_environment_gives_is_locked() {
    let reader = Reader::start_in(&[("POSTROOM_DEBUG__SEED", "7")], OFF);
    let page = reader.page("/settings");
    assert!(page.contains("<p class=\"lock\">Given by POSTROOM_DEBUG__SEED"), "{page}");
    let field = page.split("<input id=\"key-debug-seed\"").nth(1).and_then(|rest| rest.split('>').next());
    assert!(field.unwrap().contains(" disabled"), "{field:?}");
    assert!(reader.act("/settings", "debug.seed=9").contains("Nothing was changed: it was so already."));
    assert_eq!(settings(&reader)["debug"]["seed"], 7);
}

#[test]
fn what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost() {
    let reader = Reader::start(OFF);
    let fields = [
        ("debug.failure_rate", "2"),
        ("debug.seed", "x<y"),
        ("redirect.report_emails.0.email", "no-address"),
        ("sender.rewrite", "always"),
        ("redirect.allow", "@kept.test"),
    ];
    let answer = reader.send("/settings", &form(&reader.page("/settings"), &fields));
    assert_eq!(answer.status, 422, "{}", answer.text());
    let page = answer.text();
    for expected in [
        "Nothing was changed, because this would be wrong:",
        "<a href=\"#key-debug-failure_rate\">debug.failure_rate: 2 is no share",
        "<a href=\"#key-redirect-report_emails\">",
        "<a href=\"#key-sender-address\">sender.address: is missing",
        "<p class=\"wrong\">2 is no share; give it a share from 0 to 1, for example 0.01</p>",
        "value=\"x&#60;y\"",
        "value=\"no-address\"",
        "<option value=\"always\" selected>",
        "@kept.test</textarea>",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert_eq!(settings(&reader)["redirect"]["allow"], json!([]));
}

#[test]
fn who_may_not_configure_sees_everything_disabled_and_how_to_get_the_right() {
    let address = free_address();
    let config = config(address, "") + "[site.shop]\nsenders = [\"@shop.test\"]\n";
    let admin = Admin { proxy: Proxy::start(&config), address };
    for path in ["/settings", "/settings/shop"] {
        let page = super::page(&admin, path, &[]);
        assert!(page.contains("postroom hash"), "{page}");
        let form = page.split_once("class=\"form settings\"").unwrap().1;
        let form = form.split_once("</form>").unwrap().0;
        for control in ["<input id", "<select", "<textarea"] {
            let enabled = form
                .split(control)
                .skip(1)
                .filter(|rest| !rest.split('>').next().unwrap().contains(" disabled"));
            assert_eq!(enabled.count(), 0, "{control}: {form}");
        }
        assert!(!form.contains("<button"), "{form}");
        let fields = format!("csrf_token={}&debug.seed=5", super::csrf_token(&page));
        assert_eq!(admin.form(path, &[], &fields).status, 403);
    }
}

#[test]
fn a_page_that_is_out_of_date_takes_nothing_back() {
    let reader = Reader::start(OFF);
    let old = reader.page("/settings");
    reader.act("/settings", &form(&old, &[("debug.failure_rate", "0.25")]));
    let refused = reader.act("/settings", &form(&old, &[("debug.seed", "7")]));
    assert!(refused.contains("have been changed since this page was loaded"), "{refused}");
    assert_eq!(settings(&reader)["debug"]["failure_rate"], 0.25);
    assert_eq!(settings(&reader)["debug"]["seed"], 0);
}

#[test]
fn who_gets_redirected_mail_is_asked_about_before_it_changes() {
    let more = "[redirect]\nenabled = true\nreport_emails = [\"qa@a.test\"]\n";
    let reader = Reader::start(&(OFF.to_owned() + more));
    for (field, value, told) in [
        ("redirect.report_emails.0.email", "customer@c.test", "customer@c.test"),
        ("redirect.allow", "@c.test", "@c.test still get their own"),
    ] {
        let page = reader.page("/settings");
        let asked = reader.send("/settings", &form(&page, &[(field, value)])).text();
        assert!(asked.contains("name=\"confirm\"") && asked.contains(told), "{asked}");
        let redirect = &settings(&reader)["redirect"];
        assert!(!redirect.to_string().contains("c.test"), "{redirect}");
    }
}
