//! `GET /`.

use super::page;
use crate::admin::{Admin, config};
use crate::support::free_address;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;

#[test]
fn an_empty_installation_shows_how_to_send_the_first_message() {
    let admin = Admin::start("");
    let empty = page(&admin, "/", &[]);
    let listener = admin.proxy.address().to_string();
    assert!(empty.contains("Send the first message"), "{empty}");
    assert!(empty.contains(&format!("swaks --server {listener}")), "{empty}");
    assert!(empty.contains("There is no upstream"), "{empty}");
    Talk::hello(admin.proxy.address()).mail("b@b.test", 100);
    let used = page(&admin, "/", &[]);
    assert!(!used.contains("Send the first message"), "{used}");
    assert!(used.contains("Last hour: 1 message accepted"), "{used}");
    assert!(used.contains("<a class=\"value\" href=\"/queue?state=queued\">1</a>"), "{used}");
}

#[test]
fn every_page_says_what_happens_to_mail_of_each_site_that_differs() {
    let address = free_address();
    let more = "[site.shop]\n[site.staging.redirect]\nenabled = true\nreport_emails = [\"qa@a.test\"]\n\
                [site.staging.sending]\nenabled = true\n[site.same]\n";
    let admin = Admin { proxy: Proxy::start(&(config(address, "") + more)), address };
    let shown = page(&admin, "/", &[]);
    assert!(shown.contains("<strong>SENDING OFF</strong>"), "{shown}");
    assert!(shown.contains("<strong>staging: REDIRECT</strong> <span>Mail goes to qa@a.test"), "{shown}");
    assert!(!shown.contains("same:"), "{shown}");
}

#[test]
fn upstreams_stand_in_the_order_in_which_they_are_asked() {
    let address = free_address();
    let upstream = |name: &str, more: &str| {
        format!("[upstream.{name}]\nhost = \"127.0.0.1:9\"\ntls = \"none\"\n{more}\n")
    };
    let more = [
        upstream("aa", "priority = \"low\""),
        upstream("bb", "enabled = false\npriority = \"high\""),
        upstream("cc", "priority = \"default\""),
        upstream("dd", ""),
    ];
    let admin = Admin { proxy: Proxy::start(&(config(address, "") + &more.concat())), address };
    let shown = page(&admin, "/", &[]);
    let place = |name: &str| shown.find(&format!("id=\"upstream-{name}\"")).expect(name);
    assert!(place("cc") < place("dd") && place("dd") < place("aa") && place("aa") < place("bb"), "{shown}");
    // Without a password nobody may disable one, and no button says so.
    assert!(
        shown.contains("action=\"/upstreams/cc/test\"") && !shown.contains("/upstreams/cc/disable"),
        "{shown}"
    );
}
