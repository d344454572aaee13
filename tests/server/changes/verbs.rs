//! The verbs, while the proxy runs.

use super::*;

#[test]
fn a_disabled_upstream_gets_nothing_from_then_on_also_after_a_restart_and_the_file_stays_as_it_is() {
    let (first, second) = (Recorder::start(), Recorder::start());
    let file = format!("{}priority = \"high\"\n{}", first.upstream("first"), second.upstream("second"));
    let mut proxy = Proxy::start(&file);
    let written = std::fs::read(proxy.config_file()).unwrap();
    send(&proxy);
    assert_eq!(first.wait(1).len(), 1);
    proxy.command(&["upstream", "disable", "first"]);
    send(&proxy);
    assert_eq!(second.wait(1).len(), 1);
    let mode = proxy.data_dir().join("admin.toml").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    // In order, so that nothing is sent twice.
    proxy.terminate();
    proxy.start_again();
    assert_eq!(upstream(&proxy, "first")["enabled"], false);
    assert_eq!(upstream(&proxy, "first")["state"], "disabled");
    send(&proxy);
    assert_eq!((first.messages().len(), second.wait(2).len()), (1, 2));

    let event = proxy.cli(&["events", "--json", "--code", "CHANGED"])[0].clone();
    assert_eq!((&event["source"], &event["upstream"]), (&json!("Configuration"), &json!("first")));

    proxy.command(&["upstream", "enable", "first"]);
    send(&proxy);
    assert_eq!(first.wait(2).len(), 2);
    assert!(!admin_toml(&proxy).contains("enabled"), "as the file has it: {}", admin_toml(&proxy));
    assert_eq!(std::fs::read(proxy.config_file()).unwrap(), written);
    let user = String::from_utf8(succeeded(Command::new("id").arg("-un"), b"").stdout).unwrap();
    let by = |verb: &str| format!("(by postroom upstream {verb}, user {}, control socket)", user.trim());
    assert_eq!(
        events(&proxy, "CHANGED"),
        [
            format!("upstream.first.enabled: true -> false {}", by("disable")),
            format!("upstream.first.enabled: false -> true {}", by("enable")),
        ]
    );
}

#[test]
fn an_upstream_is_added_changed_and_deleted() {
    let recorder = Recorder::start();
    let mut proxy = Proxy::start("");
    let host = recorder.address().to_string();
    proxy.command(&["upstream", "add", "new", "--host", &host, "--tls", "none", "connection_limit=3"]);
    send(&proxy);
    assert_eq!(recorder.wait(1).len(), 1);
    let listed = upstream(&proxy, "new");
    assert_eq!((&listed["added"], &listed["connection_limit"]), (&json!(true), &json!(3)));
    for key in ["name", "priority", "enabled", "state", "in_flight", "connection_limit", "last_error"] {
        assert!(listed.get(key).is_some(), "{key}");
    }
    proxy.command(&["upstream", "edit", "new", "--priority", "low"]);
    proxy.command(&["upstream", "disable", "new"]);
    assert_eq!(
        (&upstream(&proxy, "new")["priority"], &upstream(&proxy, "new")["enabled"]),
        (&json!("low"), &json!(false))
    );
    refused(&proxy, &["upstream", "add", "new", "--host", "x"], 1, "there is an upstream new already");
    refused(&proxy, &["upstream", "reset", "new"], 1, "postroom upstream delete new");
    proxy.kill();
    proxy.start_again();
    assert_eq!(upstream(&proxy, "new")["priority"], "low");
    proxy.command(&["upstream", "delete", "new"]);
    assert_eq!(upstream(&proxy, "new"), Value::Null);
    assert_eq!(events(&proxy, "CHANGED").len(), 4);
}

#[test]
fn an_upstream_of_the_file_is_never_deleted_and_goes_back_to_what_the_file_says() {
    let proxy = Proxy::start(TWO);
    refused(
        &proxy,
        &["upstream", "delete", "a"],
        1,
        "which is never written to; `postroom upstream disable a`",
    );
    proxy.command(&["upstream", "edit", "a", "connection_limit=7", "rate_limit=30/1m", "--priority", "low"]);
    proxy.command(&["upstream", "edit", "b", "max_idle_time=5s"]);
    proxy.command(&["reset", "upstream.a.priority"]);
    assert_eq!(
        (&upstream(&proxy, "a")["priority"], &upstream(&proxy, "a")["connection_limit"]),
        (&json!("normal"), &json!(7))
    );
    proxy.command(&["upstream", "reset", "a"]);
    assert_eq!(upstream(&proxy, "a")["connection_limit"], 2);
    assert_eq!(upstream(&proxy, "a")["changed"], json!([]));
    assert_eq!(upstream(&proxy, "b")["changed"], json!(["max_idle_time"]));
    refused(&proxy, &["upstream", "reset", "c"], 1, "there is no upstream c; there is a, b");
    refused(&proxy, &["reset", "upstream.c.enabled"], 1, "there is no upstream c");
    refused(&proxy, &["reset", "redirct"], 78, "did you mean redirect?");
    refused(&proxy, &["reset"], 2, "KEY");
}

#[test]
fn what_the_environment_gives_is_not_changed() {
    let environment = [
        ("POSTROOM_UPSTREAM__A__PRIORITY", "high"),
        ("POSTROOM_REDIRECT__ENABLED", "false"),
        ("RELAYHOST", "127.0.0.1:11"),
    ];
    let mut proxy = Proxy::start_in(&environment, TWO);
    let words = "is given by POSTROOM_UPSTREAM__A__PRIORITY in the environment";
    refused(&proxy, &["upstream", "edit", "a", "priority=low"], 1, words);
    refused(
        &proxy,
        &["upstream", "edit", "relayhost", "host=127.0.0.1:12"],
        1,
        "by RELAYHOST in the environment",
    );
    refused(&proxy, &["upstream", "delete", "relayhost"], 1, "by RELAYHOST in the environment");
    let (status, problem) =
        ask(&proxy, "PATCH", "/api/v1/settings", &json!({ "redirect": { "enabled": true } }));
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("POSTROOM_REDIRECT__ENABLED"), "{problem}");
    // What it does not say may be changed, also where only the environment knows the upstream.
    proxy.command(&["upstream", "disable", "relayhost"]);
    proxy.kill();
    proxy.start_again();
    assert_eq!(upstream(&proxy, "relayhost")["enabled"], false);
}

#[test]
fn a_change_that_would_be_wrong_is_refused_as_check_would_and_nothing_is_written() {
    let proxy = Proxy::start(&format!("{TWO}[site.x]\n"));
    proxy.command(&["upstream", "edit", "a", "--priority", "default"]);
    refused(&proxy, &["upstream", "edit", "b", "--priority", "default"], 78, "are both enabled and default");
    let own = proxy.address().to_string();
    refused(&proxy, &["upstream", "add", "c", "--host", &own], 78, "this proxy's own listener");
    refused(&proxy, &["upstream", "add", "c"], 78, "upstream.c.host: is missing");
    refused(&proxy, &["upstream", "add", "C", "--host", "x.test"], 78, "is no name");
    refused(&proxy, &["upstream", "edit", "b", "sites=nowhere"], 78, "there is no site \"nowhere\"");
    refused(
        &proxy,
        &["upstream", "edit", "b", "conection_limit=3"],
        78,
        "did you mean upstream.b.connection_limit?",
    );
    refused(&proxy, &["upstream", "edit", "b", "--auth", "basic"], 78, "upstream.b.username: is missing");
    refused(&proxy, &["upstream", "edit", "b", "domain=X"], 78, "is given without NTLM");
    refused(&proxy, &["upstream", "edit", "b", "tls_ca=none.pem"], 78, "none.pem cannot be read");
    refused(&proxy, &["upstream", "edit", "b", "oauth2=x"], 78, "is a table");
    refused(&proxy, &["upstream", "edit", "b"], 2, "name what is to change");
    refused(&proxy, &["upstream", "edit", "b", "password=hunter2"], 2, "others can read a command line");
    for (body, status, words) in [
        (json!({ "limits": { "recipients": 500 } }), 422, "cannot be changed by verbs and pages"),
        (json!({ "redirct": { "enabled": true } }), 422, "did you mean redirect?"),
        (json!({ "site": { "y": { "debug": { "enabled": true } } } }), 404, "there is no site y; there is x"),
        (json!({ "site": { "x": { "senders": ["@a.test"] } } }), 422, "cannot be changed"),
        (json!({ "redirect": true }), 422, "is a table"),
        (json!({ "redirect": { "enabled": "maybe" } }), 422, "redirect.enabled"),
        (json!({ "log_emails": { "path": "x.log" } }), 422, "is a relative path"),
        (json!({ "upstream": { "a": { "enabled": false } } }), 422, "is no setting"),
        (json!([1]), 400, "invalid type"),
    ] {
        let (answered, problem) = ask(&proxy, "PATCH", "/api/v1/settings", &body);
        assert_eq!(answered, status, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
    }
    assert_eq!(events(&proxy, "CHANGED").len(), 1);
    assert!(!proxy.said().contains("hunter2"));
}
