//! What becomes of changes when the file, or `admin.toml` itself, is another one.

use super::*;

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

/// The file by itself is right, the change by itself was: together they are wrong, and the file decides.
#[test]
fn a_change_that_makes_a_new_file_wrong_is_dropped_at_a_reload_and_at_a_start() {
    let mut proxy = Proxy::start(TWO);
    let later = TWO.replacen("127.0.0.1:9\"", "127.0.0.1:9\"\npriority = \"default\"", 1);
    let is_dropped = |proxy: &Proxy, count: usize| {
        assert_eq!(
            (&upstream(proxy, "a")["priority"], &upstream(proxy, "b")["priority"]),
            (&json!("default"), &json!("normal"))
        );
        assert!(!admin_toml(proxy).contains('='), "{}", admin_toml(proxy));
        let words =
            "upstream.b.priority = \"default\" is dropped: the file is right, and wrong with it: upstreams a";
        eventually("the event", || {
            let told = events(proxy, "CHANGED");
            (told.iter().filter(|one| one.starts_with(words)).count() == count).then_some(())
        });
    };
    proxy.command(&["upstream", "edit", "b", "--priority", "default"]);
    proxy.configure(&later);
    proxy.command(&["reload"]);
    is_dropped(&proxy, 1);
    proxy.configure(TWO);
    proxy.command(&["reload"]);
    proxy.command(&["upstream", "edit", "b", "--priority", "default"]);
    proxy.terminate();
    proxy.configure(&later);
    proxy.start_again();
    is_dropped(&proxy, 2);
}

#[test]
fn what_is_dropped_and_cannot_be_written_does_not_come_back_and_is_written_with_the_next_reload() {
    let proxy = Proxy::start(TWO);
    proxy.command(&["upstream", "disable", "a"]);
    let in_the_way = proxy.data_dir().join("admin.toml.new");
    std::fs::create_dir(&in_the_way).unwrap();
    proxy.configure(&TWO.replacen("127.0.0.1:9\"", "127.0.0.1:9\"\nenabled = true", 1));
    let said = String::from_utf8(proxy.command(&["reload"]).stdout).unwrap();
    assert!(said.contains("admin.toml cannot be written: "), "{said}");
    eventually("the event", || (events(&proxy, "STORAGE").len() == 1).then_some(()));
    // The old file again: what was dropped stays dropped, though it still stands in the folder.
    proxy.configure(TWO);
    let said = String::from_utf8(proxy.command(&["reload"]).stdout).unwrap();
    assert!(said.contains("admin.toml cannot be written: "), "{said}");
    assert_eq!(upstream(&proxy, "a")["enabled"], true);
    assert!(admin_toml(&proxy).contains("enabled = false"));
    std::fs::remove_dir(&in_the_way).unwrap();
    proxy.command(&["reload"]);
    assert!(!admin_toml(&proxy).contains('='), "{}", admin_toml(&proxy));
    assert_eq!(upstream(&proxy, "a")["enabled"], true);
}

#[test]
fn what_a_damaged_file_had_changed_is_told_when_all_is_taken_back() {
    let proxy = Proxy::start(TWO);
    proxy.command(&["upstream", "disable", "a"]);
    proxy.command(&["upstream", "add", "c", "--host", "127.0.0.1:11"]);
    assert_eq!(ask(&proxy, "PATCH", "/api/v1/settings", &json!({ "sending": { "enabled": false } })).0, 200);
    std::fs::write(proxy.data_dir().join("admin.toml"), "x").unwrap();
    // Mail would leave then, and nobody has said that this is meant.
    refused(&proxy, &["reset", "--all"], 2, "this ends sending off");
    let said = String::from_utf8(proxy.command(&["reset", "--all", "--yes"]).stdout).unwrap();
    let by_reset = |code: &str| {
        eventually("the event", || {
            let told = events(&proxy, code).into_iter().filter(|one| one.contains("by postroom reset"));
            Some(told.collect::<Vec<_>>().join("\n")).filter(|told| !told.is_empty())
        })
    };
    let told = by_reset("CHANGED");
    for words in [
        "upstream.a.enabled: false -> true",
        "upstream.c: \"127.0.0.1:11\" -> not given",
        "sending.enabled: false -> true",
        "\"not usable\" -> \"no changes\"",
    ] {
        assert!(said.contains(words) && told.contains(words), "{words} is not in\n{said}\n{told}");
    }
    by_reset("MODE");
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
    ] {
        std::fs::write(&path, &text).unwrap();
        let output = proxy.try_command(&["reload"]);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains(&words), "{words} is not in {}", stderr(&output));
        assert_eq!(upstream(&proxy, "a")["enabled"], false, "what was in force still is");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is left as it is");
    }
    assert_eq!(events(&proxy, "RELOAD_FAILED").len(), 6);
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
    refused(&proxy, &["reset", "--all"], 2, "which cannot be told any more");
    proxy.command(&["reset", "--all", "--yes"]);
    proxy.start_again();
    assert_eq!(upstream(&proxy, "a")["enabled"], true);
}
