//! The defaults of conf/postroom.toml, written out here once more so that neither can change alone.

use super::Desk;
use postroom::config::settings::{
    Aliases, Auth, BareNewline, BounceTo, Limits, LogSettings, Priority, QueueSettings, TlsMode,
};
use postroom::mail::Mode;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn without_any_file_the_defaults_are_in_force() {
    let desk = Desk::new();
    let loaded = desk.loaded();
    assert_eq!(loaded.file, None);
    let settings = loaded.settings;
    assert_eq!(settings.hostname, "proxy.test");
    assert_eq!(settings.default_domain, "proxy.test");
    assert_eq!(settings.aliases, Aliases::default());
    assert_eq!(settings.data_dir, desk.path("var"));
    assert_eq!(
        settings.limits,
        Limits {
            message_size: 25 * 1024 * 1024,
            recipients: 1000,
            connections: 1000,
            connections_per_client: 100,
            command_timeout: 5 * MINUTE,
            data_timeout: 10 * MINUTE,
            received_hops: 50,
            errors_per_session: 20,
            content_memory: 256 * 1024 * 1024,
            bare_newline: BareNewline::Normalize,
        }
    );
    assert_eq!(
        settings.queue,
        QueueSettings {
            enabled: true,
            path: desk.path("var/queue.redb"),
            batch_size: 50,
            retry: [1, 5, 15, 30, 60].map(|minutes| minutes * MINUTE).to_vec(),
            expire_after: 5 * DAY,
            bounce: BounceTo::Sender,
            max_messages: 0,
            archive_days: 0,
            failed_days: 30,
            min_free_space: 64 * 1024 * 1024,
        }
    );
    assert!(!settings.handling.sending_off);
    assert_eq!(settings.upstreams, []);
    assert_eq!(settings.log_emails, None);
    assert_eq!(settings.events_keep, 100_000);
    assert_eq!(settings.log, LogSettings { level: "info".to_owned(), json: false });
}

#[test]
fn the_listener_local_exists_while_none_is_configured() {
    let listeners = Desk::new().loaded().settings.listeners;
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0].name, "local");
    assert_eq!(listeners[0].address, "127.0.0.1:25".parse().unwrap());
    assert_eq!(listeners[0].allow, ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()));

    let desk = Desk::with("[listener.app]\naddress = \"127.0.0.1:2525\"\n");
    let names: Vec<String> =
        desk.loaded().settings.listeners.into_iter().map(|listener| listener.name).collect();
    assert_eq!(names, ["app"]);
    assert_eq!(Desk::with("[listener]\n").loaded().settings.listeners[0].name, "local");
}

#[test]
fn an_upstream_needs_only_a_host() {
    let upstream = Desk::with("[upstream.a]\nhost = \"smtp.example.com\"\n").upstream("a");
    assert_eq!((upstream.host.as_str(), upstream.port), ("smtp.example.com", 25));
    assert_eq!(upstream.priority, Priority::Normal);
    assert!(upstream.enabled);
    assert_eq!(upstream.tls, TlsMode::Opportunistic);
    assert_eq!(upstream.tls_ca, None);
    assert!(!upstream.danger_accept_invalid_certificate);
    assert_eq!(upstream.auth, Auth::Anonymous);
    assert!(!upstream.danger_allow_plaintext_auth);
    assert_eq!(upstream.connection_limit, 2);
    assert_eq!(upstream.connect_timeout, Duration::from_secs(30));
    assert_eq!(upstream.command_timeout, 5 * MINUTE);
    assert_eq!(upstream.data_timeout, 3 * MINUTE);
    assert_eq!(upstream.final_timeout, 10 * MINUTE);
    assert_eq!(upstream.max_idle_time, Duration::from_secs(100));
    assert_eq!(upstream.messages_per_connection, 50);
    assert_eq!(upstream.rate_limit, None);
    assert_eq!(upstream.source_address, None);
}

#[test]
fn a_machine_without_a_configured_name_says_no_localhost() {
    let hostname = Desk::new().variable("POSTROOM_HOSTNAME", "").loaded().settings.hostname;
    assert!(hostname.contains('.') || hostname.starts_with("[IPv6:"), "{hostname}");
    assert!(!hostname.starts_with("localhost"), "{hostname}");
}

/// The example of a staging system or a developer's machine, as it stands in conf/examples.
fn example(name: &str) -> postroom::config::Settings {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples").join(name);
    let loaded = Desk::with(&std::fs::read_to_string(path).unwrap()).loaded();
    assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}");
    loaded.settings
}

#[test]
fn the_examples_are_right_and_let_nothing_reach_a_customer() {
    let staging = example("staging.toml");
    assert_eq!(staging.handling.mode(), Some(Mode::Redirect));
    let enabled: Vec<_> = staging.handling.redirect.enabled_addresses().map(ToString::to_string).collect();
    assert_eq!(enabled, ["qa@example.com"]);
    let development = example("development.toml");
    assert_eq!(development.handling.mode(), Some(Mode::Debug));
    assert_eq!(development.sites["broken-shop"].handling.mode(), Some(Mode::Simulate));
}
