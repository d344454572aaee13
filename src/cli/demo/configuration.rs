//! The configuration that the demo runs with: a file, so that other verbs can be tried with it.

use std::net::SocketAddr;
use std::path::Path;
use toml_edit::{Array, DocumentMut, value};

/// Where everything is.
pub(super) struct Places<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Refuses now and then.
    pub(super) flaky: SocketAddr,
    /// Takes all but the mail for some recipients.
    pub(super) steady: SocketAddr,
    /// Where nobody listens.
    pub(super) down: SocketAddr,
}

/// As a document, in the words of `conf/postroom.toml`.
pub(super) fn configuration(places: &Places<'_>) -> String {
    let mut document = DocumentMut::new();
    document["hostname"] = value("demo.localhost");
    document["data_dir"] = value(places.data_dir.to_string_lossy().into_owned());
    document["listener"]["local"]["address"] = value(places.listen.to_string());
    document["admin"]["listen"] = value(places.admin.to_string());
    document["log"]["level"] = value("error");
    document["log_emails"]["enabled"] = value(true);
    // A demo that stays open for weeks keeps what the last day or two brought.
    document["queue"]["archive_days"] = value(1);
    document["queue"]["failed_days"] = value(1);
    document["queue"]["expire_after"] = value("1d");
    document["events"]["keep"] = value(10_000);
    document["site"]["shop"]["senders"] = value(Array::from_iter(["@shop.example"]));
    document["site"]["staging"]["senders"] = value(Array::from_iter(["@staging.shop.example"]));
    document["site"]["staging"]["redirect"]["enabled"] = value(true);
    document["site"]["staging"]["redirect"]["report_emails"] = value(Array::from_iter(["qa@shop.example"]));
    let servers = [
        ("flaky", "high", places.flaky, true),
        ("steady", "normal", places.steady, true),
        ("backup", "low", places.down, true),
        ("retired", "low", places.down, false),
    ];
    for (name, priority, address, enabled) in servers {
        document["upstream"][name]["host"] = value(address.to_string());
        document["upstream"][name]["priority"] = value(priority);
        document["upstream"][name]["enabled"] = value(enabled);
        document["upstream"][name]["tls"] = value("none");
    }
    // Enough for all mail of the start: what the flaky one refuses and the steady one is too busy for would wait for a minute.
    document["upstream"]["steady"]["connection_limit"] = value(20);
    document.to_string()
}
