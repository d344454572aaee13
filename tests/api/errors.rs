//! What is wrong with a request is told as `application/problem+json`, whoever found it, and says what would be right.

use super::*;
use serde_json::json;

const NOBODY: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

#[test]
fn a_key_that_is_not_known_is_refused_and_the_nearest_one_named() {
    let proxy = Proxy::start("");
    for (path, hint) in [
        ("/api/v1/messages?limt=5", "did you mean `limit` by `limt`?"),
        ("/api/v1/sent?state=failed", "unknown field `state`"),
        ("/api/v1/events?form=3", "did you mean `from` by `form`?"),
        ("/api/v1/events/stream?limit=3", "unknown field `limit`"),
        ("/api/v1/messages?limit=5&limit=6", "duplicate field `limit`"),
        ("/api/v1/messages?limit=0", "`limit` is 0: ask for 1 to 1000"),
        ("/api/v1/messages?limit=-1", "limit"),
        ("/api/v1/messages?cursor=x", "`x` is not a queue id"),
        ("/api/v1/messages?state=lost", "`lost` is no state"),
        ("/api/v1/messages?q=re:", "`re:` is not known"),
        ("/api/v1/messages/nonsense", "`nonsense` is not a queue id"),
        ("/api/v1/messages/%ff", "Invalid UTF-8"),
    ] {
        let (status, detail) = get(&proxy, path).problem();
        assert_eq!(status, 400, "{path}: {detail}");
        assert!(detail.contains(hint), "{path}: {hint} is not in {detail}");
    }
    let release = format!("/api/v1/messages/{NOBODY}/release");
    for (path, body, hint) in [
        (release.as_str(), json!({ "confrim": true }), "did you mean `confirm` by `confrim`?"),
        (
            "/api/v1/messages/bulk",
            json!({ "action": "hold", "filtre": "x" }),
            "did you mean `filter` by `filtre`?",
        ),
        ("/api/v1/messages/bulk", json!({ "action": "resend", "all": true }), "`resend` is no action"),
        ("/api/v1/messages/bulk", json!({ "action": "hold" }), "name `ids`, `filter` or `all`"),
        ("/api/v1/settings/reset", json!({ "key": ["redirect"] }), "did you mean `keys` by `key`?"),
        ("/api/v1/send", json!({ "to": "a@b.test", "subjekt": "x" }), "did you mean `subject` by `subjekt`?"),
        ("/api/v1/send", json!({}), "missing field `to`"),
        ("/api/v1/send", json!({ "to": 5 }), "to"),
    ] {
        let (status, detail) = ask(&proxy, "POST", path, &body).problem();
        assert_eq!(status, 400, "{path}: {detail}");
        assert!(detail.contains(hint), "{path}: {hint} is not in {detail}");
    }
}

#[test]
fn what_no_handler_has_seen_is_told_as_every_other_error() {
    let proxy = Proxy::start("");
    let (status, detail) = get(&proxy, "/api/v1/nonsense").problem();
    assert_eq!(status, 404);
    assert!(detail.contains("/api/v1/openapi.json"), "{detail}");
    // Not a route: what is right is DELETE.
    assert_eq!(
        ask(&proxy, "POST", &format!("/api/v1/messages/{NOBODY}/delete"), &json!({})).problem().0,
        404
    );

    let bulk = "/api/v1/messages/bulk";
    let put = ask(&proxy, "PUT", bulk, &json!({}));
    assert_eq!(put.problem().0, 405);
    assert!(put.headers["allow"].split(',').any(|method| method.trim() == "POST"), "{:?}", put.headers);

    let form = request(
        &proxy,
        "POST",
        bulk,
        &[("Content-Type", "application/x-www-form-urlencoded")],
        b"action=hold",
    );
    assert_eq!(form.problem().0, 415);
    assert_eq!(request(&proxy, "POST", bulk, &[], b"{}").problem().0, 415);
    let held = format!("/api/v1/messages/{NOBODY}/hold");
    assert_eq!(request(&proxy, "POST", &held, &[("Content-Type", "text/plain")], b"{}").problem().0, 415);
    let json = [("Content-Type", "application/json; charset=utf-8")];
    for broken in [&b"{"[..], b"[]", b"\xff", b"nul", "[".repeat(100_000).as_bytes()] {
        assert_eq!(request(&proxy, "POST", bulk, &json, broken).problem().0, 400, "{broken:.20?}");
    }
    let listed = request(&proxy, "POST", &held, &json, b"[true]").problem();
    assert!(
        listed.0 == 400 && listed.1.contains("expected an object with these keys: confirm"),
        "{listed:?}"
    );
    let huge = vec![b' '; 3 * 1024 * 1024];
    assert_eq!(request(&proxy, "POST", bulk, &json, &huge).problem().0, 413);
}

#[test]
fn a_body_may_be_left_out_where_nothing_in_it_is_needed() {
    let proxy = Proxy::start("");
    for action in ["retry", "hold", "release", "resend"] {
        let path = format!("/api/v1/messages/{NOBODY}/{action}");
        for body in [&b""[..], b"null", b"{}"] {
            let answer = request(&proxy, "POST", &path, &[("Content-Type", "application/json")], body);
            let (status, detail) = answer.problem();
            assert_eq!(status, 404, "{path} {body:?}");
            assert!(detail.contains(NOBODY), "{detail}");
        }
        assert_eq!(request(&proxy, "POST", &path, &[], b"").problem().0, 404, "{path}");
    }
}

#[test]
fn a_change_of_several_keys_is_made_whole_or_not_at_all() {
    let proxy = Proxy::start("[upstream.a]\nhost = \"127.0.0.1:9\"\n[site.x]\nsenders = [\"@x.test\"]\n");
    let before = get(&proxy, "/api/v1/settings").json();
    for wrong in [
        json!({ "redirect": { "enabled": true, "report_emails": ["nobody"] } }),
        json!({ "sending": { "enabled": false }, "debug": { "failure_rate": 2 } }),
        json!({ "sending": { "enabled": false }, "debug": { "enabeld": true } }),
        json!({ "sending": { "enabled": false }, "site": { "x": { "debug": { "enabled": 5 } } } }),
        json!({ "sending": { "enabled": false }, "site": { "nobody": { "debug": { "enabled": true } } } }),
        json!({ "sending": { "enabled": false }, "limits": { "connections": 5 } }),
    ] {
        let (status, detail) = ask(&proxy, "PATCH", "/api/v1/settings", &wrong).problem();
        assert!([404, 409, 422].contains(&status), "{status}: {detail}");
        assert_eq!(get(&proxy, "/api/v1/settings").json(), before, "{wrong}");
    }
    let new = json!({ "name": "b", "host": "127.0.0.1:10", "conection_limit": 5 });
    let (status, detail) = ask(&proxy, "POST", "/api/v1/upstreams", &new).problem();
    assert_eq!(status, 422);
    assert!(detail.contains("connection_limit"), "the nearest key is named: {detail}");
    assert_eq!(get(&proxy, "/api/v1/upstreams/b").problem().0, 404);
    assert!(!proxy.data_dir().join("admin.toml").exists(), "nothing was written");
}
