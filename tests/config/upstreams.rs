//! What an upstream's keys mean together.

use super::Desk;
use postroom::config::default_upstream;
use postroom::config::settings::{Auth, RateLimit, TlsMode};
use std::time::Duration;

const BASIC: &str = "auth = \"basic\"\nusername = \"u\"\npassword = \"p\"\n";

fn upstream(host: &str, more: &str) -> Desk {
    Desk::with(&format!("[upstream.a]\nhost = \"{host}\"\n{more}"))
}

#[test]
fn tls_as_much_as_can_be_had() {
    for (host, more, expected) in [
        ("a.test", "", TlsMode::Opportunistic),
        ("a.test:587", "", TlsMode::Opportunistic),
        ("a.test:587", BASIC, TlsMode::StartTls),
        ("a.test", BASIC, TlsMode::StartTls),
        ("a.test:465", "", TlsMode::Implicit),
        ("a.test:465", BASIC, TlsMode::Implicit),
        ("a.test:465", "tls = \"starttls\"\n", TlsMode::StartTls),
        ("a.test", "tls = \"none\"\n", TlsMode::None),
        ("a.test", "tls = \"implicit\"\n", TlsMode::Implicit),
    ] {
        assert_eq!(upstream(host, more).upstream("a").tls, expected, "{host} {more}");
    }
}

#[test]
fn a_password_goes_in_clear_text_over_no_network() {
    let clear = |host: &str, more: &str| upstream(host, &format!("tls = \"none\"\n{BASIC}{more}"));
    let error = clear("a.test", "").error();
    assert_eq!((error.line, error.key.as_str()), (Some(3), "upstream.a.tls"));
    assert!(error.right.contains("danger_allow_plaintext_auth"), "{error}");
    assert!(
        clear("a.test", "danger_allow_plaintext_auth = true\n").upstream("a").danger_allow_plaintext_auth
    );
    for host in ["localhost:2526", "127.0.0.1:2526", "[::1]:2526"] {
        assert!(clear(host, "").upstream("a").danger_allow_plaintext_auth, "{host}");
    }
}

#[test]
fn basic_needs_username_and_password() {
    let keys = |more: &str| -> Vec<String> {
        upstream("a.test", more).errors().into_iter().map(|error| error.key).collect()
    };
    assert_eq!(keys("auth = \"basic\"\nusername = \"u\"\n"), ["upstream.a.password"]);
    assert_eq!(keys("auth = \"basic\"\npassword = \"p\"\n"), ["upstream.a.username"]);
    assert_eq!(
        keys("auth = \"basic\"\nusername = \"a\\u0000b\"\npassword = \"p\"\n"),
        ["upstream.a.username"]
    );
}

const SHARED: &str = "auth = \"default\"\n[credentials.default]\nusername = \"u\"\npassword = \"p\"\n";

#[test]
fn default_is_the_shared_credentials() {
    let shared = upstream("a.test", SHARED).upstream("a");
    assert_eq!(shared.auth, upstream("a.test", BASIC).upstream("a").auth);
    assert_eq!(shared.tls, TlsMode::StartTls);
    for missing in ["auth = \"default\"\n", "auth = \"default\"\n[credentials.default]\nusername = \"u\"\n"] {
        let error = upstream("a.test", missing).error();
        assert_eq!((error.line, error.key.as_str()), (Some(3), "upstream.a.auth"));
        assert!(error.right.contains("[credentials.default]"), "{error}");
    }
    let desk = upstream("a.test", &SHARED.replace("credentials.default", "credentials.other"));
    let keys: Vec<String> = desk.errors().into_iter().map(|error| error.key).collect();
    assert_eq!(keys, ["upstream.a.auth", "credentials.other.username"]);
    let file = SHARED.replace("password = \"p\"", "password_file = \"s\"");
    let desk = upstream("a.test", &file);
    desk.write("s", "p\n");
    assert_eq!(desk.upstream("a").auth, shared.auth);
}

#[test]
fn ntlm_has_a_domain_and_nothing_else_has() {
    let ntlm = |username: &str, more: &str| {
        let keys = format!("auth = \"ntlm\"\nusername = '{username}'\npassword = \"p\"\n{more}");
        match upstream("a.test", &keys).upstream("a").auth.clone() {
            Auth::Ntlm { username, domain, .. } => (username, domain),
            other => panic!("{other:?}"),
        }
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(ntlm("app", "domain = \"SHOP\"\n"), pair("app", "SHOP"));
    assert_eq!(ntlm("SHOP\\app", ""), pair("app", "SHOP"));
    assert_eq!(ntlm("app@shop.test", ""), pair("app@shop.test", ""));
    let error = upstream("a.test", &format!("{BASIC}domain = \"SHOP\"\n")).error();
    assert_eq!((error.line, error.key.as_str()), (Some(6), "upstream.a.domain"));
    let errors = upstream("a.test", "auth = \"ntlm\"\n").errors();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["upstream.a.username", "upstream.a.password"]);
}

#[test]
fn oauth2_says_what_is_missing_and_sends_no_secret_in_clear_text() {
    let keys = |url: &str, more: &str| {
        format!(
            "auth = \"oauth2\"\nusername = \"u\"\noauth2 = {{ token_url = \"{url}\", client_id = \"c\"{more} }}\n"
        )
    };
    let secret = ", refresh_token = \"r\"";
    let whole = upstream("a.test", &keys("https://a.test/token", secret)).upstream("a");
    assert!(matches!(&whole.auth, Auth::OAuth2(oauth2) if oauth2.has_refresh_token()));
    assert_eq!(whole.tls, TlsMode::StartTls);
    for url in ["http://127.0.0.1:8080/token", "http://localhost/token", "http://[::1]:80/token"] {
        upstream("a.test", &keys(url, secret)).upstream("a");
    }
    for url in [
        "http://a.test/token",
        "ftp://a.test/",
        "a.test",
        "https://u:p@a.test/",
        "/token",
        "http://127.0.0.1.a.test/",
    ] {
        let error = upstream("a.test", &keys(url, secret)).error();
        assert_eq!((error.line, error.key.as_str()), (Some(5), "upstream.a.oauth2.token_url"), "{url}");
        assert!(!error.to_string().contains("u:p"), "{error}");
    }
    let error = upstream("a.test", &keys("https://a.test/token", "")).error();
    assert_eq!(error.key, "upstream.a.oauth2.refresh_token");
    let errors = upstream("a.test", "auth = \"oauth2\"\n").errors();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "upstream.a.username",
            "upstream.a.oauth2.token_url",
            "upstream.a.oauth2.client_id",
            "upstream.a.oauth2.refresh_token"
        ]
    );
}

#[test]
fn local_is_the_smtp_service_of_this_machine() {
    let elsewhere = "[listener.a]\naddress = \"127.0.0.1:2525\"\n[upstream.a]\ndelivery = \"local\"\n";
    let local = Desk::with(elsewhere).upstream("a");
    assert_eq!((local.host.as_str(), local.port), ("127.0.0.1", 25));
    let other = Desk::with(&format!("{elsewhere}host = \"localhost:587\"\n")).upstream("a");
    assert_eq!((other.host.as_str(), other.port), ("localhost", 587));
    // The listener that exists while none is configured.
    let error = Desk::with("[upstream.a]\ndelivery = \"local\"\n").error();
    assert_eq!(error.key, "upstream.a.host");
    assert!(error.wrong.contains("own listener local"), "{error}");
}

#[test]
fn rate_limit_and_source_address() {
    let upstream =
        upstream("a.test", "rate_limit = \"30/1m\"\nsource_address = \"192.0.2.9\"\n").upstream("a");
    assert_eq!(upstream.rate_limit, Some(RateLimit { messages: 30, time: Duration::from_secs(60) }));
    assert_eq!(upstream.source_address, Some("192.0.2.9".parse().unwrap()));
}

#[test]
fn further_roots_are_a_pem_file_beside_the_configuration() {
    let certificate = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let desk = upstream("a.test", "tls_ca = \"roots.pem\"\n");
    desk.write("roots.pem", &certificate.cert.pem());
    assert_eq!(desk.upstream("a").tls_ca, Some(desk.path("roots.pem")));
    for text in ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
        desk.write("roots.pem", text);
        let error = desk.error();
        assert_eq!((error.line, error.key.as_str()), (Some(3), "upstream.a.tls_ca"), "{text:?}");
        assert!(error.wrong.contains("roots.pem"), "{error}");
    }
}

#[test]
fn a_new_upstream_is_what_the_default_file_says() {
    let written = upstream("mail.test:2500", "").upstream("a");
    assert_eq!(*written, default_upstream("a", "mail.test", 2500));
}

const FOLDER: &str = "[upstream.a]\ndelivery = \"pickup\"\npickup_directory = \"out\"\n";

#[test]
fn a_folder_has_nothing_of_a_connection() {
    let desk = Desk::with(FOLDER);
    assert!(desk.upstream("a").pickup_directory.as_ref().unwrap().ends_with("out"));
    let iis = Desk::with(&FOLDER.replace("\"pickup\"", "\"pickup-iis\""));
    assert!(iis.upstream("a").pickup_directory.as_ref().unwrap().ends_with("out"));
    for key in [
        "host = \"a.test\"",
        "tls = \"none\"",
        "tls_ca = \"ca.pem\"",
        "danger_accept_invalid_certificate = true",
        "auth = \"anonymous\"",
        "username = \"u\"",
        "password = \"p\"",
        "password_file = \"p\"",
        "domain = \"D\"",
        "oauth2 = { token_url = \"https://a.test\" }",
        "danger_allow_plaintext_auth = true",
        "command_timeout = \"1s\"",
        "max_idle_time = \"1s\"",
        "messages_per_connection = 1",
        "source_address = \"127.0.0.1\"",
    ] {
        let name = key.split(' ').next().unwrap();
        let errors = Desk::with(&format!("{FOLDER}{key}\n")).errors();
        let told = errors.iter().any(|error| {
            error.key == format!("upstream.a.{name}") && error.wrong.contains("means nothing here")
        });
        assert!(told, "{key}: {errors:?}");
    }
}
