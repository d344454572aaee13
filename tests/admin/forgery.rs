//! Requests that a page of somebody else makes a browser send.

use super::{Admin, CHANGE, PASSWORD, with_password};

/// What browsers add to requests of pages that are not ours.
const FROM_ELSEWHERE: &[&[&str]] = &[
    &["Origin: https://evil.test"],
    &["Origin: null"],
    &["Origin: http://127.0.0.1:1"],
    &["Origin: http://localhost.evil.test"],
    &["Referer: https://evil.test/page"],
    &["Sec-Fetch-Site: cross-site"],
    &["Sec-Fetch-Site: same-site"],
    &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
    &["Origin: https://evil.test", "Sec-Fetch-Site: same-origin"],
];

#[test]
fn a_page_of_another_origin_works_on_no_mail_without_a_password() {
    let admin = Admin::start("");
    let bulk = r#"{"action": "delete", "all": true}"#;
    for headers in FROM_ELSEWHERE {
        let refused = admin.post("/api/v1/messages/bulk", headers, bulk);
        refused.is_problem(403, "another origin");
        assert_eq!(admin.form("/login", headers, "password=x").status, 403, "{headers:?}");
    }
    let own = format!("Origin: http://{}", admin.address);
    let own = [own.as_str(), "Sec-Fetch-Site: same-origin"];
    assert_eq!(admin.post("/api/v1/messages/bulk", &own, bulk).status, 200);
    assert_eq!(admin.post("/api/v1/messages/bulk", &[], bulk).status, 200, "a program says nothing of pages");
}

#[test]
fn a_page_of_another_origin_changes_nothing_in_a_session() {
    let admin = Admin::start(&with_password());
    let (cookie, csrf) = admin.log_in();
    let json = "Content-Type: application/json";
    for headers in FROM_ELSEWHERE {
        let headers = [headers, &[cookie.as_str(), csrf.as_str(), json][..]].concat();
        admin.ask("PATCH", "/api/v1/settings", &headers, CHANGE).is_problem(403, "another origin");
    }
    assert!(!admin.has_redirect());
}

#[test]
fn a_session_changes_nothing_without_its_csrf_token() {
    let admin = Admin::start(&with_password());
    let ((cookie, csrf), (_, of_another)) = (admin.log_in(), admin.log_in());
    let json = "Content-Type: application/json";
    let patch = |headers: &[&str]| {
        admin.ask("PATCH", "/api/v1/settings", &[headers, &[json, &cookie]].concat(), CHANGE)
    };
    patch(&[]).is_problem(403, "csrf_token");
    patch(&["X-CSRF-Token: "]).is_problem(403, "csrf_token");
    patch(&[&of_another]).is_problem(403, "csrf_token");
    patch(&[&csrf[..csrf.len() - 1]]).is_problem(403, "csrf_token");
    assert!(!admin.has_redirect());
    assert_eq!(patch(&[&csrf]).status, 200);
    assert!(admin.has_redirect());
}

#[test]
fn what_a_form_can_send_is_no_json() {
    let admin = Admin::start("");
    let bulk = r#"{"action": "delete", "all": true}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let kind = format!("Content-Type: {kind}");
        admin.ask("POST", "/api/v1/messages/bulk", &[&kind], bulk).is_problem(415, "application/json");
    }
    admin.ask("POST", "/api/v1/messages/bulk", &[], bulk).is_problem(415, "application/json");
    let empty = "/api/v1/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV/hold";
    admin.form(empty, &[], "").is_problem(415, "application/json");
    assert_eq!(admin.ask("POST", empty, &[], "").status, 404, "a program may send no body");
}

#[test]
fn a_page_of_another_origin_reads_and_follows_nothing() {
    let admin = Admin::start("");
    for path in ["/api/v1/events/stream", "/api/v1/messages", "/"] {
        for mode in ["no-cors", "cors", "websocket"] {
            let headers = ["Sec-Fetch-Site: cross-site", &format!("Sec-Fetch-Mode: {mode}")];
            admin.get(path, &headers).is_problem(403, "another origin");
        }
    }
    let link = admin.get("/", &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"]);
    assert_eq!(link.status, 200, "a link is followed");
    let asked = [
        "Origin: https://evil.test",
        "Access-Control-Request-Method: PATCH",
        "Access-Control-Request-Headers: content-type",
    ];
    let preflight = admin.ask("OPTIONS", "/api/v1/settings", &asked, "");
    assert_eq!(preflight.status, 405);
    assert_eq!(preflight.header("access-control-allow-origin"), None);
}

#[test]
fn forms_of_pages_need_their_token_also_without_a_password() {
    let admin = Admin::start("");
    let page = admin.get("/", &["Accept: text/html"]);
    assert_eq!(page.status, 200);
    // A page of somebody else cannot read ours, and so does not know what a form has to send.
    for body in ["", "csrf_token=", "csrf_token=guessed"] {
        let answer = admin.form("/logout", &["Accept: text/html"], body);
        assert_eq!(answer.status, 403, "{body}: {answer:?}");
        assert!(answer.text().starts_with("<!doctype html>"), "{answer:?}");
    }
}

#[test]
fn who_is_not_logged_in_comes_to_the_page_that_was_asked_for() {
    let admin = Admin::start(&with_password());
    let answer = admin.get("/queue?q=to:ann", &["Accept: text/html"]);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/login?next=%2Fqueue%3Fq%3Dto%3Aann"))
    );
    let answer = admin.form("/login", &[], &format!("password={PASSWORD}&next=%2Fqueue%3Fq%3Dto%3Aann"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/queue?q=to:ann")));
    let answer = admin.form("/login", &[], &format!("password={PASSWORD}&next=%2F%2Fevil.test"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
}
