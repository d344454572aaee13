//! Defaults < file < environment < command line, and where the file is looked for.

use super::Desk;
use postroom::config::settings::{Auth, Priority, TlsMode};
use secrecy::ExposeSecret;

#[test]
fn the_stronger_layer_wins_key_by_key() {
    let desk = Desk::with("[limits]\nrecipients = 200\nconnections = 20\n[queue]\nbatch_size = 7\n")
        .variable("POSTROOM_LIMITS__RECIPIENTS", "300")
        .variable("POSTROOM_QUEUE__BATCH_SIZE", "8")
        .flag("queue.batch_size", "9");
    let settings = desk.loaded().settings;
    assert_eq!(settings.limits.recipients, 300);
    assert_eq!(settings.limits.connections, 20);
    assert_eq!(settings.limits.connections_per_client, 100);
    assert_eq!(settings.queue.batch_size, 9);
}

#[test]
fn the_environment_has_every_type() {
    let desk = Desk::with("[upstream.my-relay]\nhost = \"a.test\"\n")
        .variable("POSTROOM_SENDING__ENABLED", "false")
        .variable("POSTROOM_LIMITS__MESSAGE_SIZE", "1MiB")
        .variable("POSTROOM_QUEUE__RETRY", "1s, 2s")
        .variable("POSTROOM_LISTENER__APP__ADDRESS", "[::1]:2525")
        .variable("POSTROOM_LISTENER__APP__ALLOW", r#"["private"]"#)
        .variable("POSTROOM_UPSTREAM__MY_RELAY__PRIORITY", "high")
        .variable("POSTROOM_UPSTREAM__OTHER__HOST", "b.test:26");
    let settings = desk.loaded().settings;
    assert!(settings.handling.sending_off);
    assert_eq!(settings.limits.message_size, 1 << 20);
    assert_eq!(settings.queue.retry.iter().map(|time| time.as_secs()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(settings.listeners.len(), 1);
    assert_eq!(settings.listeners[0].name, "app");
    assert_eq!(settings.listeners[0].allow.len(), 6);
    let names: Vec<&str> = settings.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["my-relay", "other"]);
    assert_eq!(settings.upstreams[0].priority, Priority::High);
    assert_eq!(settings.upstreams[0].host, "a.test");
}

#[test]
fn what_is_no_key_in_the_environment_is_left_alone() {
    Desk::new()
        .variable("POSTROOM_PORT", "tcp://10.0.0.1:25")
        .variable("POSTROOM_PORT_25_TCP_ADDR", "10.0.0.1")
        .variable("POSTROOM_SERVICE_HOST", "10.0.0.1")
        .variable("POSTROOM_SERVICE_PORT", "25")
        .variable("POSTROOM_SMTP_SERVICE_HOST", "10.0.0.2")
        .variable("POSTROOM_SMTP_SERVICE_PORT_SMTP", "25")
        .variable("POSTROOM_SMTP_PORT_25_TCP_PROTO", "tcp")
        .variable("POSTROOM_SENDMAIL", "127.0.0.1:25")
        .variable("POSTROOM_CONFIG", "")
        .variable("HOSTNAME", "box")
        .variable("XPOSTROOM_NONSENSE", "1")
        .loaded();
}

// CASES G8
#[test]
fn g8_a_password_of_digits_stays_text() {
    for password in ["123456", "0123", "1e5", "true", "[1]", "\"quoted\"", "a,b", " blank "] {
        let desk = Desk::with("[upstream.a]\nhost = \"a.test\"\nauth = \"basic\"\nusername = \"u\"\n")
            .variable("POSTROOM_UPSTREAM__A__PASSWORD", password)
            .variable("POSTROOM_UPSTREAM__A__USERNAME", "4711");
        let Auth::Basic { username, password: got } = desk.upstream("a").auth.clone() else { panic!() };
        assert_eq!(got.expose_secret(), password);
        assert_eq!(username, "4711");
    }
}

#[test]
fn relayhost_defines_an_upstream() {
    let plain = Desk::new().variable("RELAYHOST", "[smtp.example.com]:2587").upstream("relayhost");
    assert_eq!((plain.host.as_str(), plain.port), ("smtp.example.com", 2587));
    assert_eq!(plain.auth, Auth::Anonymous);

    let desk = Desk::new()
        .variable("RELAYHOST", "smtp.example.com:587")
        .variable("RELAYHOST_USERNAME", "shop")
        .variable("RELAYHOST_PASSWORD", "123456");
    let basic = desk.upstream("relayhost");
    assert_eq!(basic.tls, TlsMode::StartTls);
    let Auth::Basic { username, password } = &basic.auth else { panic!("{:?}", basic.auth) };
    assert_eq!((username.as_str(), password.expose_secret()), ("shop", "123456"));

    let desk = Desk::new()
        .variable("RELAYHOST", "smtp.example.com:587")
        .variable("RELAYHOST_USERNAME", "shop")
        .variable("RELAYHOST_PASSWORD_FILE", "relay.secret");
    desk.write("relay.secret", "from a file\n");
    let Auth::Basic { password, .. } = desk.upstream("relayhost").auth.clone() else { panic!() };
    assert_eq!(password.expose_secret(), "from a file");
}

#[test]
fn relayhost_is_empty_where_compose_leaves_it_so_and_gives_way_to_our_own_names() {
    let none = Desk::new().variable("RELAYHOST", "").variable("RELAYHOST_PASSWORD", "").loaded();
    assert_eq!(none.settings.upstreams, []);

    let upstream = Desk::with("[upstream.relayhost]\nhost = \"file.test\"\nconnection_limit = 9\n")
        .variable("POSTROOM_UPSTREAM__RELAYHOST__PRIORITY", "low")
        .variable("RELAYHOST", "env.test")
        .upstream("relayhost");
    assert_eq!((upstream.host.as_str(), upstream.connection_limit), ("env.test", 9));
    assert_eq!(upstream.priority, Priority::Low);

    let error =
        Desk::new().variable("RELAYHOST_USERNAME", "u").variable("RELAYHOST_PASSWORD", "hunter2").error();
    assert_eq!(error.key, "upstream.relayhost.host");
    assert!(error.file.as_deref().unwrap().starts_with("RELAYHOST_"), "{error}");
}

#[test]
fn an_alias_may_come_from_the_environment() {
    let aliases = Desk::with("[aliases]\nroot = \"a@b.test\"\nstaff = \"c@b.test\"\n")
        .variable("POSTROOM_ALIASES__ROOT", "ops@b.test")
        .loaded()
        .settings
        .aliases;
    assert_eq!(aliases.find("root").unwrap().as_str(), "ops@b.test");
    assert_eq!(aliases.find("staff").unwrap().as_str(), "c@b.test");
}

#[test]
fn rust_log_works_too() {
    let level = |desk: Desk| desk.loaded().settings.log.level;
    assert_eq!(level(Desk::with("[log]\nlevel = \"warn\"\n").variable("RUST_LOG", "debug")), "debug");
    assert_eq!(
        level(Desk::new().variable("RUST_LOG", "debug").variable("POSTROOM_LOG__LEVEL", "error")),
        "error"
    );
    assert_eq!(level(Desk::new().variable("RUST_LOG", "hyper")), "hyper=trace");
}

#[test]
fn the_file_is_looked_for_in_order() {
    let say = |number: u32| format!("[queue]\nbatch_size = {number}\n");
    let mut desk = Desk::with(&say(1));
    desk.write("named/by/variable.toml", &say(2));
    desk.write("named.toml", &say(3));
    let batch_size = |desk: &Desk| {
        let loaded = desk.loaded();
        (loaded.settings.queue.batch_size, loaded.file.unwrap())
    };
    assert_eq!(batch_size(&desk), (1, desk.path("postroom.toml")));
    desk = desk.variable("POSTROOM_CONFIG", "named/by/variable.toml");
    assert_eq!(batch_size(&desk), (2, desk.path("named/by/variable.toml")));
    desk.sources.file = Some("named.toml".into());
    assert_eq!(batch_size(&desk), (3, desk.path("named.toml")));
}

#[test]
fn a_file_that_somebody_named_must_be_there() {
    let mut desk = Desk::new().variable("POSTROOM_CONFIG", "nowhere.toml");
    let error = desk.error();
    assert_eq!(error.file, Some(desk.path("nowhere.toml").display().to_string()));
    assert!(error.wrong.contains("cannot be read"), "{error}");
    desk.sources.file = Some(desk.path("."));
    assert!(desk.error().wrong.contains("cannot be read"));
}

#[test]
fn relative_paths_lie_where_they_are_expected() {
    let mut desk = Desk::new();
    desk.write(
        "etc/postroom.toml",
        "data_dir = \"data\"\n[queue]\npath = \"q/mail.redb\"\n[log_emails]\nenabled = true\npath = \"/var/log/mails\"\n",
    );
    desk.sources.file = Some("etc/postroom.toml".into());
    let settings = desk.loaded().settings;
    assert_eq!(settings.data_dir, desk.path("etc/data"));
    assert_eq!(settings.queue.path, desk.path("etc/data/q/mail.redb"));
    assert_eq!(settings.log_emails, Some("/var/log/mails".into()));

    let desk = desk.variable("POSTROOM_DATA_DIR", "elsewhere");
    assert_eq!(desk.loaded().settings.data_dir, desk.path("elsewhere"));
    let desk = desk.flag("data_dir", "/tmp/demo");
    assert_eq!(desk.loaded().settings.queue.path, std::path::Path::new("/tmp/demo/q/mail.redb"));
}
