//! What is wrong only when several keys are looked at together.

use super::Desk;

// CASES G2
#[test]
fn g2_two_defaults_are_an_error_that_names_both() {
    let text = |second: &str| {
        format!(
            "[upstream.first]\nhost = \"a.test\"\npriority = \"default\"\n[upstream.second]\nhost = \"b.test\"\n{second}\n"
        )
    };
    let error = Desk::with(&text("priority = \"default\"")).error();
    assert!(error.wrong.contains("first") && error.wrong.contains("second"), "{error}");
    assert_eq!((error.line, error.key.as_str()), (Some(6), "upstream.second.priority"));
    assert!(error.wrong.contains("postroom.toml:3"), "{error}");
    Desk::with(&text("priority = \"high\"")).loaded();
    Desk::with(&text("priority = \"default\"\nenabled = false")).loaded();
}

// CASES G3
#[test]
fn g3_an_upstream_that_is_our_own_listener() {
    let pair = |listens: &str, host: &str| {
        Desk::with(&format!("[listener.a]\naddress = \"{listens}\"\n[upstream.loop]\nhost = \"{host}\"\n"))
    };
    for (listens, host) in [
        ("127.0.0.1:2525", "127.0.0.1:2525"),
        ("127.0.0.1:2525", "localhost:2525"),
        ("127.0.0.1:25", "localhost"),
        ("[::1]:25", "localhost."),
        ("0.0.0.0:2525", "127.0.0.1:2525"),
        ("0.0.0.0:2525", "127.5.5.5:2525"),
        ("[::]:2525", "[::1]:2525"),
        ("[::]:2525", "127.0.0.1:2525"),
        ("127.0.0.1:2525", "0.0.0.0:2525"),
        ("192.0.2.7:25", "192.0.2.7"),
        ("192.0.2.7:25", "[::ffff:192.0.2.7]"),
    ] {
        let error = pair(listens, host).error();
        assert_eq!(error.key, "upstream.loop.host", "{listens} {host}: {error}");
        assert!(error.wrong.contains("listener a"), "{error}");
    }
    for (listens, host) in [
        ("127.0.0.1:2525", "127.0.0.1:2526"),
        ("127.0.0.1:2525", "127.0.0.2:2525"),
        ("192.0.2.7:25", "localhost:25"),
        ("0.0.0.0:25", "smtp.example.com"),
        ("0.0.0.0:25", "198.51.100.1"),
    ] {
        pair(listens, host).loaded();
    }
    // The listener that is there by default counts as well; an upstream that is off does not.
    assert_eq!(Desk::with("[upstream.x]\nhost = \"localhost\"\n").error().key, "upstream.x.host");
    Desk::with("[upstream.x]\nhost = \"localhost\"\nenabled = false\n").loaded();
}

// CASES G5
#[test]
fn g5_an_open_relay_needs_the_key_that_says_so() {
    let listener = |address: &str, allow: &str, more: &str| {
        Desk::with(&format!("[listener.a]\naddress = \"{address}\"\nallow = {allow}\n{more}"))
    };
    for (address, allow) in [
        ("0.0.0.0:25", "[\"0.0.0.0/0\"]"),
        ("192.0.2.7:25", "[\"private\", \"0.0.0.0/0\"]"),
        ("[::]:25", "[\"::/0\"]"),
        ("0.0.0.0:25", "[\"0.0.0.0/1\", \"128.0.0.0/1\"]"),
        ("10.0.0.1:25", "[\"1.2.3.4/0\"]"),
    ] {
        let error = listener(address, allow, "").error();
        assert_eq!((error.line, error.key.as_str()), (Some(3), "listener.a.allow"), "{address} {allow}");
        assert!(error.right.contains("danger_open_relay"), "{error}");
        let loaded = listener(address, allow, "danger_open_relay = true\n").loaded();
        assert!(loaded.warnings.iter().any(|warning| warning.contains("danger_open_relay")));
    }
    // Who has to show a password may come from anywhere; where any password will do, that is no password.
    let all = "[\"0.0.0.0/0\"]";
    listener("0.0.0.0:25", all, "auth = \"required\"\n").loaded();
    for auth in ["none", "optional", "any"] {
        let error = listener("0.0.0.0:25", all, &format!("auth = \"{auth}\"\n")).error();
        assert_eq!(error.key, "listener.a.allow", "{auth}");
    }
    listener("127.0.0.1:25", "[\"0.0.0.0/0\"]", "").loaded();
    listener("0.0.0.0:25", "[\"private\"]", "").loaded();
    listener("0.0.0.0:25", "[]", "").loaded();
}

#[test]
fn two_listeners_at_one_address_are_an_error() {
    let desk =
        Desk::with("[listener.a]\naddress = \"127.0.0.1:26\"\n[listener.b]\naddress = \"127.0.0.1:26\"\n");
    let error = desk.error();
    assert_eq!((error.line, error.key.as_str()), (Some(4), "listener.b.address"));
    assert!(error.wrong.contains("listener a"), "{error}");
    Desk::with("[listener.a]\naddress = \"127.0.0.1:0\"\n[listener.b]\naddress = \"127.0.0.1:0\"\n").loaded();
}

#[test]
fn warnings_stand_beside_the_settings() {
    let warns = |text: &str, of: &str| {
        let warnings = Desk::with(text).loaded().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(of)), "{text}: {warnings:?}");
    };
    warns("", "no upstream is enabled");
    warns("[upstream.a]\nhost = \"a.test\"\nenabled = false\n", "no upstream is enabled");
    warns(
        "[upstream.a]\nhost = \"a.test\"\ndanger_accept_invalid_certificate = true\n",
        "danger_accept_invalid",
    );
    warns(
        "[upstream.a]\nhost = \"a.test\"\ndanger_allow_plaintext_auth = true\n",
        "danger_allow_plaintext_auth",
    );
    warns("[upstream.a]\nhost = \"a.test\"\nusername = \"u\"\n", "upstream.a.auth is anonymous");
    assert_eq!(Desk::with("[upstream.a]\nhost = \"a.test\"\n").loaded().warnings, [""; 0]);
    // A site of which nothing leaves needs no upstream.
    let dev =
        "[upstream.a]\nhost = \"a.test\"\n[site.dev]\nglobal_upstreams = false\nsenders = [\"@dev.test\"]\n";
    assert_eq!(Desk::with(dev).loaded().warnings.len(), 1);
    assert_eq!(Desk::with(&format!("{dev}debug.enabled = true\n")).loaded().warnings, [""; 0]);
    let short = Desk::new().flag("hostname", "box").loaded().warnings;
    assert!(short.iter().any(|warning| warning.contains("no dot")), "{short:?}");
}
