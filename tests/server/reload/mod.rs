//! Reload, key by key (rule 10): each key of `conf/postroom.toml` is changed through the running binary, and what it
//! says is seen, or its change is refused. `[log]` once said "log changed" and nothing had.

mod admin;
mod doors;
mod front;
mod handling;
mod queue;
mod records;
mod upstream;
mod users;

use crate::config::drift::{default_key_patterns, free_tables};
use crate::pickup::folders;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use crate::webhook::reload as webhooks;
use serde_json::Value;
use std::collections::BTreeSet;

/// The test of each key; `*` is a name.
const KEYS: &[(&str, fn())] = &[
    ("hostname", front::hostname),
    ("default_domain", front::default_domain),
    ("aliases.*", front::aliases),
    ("data_dir", queue::data_dir),
    ("listener.*.address", doors::address),
    ("listener.*.tls", users::tls),
    ("listener.*.certificate", users::certificate),
    ("listener.*.private_key", users::private_key),
    ("listener.*.auth", users::auth),
    ("listener.*.danger_allow_plaintext_auth", users::danger_allow_plaintext_auth),
    ("user.*.password_hash", users::password_hash),
    ("user.*.password", users::password),
    ("user.*.site", users::site),
    ("user.*.class", users::class),
    ("user.*.senders", users::senders),
    ("listener.*.allow", front::allow),
    ("listener.*.class", front::class),
    ("listener.*.danger_open_relay", front::danger_open_relay),
    ("limits.message_size", front::message_size),
    ("limits.recipients", front::recipients),
    ("limits.connections", front::connections),
    ("limits.connections_per_client", front::connections_per_client),
    ("limits.command_timeout", front::command_timeout),
    ("limits.data_timeout", front::data_timeout),
    ("limits.received_hops", front::received_hops),
    ("limits.errors_per_session", front::errors_per_session),
    ("limits.content_memory", front::content_memory),
    ("limits.bare_newline", front::bare_newline),
    ("queue.enabled", queue::enabled),
    ("queue.engine", queue::engine),
    ("queue.path", queue::path),
    ("queue.batch_size", queue::batch_size),
    ("queue.retry", queue::retry),
    ("queue.expire_after", queue::expire_after),
    ("queue.bounce", queue::bounce),
    ("queue.max_messages", queue::max_messages),
    ("queue.archive_days", queue::archive_days),
    ("queue.failed_days", queue::failed_days),
    ("queue.min_free_space", queue::min_free_space),
    ("sending.enabled", queue::sending_enabled),
    ("listener.*.site", handling::listener_site),
    ("pickup.*.directory", folders::directory),
    ("pickup.*.site", folders::site),
    ("pickup.*.class", folders::class),
    ("redirect.enabled", handling::redirect_enabled),
    ("redirect.report_emails", handling::redirect_report_emails),
    ("redirect.allow", handling::redirect_allow),
    ("debug.enabled", handling::debug_enabled),
    ("debug.failure_rate", handling::debug_failure_rate),
    ("debug.seed", handling::debug_seed),
    ("simulate.enabled", handling::simulate_enabled),
    ("sender.rewrite", handling::sender_rewrite),
    ("sender.address", handling::sender_address),
    ("site.*.senders", handling::site_senders),
    ("site.*.global_upstreams", handling::site_global_upstreams),
    ("site.*.sending.enabled", handling::site_sending_enabled),
    ("site.*.redirect.enabled", handling::site_redirect_enabled),
    ("site.*.debug.enabled", handling::site_debug_enabled),
    ("site.*.simulate.enabled", handling::site_simulate_enabled),
    ("site.*.sender.rewrite", handling::site_sender_rewrite),
    ("upstream.*.sites", handling::upstream_sites),
    ("upstream.*.sender", handling::upstream_sender),
    ("upstream.*.host", upstream::host),
    ("upstream.*.priority", upstream::priority),
    ("upstream.*.enabled", upstream::enabled),
    ("upstream.*.delivery", upstream::delivery),
    ("upstream.*.pickup_directory", upstream::pickup_directory),
    ("upstream.*.tls", upstream::tls),
    ("upstream.*.tls_ca", upstream::tls_ca),
    ("upstream.*.danger_accept_invalid_certificate", upstream::danger_accept_invalid_certificate),
    ("upstream.*.auth", upstream::auth),
    ("upstream.*.username", upstream::username),
    ("upstream.*.password", upstream::password),
    ("upstream.*.domain", upstream::domain),
    ("upstream.*.oauth2.token_url", upstream::oauth2_token_url),
    ("upstream.*.oauth2.client_id", upstream::oauth2_client_id),
    ("upstream.*.oauth2.client_secret", upstream::oauth2_client_secret),
    ("upstream.*.oauth2.refresh_token", upstream::oauth2_refresh_token),
    ("upstream.*.oauth2.scope", upstream::oauth2_scope),
    ("upstream.*.danger_allow_plaintext_auth", upstream::danger_allow_plaintext_auth),
    ("upstream.*.connection_limit", upstream::connection_limit),
    ("upstream.*.connect_timeout", upstream::connect_timeout),
    ("upstream.*.command_timeout", upstream::command_timeout),
    ("upstream.*.data_timeout", upstream::data_timeout),
    ("upstream.*.final_timeout", upstream::final_timeout),
    ("upstream.*.max_idle_time", upstream::max_idle_time),
    ("upstream.*.messages_per_connection", upstream::messages_per_connection),
    ("upstream.*.rate_limit", upstream::rate_limit),
    ("upstream.*.source_address", upstream::source_address),
    ("credentials.*.username", upstream::shared_username),
    ("credentials.*.password", upstream::shared_password),
    ("admin.listen", admin::listen),
    ("admin.password_hash", admin::password_hash),
    ("admin.password", admin::password),
    ("admin.token", admin::token),
    ("admin.hosts", admin::hosts),
    ("admin.certificate", admin::certificate),
    ("admin.private_key", admin::private_key),
    ("log_emails.enabled", records::log_emails_enabled),
    ("log_emails.path", records::log_emails_path),
    ("events.keep", records::events_keep),
    ("webhook.*.url", webhooks::url),
    ("webhook.*.on", webhooks::on),
    ("webhook.*.secret", webhooks::secret),
    ("log.level", records::log_level),
    ("log.format", records::log_format),
];

#[test]
fn every_key_of_the_default_file_has_its_test() {
    let free = free_tables().into_iter().map(|table| format!("{table}.*"));
    let keys: BTreeSet<String> = default_key_patterns().into_iter().chain(free).collect();
    let tested: BTreeSet<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(keys, tested, "a key and its test belong together: add it to KEYS");
    assert_eq!(tested.len(), KEYS.len(), "a key stands there twice");
    let tests: BTreeSet<usize> = KEYS.iter().map(|(_, test)| *test as usize).collect();
    assert_eq!(tests.len(), KEYS.len(), "a test stands for two keys");
}

/// Another configuration is in force.
#[track_caller]
fn reload(proxy: &Proxy, config: &str) {
    proxy.configure(config);
    proxy.command(&["reload"]);
}

/// The reload is refused with 78 and those words, and what was in force still is.
#[track_caller]
fn refused(proxy: &Proxy, config: &str, words: &str) {
    proxy.configure(config);
    refused_as_it_stands(proxy, words);
}

#[track_caller]
fn refused_as_it_stands(proxy: &Proxy, words: &str) {
    let refused = proxy.try_command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains(words), "{said}");
    assert!(send(proxy).starts_with("250"), "it works as before");
}

/// A line of the configuration file is another one now, and in force.
#[track_caller]
fn reload_with(proxy: &Proxy, old: &str, new: &str) {
    rewrite(proxy, old, new);
    proxy.command(&["reload"]);
}

#[track_caller]
fn rewrite(proxy: &Proxy, old: &str, new: &str) {
    let text = std::fs::read_to_string(proxy.config_file()).unwrap();
    assert!(text.contains(old), "{old} in {text}");
    std::fs::write(proxy.config_file(), text.replace(old, new)).unwrap();
}

/// A small message in a session of its own: the reply that decided about it.
#[track_caller]
fn send(proxy: &Proxy) -> String {
    Talk::hello(proxy.address()).mail("b@b.test", 100)
}

fn messages(proxy: &Proxy) -> Vec<Value> {
    proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

/// What the listing says of the only upstream.
fn standing(proxy: &Proxy) -> Value {
    proxy.cli(&["upstream", "list", "--json"])[0].clone()
}
