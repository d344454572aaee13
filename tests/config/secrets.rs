//! Secrets from files, and secrets that stay secret.

use super::Desk;
use postroom::config::settings::Auth;
use secrecy::ExposeSecret;

const HEAD: &str = "[upstream.a]\nhost = \"a.test\"\nauth = \"basic\"\nusername = \"u\"\n";

fn with(more: &str) -> Desk {
    Desk::with(&format!("{HEAD}{more}\n"))
}

#[track_caller]
fn password(desk: &Desk) -> String {
    match &desk.upstream("a").auth {
        Auth::Basic { password, .. } => password.expose_secret().to_owned(),
        other => panic!("no password: {other:?}"),
    }
}

#[test]
fn a_secret_may_be_in_a_file_beside_the_one_that_names_it() {
    let mut desk = Desk::new();
    desk.write("etc/p.toml", &format!("{HEAD}password_file = \"relay.secret\"\n"));
    desk.sources.file = Some("etc/p.toml".into());
    for (content, expected) in
        [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" a b \n", " a b ")]
    {
        desk.write("etc/relay.secret", content);
        assert_eq!(password(&desk), expected);
    }
    desk = desk.variable("POSTROOM_UPSTREAM__A__PASSWORD_FILE", "other.secret");
    desk.write("other.secret", "beside the working folder");
    assert_eq!(password(&desk), "beside the working folder");
}

#[test]
fn a_secret_file_must_be_readable_and_hold_something() {
    let desk = with("password_file = \"relay.secret\"");
    let error = desk.error();
    assert_eq!((error.line, error.key.as_str()), (Some(5), "upstream.a.password_file"));
    assert!(error.wrong.contains("cannot be read"), "{error}");
    for content in ["", "\n", "\r\n\r\n"] {
        desk.write("relay.secret", content);
        assert!(desk.error().wrong.contains("is empty"), "{content:?}");
    }
    desk.write("relay.secret", &"x".repeat(70_000));
    assert!(desk.error().wrong.contains("too long"));
}

#[test]
fn both_are_an_error_unless_one_is_stronger() {
    let desk = with("password = \"in the file\"\npassword_file = \"relay.secret\"");
    desk.write("relay.secret", "in another");
    let error = desk.error();
    assert_eq!((error.line, error.key.as_str()), (Some(6), "upstream.a.password_file"));
    assert!(!error.to_string().contains("in the file"), "{error}");

    let desk = with("password_file = \"nowhere\"")
        .variable("POSTROOM_UPSTREAM__A__PASSWORD", "from the environment");
    assert_eq!(password(&desk), "from the environment");
    let desk =
        with("password = \"in the file\"").variable("POSTROOM_UPSTREAM__A__PASSWORD_FILE", "relay.secret");
    desk.write("relay.secret", "in another");
    assert_eq!(password(&desk), "in another");
}

// CASES G1
#[test]
fn no_secret_is_in_an_error_a_warning_or_a_listing() {
    const SECRET: &str = "hunter2";
    let wrong = [
        "password = [\"hunter2\"]",
        "password = \"hunter2\\u0000\"",
        "pasword = \"hunter2\"",
        "password = \"hunter2\"\nbad = 1",
        "password = hunter2",
        "password = \"hunter2",
        "host = \"hunter2\"\n",
        "[upstream.b]\nhost = \"smtp://u:hunter2@b.test\"",
        "[credentials.default]\npassword = \"hunter2\"",
        "[admin]\npassword_hash = \"hunter2\"",
        "[admin]\ntoken = [\"hunter2\"]",
        "[admin]\nlisten = \"0.0.0.0:1\"\ntoken = \"hunter2\"",
        "[upstream]\nb = \"hunter2\"",
    ];
    for text in wrong {
        let errors = with(text).load().unwrap_err();
        assert!(!errors.to_string().contains(SECRET), "{errors}");
        assert!(!format!("{errors:?}").contains(SECRET));
    }
    let desk =
        Desk::with("[upstream.a]\nhost = \"a.test\"\n").variable("POSTROOM_UPSTREAM__A__PASSWROD", SECRET);
    assert!(!desk.error().to_string().contains(SECRET));

    let desk = with("password_file = \"s\"");
    desk.write("s", SECRET);
    for desk in [with("password = \"hunter2\""), desk] {
        assert_eq!(password(&desk), SECRET);
        let loaded = desk.loaded();
        assert!(!format!("{loaded:?}").contains(SECRET));
        assert!(!loaded.in_force.to_toml().contains(SECRET));
        assert!(!loaded.in_force.to_json().to_string().contains(SECRET));
        assert!(loaded.in_force.to_toml().contains("password = \"****\""), "{}", loaded.in_force);
    }
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_others_may_read_draws_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let set = |desk: &Desk, name: &str, mode: u32| {
        std::fs::set_permissions(desk.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let warned = |desk: &Desk, name: &str| {
        let path = desk.path(name).display().to_string();
        desk.loaded().warnings.iter().filter(|warning| warning.starts_with(&path)).count()
    };
    let inline = with("password = \"p\"");
    for (mode, expected) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o644, 1)] {
        set(&inline, "postroom.toml", mode);
        assert_eq!(warned(&inline, "postroom.toml"), expected, "{mode:o}");
    }
    let apart = with("password_file = \"s\"");
    apart.write("s", "p");
    set(&apart, "postroom.toml", 0o644);
    assert_eq!(warned(&apart, "postroom.toml"), 0, "there is no secret in it");
    set(&apart, "s", 0o644);
    assert_eq!(warned(&apart, "s"), 1);
}

#[test]
fn of_a_webhook_s_url_only_the_host_is_shown() {
    for (url, shown) in [
        ("https://ops.test:8443/hooks/t0ken?key=t0ken", "https://ops.test:8443/****"),
        ("https://ops.test/?t0ken", "https://ops.test/****"),
        ("https://ops.test", "https://ops.test/"),
        ("http://127.0.0.1:8080/t0ken", "http://127.0.0.1:8080/****"),
        ("http://[::1]/t0ken", "http://[::1]/****"),
        ("http://localhost/t0ken", "http://localhost/****"),
    ] {
        let loaded = Desk::with(&format!("[webhook.ops]\nurl = \"{url}\"\nsecret = \"t0ken\"\n")).loaded();
        assert_eq!(loaded.in_force.to_json()["webhook"]["ops"]["url"], shown, "{url}");
        assert_eq!(loaded.settings.webhooks[0].url.expose_secret(), url);
        let all =
            format!("{:?} {} {}", loaded.settings, loaded.in_force.to_toml(), loaded.in_force.to_json());
        assert!(!all.contains("t0ken"), "{all}");
    }
    for url in [
        "http://ops.test/t0ken",
        "https://t0ken@ops.test/",
        "https://ops.test:t0ken/",
        "//t0ken/",
        "ftp://a.test/t0ken",
    ] {
        let error = Desk::with(&format!("[webhook.ops]\nurl = \"{url}\"\n")).error();
        assert!(error.key == "webhook.ops.url" && !error.to_string().contains("t0ken"), "{error}");
    }
}
