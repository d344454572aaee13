//! What verbs and routes change: kept in `admin.toml`, in force at once, undone by the file that its owner edits.

use crate::support::clients::succeeded;
use crate::support::proxy::{Proxy, postroom};
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use crate::support::{PATIENCE, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

/// Status and JSON body of a request to the control socket.
fn ask(proxy: &Proxy, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(proxy.data_dir().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: test\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

fn send(proxy: &Proxy) {
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
}

fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let events = proxy.cli(&["events", "--json", "--limit", "1000", "--code", code]);
    events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn admin_toml(proxy: &Proxy) -> String {
    std::fs::read_to_string(proxy.data_dir().join("admin.toml")).unwrap_or_default()
}

fn in_force(proxy: &Proxy) -> Value {
    proxy.cli(&["check", "--json"])
}

fn upstream(proxy: &Proxy, name: &str) -> Value {
    let list = proxy.cli(&["upstream", "list", "--json"]);
    list.as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn refused(proxy: &Proxy, arguments: &[&str], code: i32, words: &str) {
    let before = admin_toml(proxy);
    let output = proxy.try_command(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert!(stderr(&output).contains(words), "{words} is not in {}", stderr(&output));
    assert_eq!(admin_toml(proxy), before, "nothing is written");
}

const TWO: &str = "[upstream.a]\nhost = \"127.0.0.1:9\"\n[upstream.b]\nhost = \"127.0.0.1:10\"\n";

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

    proxy.kill();
    proxy.start_again();
    assert_eq!(upstream(&proxy, "first")["enabled"], false);
    assert_eq!(upstream(&proxy, "first")["state"], "disabled");
    send(&proxy);
    assert_eq!((first.messages().len(), second.wait(2).len()), (1, 2));

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
fn without_a_proxy_the_next_start_reads_it() {
    let mut proxy = Proxy::start(TWO);
    proxy.terminate();
    let said = proxy.command(&["upstream", "disable", "a"]);
    assert!(stderr(&said).contains("no proxy is running"), "{}", stderr(&said));
    refused(&proxy, &["upstream", "edit", "a", "connection_limit=0"], 78, "0 is too small");
    proxy.start_again();
    assert_eq!(upstream(&proxy, "a")["enabled"], false);
    let events = events(&proxy, "CHANGED");
    assert!(
        matches!(&events[..], [one] if one.starts_with("upstream.a.enabled: true -> false (by postroom upstream disable, user ")
            && one.ends_with(", without a running proxy)")),
        "{events:?}"
    );
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
    proxy.command(&["reset", "--all"]);
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
fn an_old_click_gives_way_to_the_file() {
    let file = format!("{TWO}connection_limit = 3\n[site.x]\n");
    let proxy = Proxy::start(&file);
    proxy.command(&["upstream", "edit", "b", "connection_limit=7"]);
    proxy.command(&["upstream", "disable", "a"]);
    proxy.command(&["upstream", "add", "c", "--host", "127.0.0.1:11"]);
    let site = json!({ "site": { "x": { "debug": { "enabled": true } } } });
    assert_eq!(ask(&proxy, "PATCH", "/api/v1/settings", &site).0, 200);
    // Something that has nothing to do with them changes nothing.
    proxy.configure(&(file.clone() + "[limits]\nrecipients = 200\n"));
    proxy.command(&["reload"]);
    assert_eq!(upstream(&proxy, "b")["connection_limit"], 7);

    proxy.configure(
        "[upstream.b]\nhost = \"127.0.0.1:10\"\nconnection_limit = 4\n[upstream.c]\nhost = \"127.0.0.1:12\"\n",
    );
    let check = proxy.command(&["check"]);
    assert!(stderr(&check).contains("upstream.b.connection_limit = 7 is dropped: "), "{}", stderr(&check));
    assert!(admin_toml(&proxy).contains("connection_limit = 7"), "check changes nothing");
    proxy.command(&["reload"]);
    assert_eq!(upstream(&proxy, "b")["connection_limit"], 4);
    assert_eq!((upstream(&proxy, "a"), upstream(&proxy, "c")["added"].clone()), (Value::Null, json!(false)));
    let place = proxy.config_file().display().to_string();
    let dropped = &events(&proxy, "CHANGED")[4..];
    for text in [
        "site.x.debug.enabled = true is dropped: site x is not configured any more".to_owned(),
        "upstream.a.enabled = false is dropped: upstream a is not configured any more".to_owned(),
        format!("upstream.b.connection_limit = 7 is dropped: {place}:5 says something else now"),
        format!("upstream.c, which had been added, is dropped: {place}:6 has upstream c now"),
    ] {
        assert!(dropped.contains(&text), "{text} is not in {dropped:#?}");
    }
    // It does not come back with the old file.
    proxy.configure(&file);
    proxy.command(&["reload"]);
    assert_eq!(upstream(&proxy, "b")["connection_limit"], 3);
    assert_eq!(upstream(&proxy, "a")["enabled"], true);
    assert!(!admin_toml(&proxy).contains('='), "{}", admin_toml(&proxy));
}

#[test]
fn a_copied_folder_does_not_outvote_another_file() {
    let live = Proxy::start(&format!("{TWO}[redirect]\nenabled = true\nreport_emails = [\"qa@a.test\"]\n"));
    let off = json!({ "redirect": { "enabled": false }, "sending": { "enabled": false } });
    assert_eq!(ask(&live, "PATCH", "/api/v1/settings", &off).0, 200);
    live.command(&["upstream", "disable", "a"]);
    // The same words, but for who gets the mail: there nobody is redirected to, and sending was off from the beginning.
    let mut copy = Proxy::start("[upstream.b]\nhost = \"127.0.0.1:10\"\n[sending]\nenabled = false\n");
    copy.terminate();
    std::fs::copy(live.data_dir().join("admin.toml"), copy.data_dir().join("admin.toml")).unwrap();
    copy.start_again();
    assert_eq!(copy.cli(&["upstream", "list", "--json"]).as_array().unwrap().len(), 1);
    assert!(!admin_toml(&copy).contains('='), "{}", admin_toml(&copy));
    assert_eq!(events(&copy, "CHANGED").len(), 3);
}

#[test]
fn check_names_admin_toml_and_what_the_file_says() {
    let proxy = Proxy::start(&format!("{TWO}connection_limit = 3\n"));
    proxy.command(&["upstream", "edit", "b", "connection_limit=7", "priority=high"]);
    proxy.command(&["upstream", "add", "c", "--host", "c.test"]);
    let (admin, file) = (proxy.data_dir().join("admin.toml"), proxy.config_file());
    let (admin, file) = (admin.display(), file.display());
    let shown = String::from_utf8(proxy.command(&["check"]).stdout).unwrap();
    for line in [
        format!("connection_limit = 7  # {admin}:5; {file}:7 says 3"),
        format!("priority = \"high\"  # {admin}:6; the default is \"normal\""),
        format!("host = \"c.test\"  # {admin}:9"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
}

/// `postroom <arguments>` with the proxy's configuration.
fn verb(proxy: &Proxy, arguments: &[&str]) -> Command {
    let mut verb = postroom();
    verb.current_dir(proxy.data_dir()).arg("--config").arg(proxy.config_file()).args(arguments);
    verb
}

#[test]
fn a_secret_is_read_from_standard_input_shown_nowhere_and_dropped_with_what_it_replaced() {
    let auth = "auth = \"basic\"\nusername = \"u\"\n";
    let proxy = Proxy::start(&format!("{TWO}{auth}password = \"opensesame\"\n"));
    let edit = |input: &str| {
        succeeded(&mut verb(&proxy, &["upstream", "edit", "b", "--password-stdin"]), input.as_bytes());
    };
    edit("hunter2\n");
    let stored = admin_toml(&proxy);
    assert!(
        stored.contains("password = \"hunter2\"")
            && stored.contains("\"upstream.b.password\" = \"$argon2id$"),
        "{stored}"
    );
    // One form takes the place of the other.
    std::fs::write(proxy.data_dir().join("b.secret"), "hunter2\n").unwrap();
    succeeded(&mut verb(&proxy, &["upstream", "edit", "b", "--password-file", "b.secret"]), b"");
    let path = proxy.data_dir().join("b.secret");
    assert!(!admin_toml(&proxy).contains("hunter2"), "{}", admin_toml(&proxy));
    assert!(admin_toml(&proxy).contains(&format!("password_file = \"{}\"", path.display())), "absolute");
    edit("hunter2");
    let told = proxy.said() + &events(&proxy, "CHANGED").join("\n") + &in_force(&proxy).to_string();
    let (_, shown) = ask(&proxy, "GET", "/api/v1/upstreams/b", &Value::Null);
    assert!(!(told + &shown.to_string()).contains("hunter2"));

    // Its owner gives it another one, in a file of its own; and changes what is in that.
    let named = format!("{TWO}{auth}password_file = \"own.secret\"\n");
    let own = proxy.config_file().with_file_name("own.secret");
    std::fs::write(&own, "first").unwrap();
    proxy.configure(&named);
    proxy.command(&["reload"]);
    assert_eq!(upstream(&proxy, "b")["changed"], json!([]));
    edit("hunter2");
    proxy.command(&["reload"]);
    assert_eq!(upstream(&proxy, "b")["changed"], json!(["password"]));
    std::fs::write(&own, "second").unwrap();
    proxy.command(&["reload"]);
    assert_eq!(upstream(&proxy, "b")["changed"], json!([]));
    assert!(!admin_toml(&proxy).contains("hunter2"));
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
fn verbs_at_once_without_a_proxy_miss_neither_each_other_nor_a_start() {
    let mut proxy = Proxy::start(TWO);
    proxy.terminate();
    let keys = ["connection_limit=7", "max_idle_time=5s", "priority=low", "rate_limit=9/1m"];
    std::thread::scope(|scope| {
        for key in keys {
            let proxy = &proxy;
            scope.spawn(|| proxy.command(&["upstream", "edit", "a", key]));
        }
    });
    let mut verb = verb(&proxy, &["upstream", "disable", "b"]);
    let mut verb = verb.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    proxy.launch_again();
    assert!(verb.wait().unwrap().success());
    eventually("the proxy to be ready", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
    assert_eq!(upstream(&proxy, "a")["changed"].as_array().unwrap().len(), keys.len());
    assert_eq!(upstream(&proxy, "b")["enabled"], false);
    assert_eq!(events(&proxy, "CHANGED").len(), keys.len() + 1);
}

#[test]
fn a_damaged_file_is_named_and_can_be_emptied() {
    let mut proxy = Proxy::start(TWO);
    proxy.command(&["upstream", "disable", "a"]);
    let path = proxy.data_dir().join("admin.toml");
    let sound = admin_toml(&proxy);
    let place = path.display().to_string();
    for (text, words) in [
        ("[upstream.a]\nenabled = fals\n".to_owned(), format!("{place}:2: is not TOML")),
        (
            sound.clone() + "\n[limits]\nrecipients = 500\n",
            format!("{place}:11: limits.recipients: does not belong here"),
        ),
        (
            sound.clone() + "\n[site.x]\nsenders = []\n",
            format!("{place}:11: site.x.senders: does not belong here"),
        ),
        (
            sound.clone() + "\n[rediret]\nenabled = true\n",
            format!("{place}:10: rediret: is an unknown key; did you mean redirect?"),
        ),
        (
            sound.clone() + "\n[sending]\nenabled = false\n",
            format!("{place}:11: sending.enabled: has no digest"),
        ),
        (sound.replace("enabled = false\n", ""), format!("{place}:7: upstream.a.enabled: is in [replaced]")),
        (
            sound.replace("enabled = false\n", "enabled = 5\n"),
            format!("{place}:5: upstream.a.enabled: is a number, not true or false"),
        ),
    ] {
        std::fs::write(&path, &text).unwrap();
        let output = proxy.try_command(&["reload"]);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains(&words), "{words} is not in {}", stderr(&output));
        assert_eq!(upstream(&proxy, "a")["enabled"], false, "what was in force still is");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is left as it is");
    }
    assert_eq!(events(&proxy, "RELOAD_FAILED").len(), 7);
    refused(&proxy, &["upstream", "disable", "b"], 78, "upstream.a.enabled");
    std::fs::write(&path, "x").unwrap();
    proxy.kill();
    proxy.launch_again();
    let (code, said) = proxy.refused();
    assert_eq!(code, Some(78));
    assert!(
        said.contains(&format!("{place}:1: is not TOML")) && said.contains("postroom reset --all"),
        "{said}"
    );
    proxy.command(&["reset", "--all"]);
    proxy.start_again();
    assert_eq!(upstream(&proxy, "a")["enabled"], true);
}
