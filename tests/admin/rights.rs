//! Who may do what.

use super::{Admin, CHANGE, TOKEN, with_password};
use crate::support::eventually;
use crate::support::talk::Talk;

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}")
}

#[test]
fn without_a_password_mail_is_worked_on_and_no_configuration_is_changed() {
    let admin = Admin::start("");
    Talk::hello(admin.proxy.address()).mail("b@b.test", 100);
    let messages = admin.get("/api/v1/messages", &[]);
    assert_eq!(messages.status, 200, "{messages:?}");
    let id = messages.json()["messages"][0]["id"].as_str().unwrap().to_owned();
    let message = |action: &str| format!("/api/v1/messages/{id}{action}");
    assert_eq!(admin.get(&message("/raw"), &[]).status, 200);
    assert_eq!(admin.ask("POST", &message("/hold"), &[], "").status, 200);
    assert_eq!(admin.post(&message("/release"), &[], "{}").status, 200);
    let bulk = r#"{"action": "hold", "all": true}"#;
    assert_eq!(admin.post("/api/v1/messages/bulk", &[], bulk).json()["changed"], 1);
    assert_eq!(admin.ask("DELETE", &message(""), &[], "").status, 204);
    for (method, path) in [
        ("PATCH", "/api/v1/settings"),
        ("POST", "/api/v1/settings/reset"),
        ("POST", "/api/v1/upstreams"),
        ("PATCH", "/api/v1/upstreams/a"),
        ("DELETE", "/api/v1/upstreams/a"),
        ("POST", "/api/v1/upstreams/a/reset"),
        ("POST", "/api/v1/reload"),
    ] {
        let refused = admin.ask(method, path, &["Content-Type: application/json"], CHANGE);
        refused.is_problem(403, "password_hash in [admin]");
    }
    assert!(!admin.has_redirect());
    let session = admin.get("/api/v1/session", &[]).json();
    assert_eq!(session["identity"], "nobody");
    assert_eq!(session["may"], serde_json::json!(["read", "mail"]));
}

#[test]
fn with_a_password_nothing_but_health_and_the_login_page_is_answered() {
    let admin = Admin::start(&with_password());
    for path in ["/livez", "/readyz", "/login"] {
        assert_eq!(admin.get(path, &[]).status, 200, "{path}");
    }
    for path in [
        "/",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/session",
        "/api/v1/messages",
        "/api/v1/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV/raw",
        "/api/v1/settings",
        "/api/v1/upstreams",
        "/api/v1/events",
        "/api/v1/events/stream",
        "/api/v1/stats",
        "/nonsense",
    ] {
        admin.get(path, &[]).is_problem(401, "log in at /login");
        admin.ask("DELETE", path, &[], "").is_problem(401, "token");
    }
    admin.ask("PATCH", "/api/v1/settings", &[], CHANGE).is_problem(401, "log in");
    admin.form("/logout", &[], "").is_problem(401, "log in");
    let unknown = admin.get("/api/v1/messages", &[]);
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"postroom\""));
    let page = admin.get("/", &["Accept: text/html,*/*"]);
    assert_eq!((page.status, page.header("location")), (303, Some("/login")));
}

#[test]
fn the_token_may_do_everything() {
    for keys in [with_password(), format!("token = \"{TOKEN}\"")] {
        let admin = Admin::start(&keys);
        assert_eq!(admin.get("/api/v1/messages", &[&bearer()]).status, 200);
        let session = admin.get("/api/v1/session", &[&bearer()]).json();
        assert_eq!(session["may"], serde_json::json!(["read", "mail", "configuration"]));
        let json = ["Content-Type: application/json", &bearer()];
        let changed = admin.ask("PATCH", "/api/v1/settings", &json, CHANGE);
        assert_eq!(changed.status, 200, "{changed:?}");
        assert!(admin.has_redirect());
        assert_eq!(admin.post("/api/v1/reload", &[&bearer()], "").status, 200);
    }
}

#[test]
fn a_wrong_token_is_refused_also_where_nobody_needs_one() {
    for keys in [with_password(), format!("token = \"{TOKEN}\""), String::new()] {
        let admin = Admin::start(&keys);
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            &format!("Bearer {TOKEN}0"),
            &format!("bearer {}", &TOKEN[1..]),
        ] {
            let refused = admin.get("/api/v1/messages", &[&format!("Authorization: {wrong}")]);
            refused.is_problem(401, "not the token");
        }
    }
}

#[test]
fn what_a_proxy_in_front_asks_for_is_not_for_us() {
    let admin = Admin::start(&with_password());
    let basic = format!("Authorization: Basic {TOKEN}");
    admin.get("/api/v1/stats", &[&basic]).is_problem(401, "log in");
    admin.get("/api/v1/stats", &[&format!("Authorization: {TOKEN}")]).is_problem(401, "log in");
    let (cookie, _) = admin.log_in();
    assert_eq!(admin.get("/api/v1/stats", &[&basic, &cookie]).status, 200);
}

#[test]
fn a_change_says_who_made_it_and_from_where() {
    let admin = Admin::start(&with_password());
    let json = ["Content-Type: application/json", "User-Agent: deploy/1", &bearer()];
    assert_eq!(admin.ask("PATCH", "/api/v1/settings", &json, CHANGE).status, 200);
    let (cookie, csrf) = admin.log_in();
    let json = ["User-Agent: Browser/2", &cookie, &csrf];
    assert_eq!(admin.post("/api/v1/settings/reset", &json, r#"{"all": true}"#).status, 200);
    for by in ["(by deploy/1, with the token, from 127.0.0.1)", "(by Browser/2, logged in, from 127.0.0.1)"] {
        eventually(by, || {
            let events = admin.proxy.command(&["events", "list", "--code", "CHANGED"]);
            String::from_utf8(events.stdout).unwrap().contains(by).then_some(())
        });
    }
    assert_eq!(admin.proxy.get("/api/v1/session").unwrap()["identity"], "control socket");
}
