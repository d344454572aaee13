//! The routes, and several who change something at once.

use super::*;

#[test]
fn settings_are_changed_and_taken_back_over_http_for_all_mail_and_for_one_site() {
    let recorder = Recorder::start();
    let file = format!("{}[site.x]\nsenders = [\"@x.test\"]\n", recorder.upstream("only"));
    let proxy = Proxy::start(&file);
    let body = json!({
        "redirect": { "enabled": true, "report_emails": ["qa@a.test", { "email": "ops@a.test", "enabled": false }] },
        "queue": { "archive_days": 3 },
        "site": { "x": { "redirect": { "enabled": false }, "debug": { "enabled": true } } },
    });
    let (status, settings) = ask(&proxy, "PATCH", "/api/v1/settings", &body);
    assert_eq!(status, 200, "{settings}");
    for (path, value) in [
        ("/redirect/enabled", json!(true)),
        ("/redirect/report_emails/1/email", json!("ops@a.test")),
        ("/queue/archive_days", json!(3)),
        ("/site/x/debug/enabled", json!(true)),
        ("/site/x/redirect/enabled", json!(false)),
        ("/sending/enabled", json!(true)),
        ("/sources/queue.archive_days/layer", json!("admin.toml")),
        ("/sources/queue.archive_days/below", json!(0)),
    ] {
        assert_eq!(settings.pointer(path), Some(&value), "{path} in {settings}");
        assert_eq!(
            ask(&proxy, "GET", "/api/v1/settings", &Value::Null).1.pointer(path),
            Some(&value),
            "{path}"
        );
    }
    assert_eq!(settings["changes"].as_array().unwrap().len(), 5, "{settings}");
    send(&proxy);
    assert_eq!(recorder.wait(1)[0].rcpt, ["<qa@a.test>"]);
    let modes = events(&proxy, "MODE");
    assert!(
        modes.iter().any(|mode| mode.starts_with("all mail: redirect is on, it goes to qa@a.test and not to its recipients (switched by test, user ")),
        "{modes:?}"
    );
    assert!(modes.iter().any(|mode| mode.starts_with("mail of site x: debug is on")), "{modes:?}");

    let (status, _) = ask(
        &proxy,
        "PATCH",
        "/api/v1/settings",
        &json!({ "redirect": { "enabled": null }, "site": { "x": null } }),
    );
    assert_eq!(status, 200);
    assert_eq!(in_force(&proxy)["redirect"]["enabled"], false);
    assert_eq!(in_force(&proxy).pointer("/site/x/debug"), None);
    let (status, done) = ask(&proxy, "POST", "/api/v1/settings/reset", &json!({ "keys": ["redirect"] }));
    assert_eq!((status, &done["changes"][0]["key"]), (200, &json!("redirect.report_emails")), "{done}");
    assert_eq!(ask(&proxy, "POST", "/api/v1/settings/reset", &json!({})).0, 400);
    proxy.command(&["reset", "--all", "--yes"]);
    assert!(!admin_toml(&proxy).contains('='), "{}", admin_toml(&proxy));
}

#[test]
fn upstreams_over_http() {
    let proxy = Proxy::start(TWO);
    let body = json!({ "name": "c", "host": "127.0.0.1:11", "auth": "basic", "username": "u", "password": "hunter2" });
    let (status, added) = ask(&proxy, "POST", "/api/v1/upstreams", &body);
    assert_eq!(status, 201, "{added}");
    assert_eq!(
        (&added["name"], &added["settings"]["password"], &added["added"]),
        (&json!("c"), &json!("****"), &json!(true))
    );
    assert_eq!(ask(&proxy, "POST", "/api/v1/upstreams", &body).0, 409);
    assert_eq!(ask(&proxy, "GET", "/api/v1/upstreams/nobody", &Value::Null).0, 404);
    assert_eq!(ask(&proxy, "DELETE", "/api/v1/upstreams/a", &Value::Null).0, 409);
    let (status, changed) =
        ask(&proxy, "PATCH", "/api/v1/upstreams/a", &json!({ "enabled": false, "connection_limit": 9 }));
    assert_eq!(
        (status, &changed["connection_limit"], &changed["sources"]["enabled"]["below"]),
        (200, &json!(9), &json!(true))
    );
    let (_, changed) = ask(&proxy, "PATCH", "/api/v1/upstreams/a", &json!({ "enabled": null }));
    assert_eq!((&changed["enabled"], &changed["changed"]), (&json!(true), &json!(["connection_limit"])));
    assert_eq!(ask(&proxy, "PATCH", "/api/v1/upstreams/a", &json!({ "tls_ca": "x.pem" })).0, 422);
    let (_, reset) = ask(&proxy, "POST", "/api/v1/upstreams/a/reset", &Value::Null);
    assert_eq!((&reset["connection_limit"], &reset["changed"]), (&json!(2), &json!([])));
    assert_eq!(ask(&proxy, "DELETE", "/api/v1/upstreams/c", &Value::Null).0, 200);
    let told = events(&proxy, "CHANGED").join("\n") + &proxy.said();
    assert!(told.contains("upstream.c: not given -> {") && !told.contains("hunter2"), "{told}");
}

#[test]
fn verbs_at_once_are_done_one_after_the_other_also_while_the_configuration_is_loaded_again() {
    let proxy = Proxy::start(TWO);
    let keys = [
        "connection_limit=7",
        "max_idle_time=5s",
        "priority=low",
        "rate_limit=9/1m",
        "messages_per_connection=3",
    ];
    std::thread::scope(|scope| {
        for key in keys {
            scope.spawn(|| proxy.command(&["upstream", "edit", "a", key]));
            scope.spawn(|| proxy.command(&["reload"]));
        }
    });
    assert_eq!(upstream(&proxy, "a")["changed"].as_array().unwrap().len(), keys.len());
    assert_eq!(events(&proxy, "CHANGED").len(), keys.len());
}

#[test]
fn a_mode_that_is_switched_names_the_transactions_that_go_on() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    let gate = recorder.hold_final_replies();
    send(&proxy);
    assert_eq!(recorder.wait(1).len(), 1);
    let debug = json!({ "debug": { "enabled": true } });
    let (status, done) = ask(&proxy, "PATCH", "/api/v1/settings", &debug);
    let named = done["under_way"][0].as_str().unwrap_or_default();
    assert!(status == 200 && named.contains(" had begun at only before the change"), "{done}");
    drop(gate);
    eventually("the message to be sent", || {
        proxy.get("/api/v1/messages")?["messages"].as_array()?.is_empty().then_some(())
    });
    let all = json!({ "all": true });
    let (status, refused) = ask(&proxy, "POST", "/api/v1/settings/reset", &all);
    assert_eq!((status, &refused["errors"][0]["ends"]), (409, &json!("debug")), "{refused}");
    let said = proxy.command(&["reset", "--all", "--yes"]);
    assert!(!stderr(&said).contains("had begun"), "{}", stderr(&said));
}
