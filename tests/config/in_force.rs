//! What `postroom check` prints.

use super::Desk;

const TEXT: &str = r#"
[listener.app]
address = "[::1]:2525"
allow = ["private", "192.0.2.0/24"]

[limits]
recipients = 500

[aliases]
root = "ops@example.com"
'john "x" doe' = '"john \"x\" doe"@example.com'

[upstream.relay-1]
host = "smtp.example.com:465"
auth = "basic"
username = "u"
password = "hunter2"
rate_limit = "30/1m"
"#;

#[test]
fn what_is_in_force_can_be_loaded_again_but_for_the_masks() {
    let first = Desk::with(TEXT).variable("POSTROOM_QUEUE__RETRY", "1s,2s").loaded();
    let printed = first.in_force.to_toml();
    let again = Desk::with(&printed.replace("****", "hunter2")).loaded();
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", first.settings), "{printed}");
    assert_eq!(again.settings.upstreams, first.settings.upstreams);
    assert_eq!(again.in_force.to_json(), first.in_force.to_json());
}

#[test]
fn it_says_where_a_value_was_given_and_what_a_default_comes_to() {
    let desk = Desk::with(TEXT).variable("POSTROOM_QUEUE__RETRY", "1s,2s").flag("log.level", "debug");
    let printed = desk.loaded().in_force.to_toml();
    let file = desk.path("postroom.toml");
    for line in [
        "hostname = \"proxy.test\"  # POSTROOM_HOSTNAME".to_owned(),
        format!("data_dir = {:?}", desk.path("var").display().to_string()),
        format!("recipients = 500  # {}:7", file.display()),
        "connections = 1000".to_owned(),
        "retry = [\"1s\", \"2s\"]  # POSTROOM_QUEUE__RETRY".to_owned(),
        "tls = \"implicit\"".to_owned(),
        "level = \"debug\"  # command line".to_owned(),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert!(printed.contains("[upstream.relay-1]\n"), "{printed}");
}

#[test]
fn as_json_it_has_types() {
    let json = Desk::with(TEXT).loaded().in_force.to_json();
    assert_eq!(json["hostname"], "proxy.test");
    assert_eq!(json["limits"]["recipients"], 500);
    assert_eq!(json["sending"]["enabled"], true);
    assert_eq!(json["listener"]["app"]["allow"][0], "private");
    assert_eq!(json["upstream"]["relay-1"]["password"], "****");
    assert_eq!(json["upstream"]["relay-1"]["priority"], "normal");
}
