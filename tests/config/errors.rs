//! Every error names file or variable, line, key, what is wrong and what would be right; all of them in one go.

use super::Desk;

/// One wrong thing: text of the file, line, key, a part of what is wrong, a part of what would be right.
type Row = (&'static str, usize, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    // Unknown keys suggest the nearest.
    ("hostnam = \"a.test\"", 1, "hostnam", "unknown key", "hostname"),
    ("[limits]\n\nrecipient = 1", 3, "limits.recipient", "unknown key", "limits.recipients"),
    ("[limts]\nrecipients = 500", 1, "limts", "unknown key", "limits"),
    (
        "[upstream.a]\nhost = \"a.test\"\npasword = \"x\"",
        3,
        "upstream.a.pasword",
        "unknown key",
        "upstream.a.password",
    ),
    ("[listener.a]\nadress = \"127.0.0.1:26\"", 2, "listener.a.adress", "unknown key", "listener.a.address"),
    ("[queue]\nfantastic_new_thing = 1", 2, "queue.fantastic_new_thing", "unknown key", "expire_after"),
    ("message_size = \"1MiB\"", 1, "message_size", "unknown key", "limits.message_size"),
    ("[[upstream]]\nhost = \"a.test\"", 1, "upstream", "a list, not a table", "[upstream.primary]"),
    ("hostname_file = \"x\"", 1, "hostname_file", "unknown key", "hostname"),
    // Keys of later versions say so, whatever their value.
    ("[admin]\nlisten = \"8025\"", 2, "admin.listen", "no address with a port", "127.0.0.1:8025"),
    ("[admin]\nlisten = \"0.0.0.0:8025\"\ntoken = \"t\"", 2, "admin.listen", "no password", "postroom hash"),
    ("[admin]\nlisten = \"127.0.0.1:25\"", 2, "admin.listen", "taken by listener local", "its own"),
    ("[admin]\npassword_hash = \"secret\"", 2, "admin.password_hash", "is no hash", "postroom hash"),
    (
        "[admin]\npassword = \"a\"\npassword_hash = \"b\"",
        3,
        "admin.password_hash",
        "is given beside password",
        "give one of them",
    ),
    (
        "[admin]\ntoken = \"a\"\ntoken_file = \"b\"",
        3,
        "admin.token_file",
        "is given beside token",
        "one of them",
    ),
    ("[admin]\nhosts = [\"a.test\", \"b.test:80\"]", 2, "admin.hosts", "\"b.test:80\" has a port", "alone"),
    ("[admin]\nhosts = [\"https://a.test\"]", 2, "admin.hosts", "is no name", "postroom.example.com"),
    ("[admin]\nhosts = [\"*\"]", 2, "admin.hosts", "is no name", "postroom.example.com"),
    ("[admin]\ncertificate = \"c.pem\"", 1, "admin.private_key", "is missing", "two PEM files"),
    ("[queue]\nurl = \"\"", 2, "queue.url", "not in this version", "remove it"),
    (
        "[listener.a]\ntls = \"ssl\"",
        2,
        "listener.a.tls",
        "\"ssl\" is unknown",
        "none, opportunistic, starttls, implicit",
    ),
    (
        "[listener.a]\ncertificate = \"/nowhere/c.pem\"",
        1,
        "listener.a.private_key",
        "is missing",
        "two PEM files",
    ),
    (
        "[listener.a]\nauth = \"yes\"",
        2,
        "listener.a.auth",
        "\"yes\" is unknown",
        "none, optional, required, any",
    ),
    ("[user.app]\nsite = \"\"", 1, "user.app.password", "is missing", "postroom hash"),
    ("[user.app]\npassword_hash = \"secret\"", 2, "user.app.password_hash", "is no hash", "postroom hash"),
    (
        "[user.app]\npassword = \"a\"\npassword_hash = \"b\"",
        3,
        "user.app.password_hash",
        "is given beside password",
        "give one of them",
    ),
    ("[user.app]\npassword = \"a\"\nsite = \"x\"", 3, "user.app.site", "there is no site", "[site.x]"),
    (
        "[upstream.a]\nhost = \"a.test\"\nsites = [\"x\"]",
        3,
        "upstream.a.sites",
        "there is no site \"x\"",
        "[site.x]",
    ),
    ("[listener.a]\nsite = \"x\"\n[site.y]", 2, "listener.a.site", "there is no site", "one of y"),
    ("[redirect]\nallow = [\"@\"]", 2, "redirect.allow", "no domain", "@example.com"),
    ("[redirect]\nreport_emails = [\"qa\"]", 2, "redirect.report_emails", "no @domain", "qa@example.com"),
    (
        "[redirect]\nreport_emails = [\"qa@a.test\",\n{ email = \"qa\" }]",
        3,
        "redirect.report_emails[1].email",
        "no @domain",
        "qa@example.com",
    ),
    ("[webhook.a]\non = [\"failed\"]", 1, "webhook.a.url", "is missing", "https://ops.example.com"),
    ("[webhook.a]\nurl = \"\"", 2, "webhook.a.url", "is empty", "https://ops.example.com"),
    (
        "[webhook.a]\nurl = \"http://ops.test/?s3cret\"",
        2,
        "webhook.a.url",
        "is not https",
        "https://ops.example.com",
    ),
    ("[webhook.a]\nurl = \"https://me:s3cret@ops.test/\"", 2, "webhook.a.url", "holds an @", "give secret"),
    ("[webhook.a]\nurl = \"https://ops test/\"", 2, "webhook.a.url", "is no URL", "https://ops.example.com"),
    ("[webhook.a]\nurl = \"ops.test/hook\"", 2, "webhook.a.url", "is no", "https://ops.example.com"),
    (
        "[webhook.a]\nurl = \"https://a.test\"\non = [\"failed\", \"Held\"]",
        3,
        "webhook.a.on",
        "\"Held\" is unknown",
        "did you mean \"held\"?",
    ),
    ("[webhook.a]\nurl = \"https://a.test\"\non = []", 3, "webhook.a.on", "is empty", "delivered, deferred"),
    (
        "[webhook.a]\nurl = \"https://a.test\"\nsecret = \"a\"\nsecret_file = \"b\"",
        4,
        "webhook.a.secret_file",
        "is given beside secret",
        "give one of them",
    ),
    ("[debug]\nfailure_rate = 5", 2, "debug.failure_rate", "5 is no share", "0 to 1"),
    ("[sender]\nrewrite = \"always\"", 1, "sender.address", "missing", "john@example.com"),
    ("[sender]\naddress = '\"x <a@b.test>'", 2, "sender.address", "not closed", "john@example.com"),
    (
        "[site.x]\nsenders = [\"@a.test\"]\n[site.y]\nsenders = [\"b@a.test\", \"@A.test\"]",
        4,
        "site.y.senders",
        "site x",
        "one site",
    ),
    (
        "[upstream.a]\nhost = \"a.test\"\nsender = \"username\"",
        3,
        "upstream.a.sender",
        "no username",
        "shop@example.com",
    ),
    (
        "[site.s]\n[upstream.a]\nhost = \"a.test\"\npriority = \"default\"\nsites = [\"s\"]\n\
         [upstream.b]\nhost = \"b.test\"\npriority = \"default\"\n\
         [upstream.c]\nhost = \"c.test\"\npriority = \"default\"\nsites = [\"s\"]",
        11,
        "upstream.c.priority",
        "both enabled and default for site s",
        "high",
    ),
    ("[upstream.a]\ndelivery = \"pickup\"", 1, "upstream.a.pickup_directory", "is missing", "the folder"),
    ("[upstream.a]\ndelivery = \"pickup-iis\"", 1, "upstream.a.pickup_directory", "Windows alone", "mounted"),
    (
        "[upstream.a]\ndelivery = \"pickup\"\npickup_directory = \"out\"\nhost = \"a.test\"",
        4,
        "upstream.a.host",
        "means nothing here",
        "remove it",
    ),
    (
        "[upstream.a]\nhost = \"a.test\"\npickup_directory = \"out\"",
        3,
        "upstream.a.pickup_directory",
        "mail goes to a server",
        "delivery = \"pickup\"",
    ),
    ("[queue]\nengine = \"postgres\"", 2, "queue.engine", "not in this version", "redb"),
    // Wrong types.
    ("hostname = 5", 1, "hostname", "a number, not text", "full name"),
    ("hostname = 2026-11-20", 1, "hostname", "a date, not text", "full name"),
    ("limits = 5", 1, "limits", "a number, not a table", "[limits]"),
    ("upstream.a = \"smtp.example.com\"", 1, "upstream.a", "text, not a table", "[upstream.a]"),
    ("[limits]\nrecipients = \"1000\"", 2, "limits.recipients", "text, not a number", "100"),
    ("[limits]\nrecipients = 1000.5", 2, "limits.recipients", "not a whole number", "100"),
    ("[sending]\nenabled = \"yes\"", 2, "sending.enabled", "text, not true or false", "true or false"),
    ("[sending]\nenabled = 1", 2, "sending.enabled", "a number, not true or false", "true or false"),
    ("[limits]\ncommand_timeout = 300", 2, "limits.command_timeout", "a number", "\"5m\""),
    ("[limits]\nmessage_size = 25", 2, "limits.message_size", "a number", "\"25MiB\""),
    ("[queue]\nretry = \"1m\"", 2, "queue.retry", "text, not a list", "[\"1m\""),
    ("[queue]\nretry = [60]", 2, "queue.retry", "a number, not text in this list", "[\"1m\""),
    // Wrong values.
    ("hostname = \"two words\"", 1, "hostname", "two words", "full name"),
    ("[limits]\ncommand_timeout = \"5 parsecs\"", 2, "limits.command_timeout", "5 parsecs", "\"5m\""),
    ("[limits]\nmessage_size = \"25\"", 2, "limits.message_size", "no unit", "\"25MiB\""),
    ("[limits]\nrecipients = 99", 2, "limits.recipients", "99 is too small", "from 100"),
    ("[limits]\nrecipients = -1", 2, "limits.recipients", "-1 is too small", "from 100"),
    ("[limits]\nconnections = 0", 2, "limits.connections", "0 is too small", "from 1"),
    ("[limits]\ncontent_memory = \"1023KiB\"", 2, "limits.content_memory", "too little", "1.0 MiB"),
    ("[limits]\nbare_newline = \"strip\"", 2, "limits.bare_newline", "strip", "normalize, reject"),
    ("[queue]\nretry = []", 2, "queue.retry", "empty", "[\"1m\""),
    ("[queue]\nretry = [\"1m\", \"soon\"]", 2, "queue.retry", "soon", "[\"1m\""),
    ("[queue]\nbatch_size = 0", 2, "queue.batch_size", "0 is too small", "from 1"),
    ("[queue]\npath = \"\"", 2, "queue.path", "empty", "path"),
    ("data_dir = \"\"", 1, "data_dir", "empty", "folder"),
    ("[log]\nlevel = \"inof\"", 2, "log.level", "inof", "info"),
    ("[log]\nformat = \"xml\"", 2, "log.format", "xml", "text, json"),
    ("[listener.a]\naddress = \"localhost:25\"", 2, "listener.a.address", "localhost:25", "127.0.0.1:25"),
    ("[listener.a]\naddress = \"127.0.0.1\"", 2, "listener.a.address", "127.0.0.1", "port"),
    ("[listener.a]\nallow = [\"10.0.0.0/40\"]", 2, "listener.a.allow", "10.0.0.0/40", "private"),
    ("[upstream.a]\nhost = \"smtp://a.test\"", 2, "upstream.a.host", "smtp://", "a.test"),
    ("[upstream.a]\nhost = \"a.test:0\"", 2, "upstream.a.host", "port", "65535"),
    ("[upstream.a]\npriority = \"high\"", 1, "upstream.a.host", "missing", "host:port"),
    (
        "[upstream.a]\nhost = \"a.test\"\npriority = \"urgent\"",
        3,
        "upstream.a.priority",
        "urgent",
        "default, high, normal, low",
    ),
    (
        "[upstream.a]\nhost = \"a.test\"\nconnection_limit = 0",
        3,
        "upstream.a.connection_limit",
        "too small",
        "from 1",
    ),
    // It once logged in to whoever answered, with any certificate or none.
    (
        "[upstream.a]\nhost = \"a.test\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"p\"\ntls = \"opportunistic\"",
        6,
        "upstream.a.tls",
        "checks no certificate",
        "give starttls or implicit",
    ),
    (
        "[upstream.a]\nhost = \"localhost:587\"\ntls = \"opportunistic\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"p\"",
        3,
        "upstream.a.tls",
        "checks no certificate",
        "give none",
    ),
    (
        "[upstream.a]\nhost = \"a.test\"\ntls = \"opportunistic\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"p\"\n\
         danger_allow_plaintext_auth = true",
        3,
        "upstream.a.tls",
        "checks no certificate",
        "give starttls or implicit",
    ),
    ("[upstream.a]\nhost = \"a.test\"\nrate_limit = \"30\"", 3, "upstream.a.rate_limit", "30", "30/1m"),
    (
        "[upstream.a]\nhost = \"a.test\"\nsource_address = \"eth0\"",
        3,
        "upstream.a.source_address",
        "eth0",
        "address",
    ),
    (
        "[upstream.a]\nhost = \"a.test\"\ntls = \"ssl\"",
        3,
        "upstream.a.tls",
        "ssl",
        "starttls, implicit, or \"\"",
    ),
    (
        "[upstream.a]\nhost = \"a.test\"\ntls_ca = \"none.pem\"",
        3,
        "upstream.a.tls_ca",
        "cannot be read",
        "PEM",
    ),
    ("default_domain = \"two words\"", 1, "default_domain", "two words", "example.com"),
    (
        "[aliases]\nroot = \"ops\"",
        2,
        "aliases.root",
        "\"ops\": the address has no @domain",
        "ops@example.com",
    ),
    ("[aliases]\nroot = [\"a@b.test\"]", 2, "aliases.root", "a list, not text", "ops@example.com"),
    ("[aliases]\nroot = \"ö@b.test\"", 2, "aliases.root", "SMTPUTF8", "ops@example.com"),
    (
        "[aliases]\nroot = \"a@b.test\"\nRoot = \"c@b.test\"",
        2,
        "aliases.root",
        "in other letters",
        "case does not",
    ),
    ("[aliases]\n\"a@b.test\" = \"c@b.test\"", 2, "aliases.\"a@b.test\"", "no name without a domain", "root"),
    (
        "[aliases]\n\"a\u{202e}b\" = \"c@b.test\"",
        2,
        "aliases.\"a\\u{202e}b\"",
        "no name without a domain",
        "root",
    ),
    ("aliases = 5", 1, "aliases", "a number, not a table", "[aliases]"),
    // Bad names.
    ("[upstream.Primary]\nhost = \"a.test\"", 1, "upstream.Primary", "no name", "primary"),
    ("[upstream.\"a b\"]\nhost = \"a.test\"", 1, "upstream.\"a b\"", "no name", "a-z"),
    ("[listener.\"\"]", 1, "listener.\"\"", "no name", "a-z"),
    ("[listener.a__b]", 1, "listener.a__b", "no name", ": a_b"),
    ("[listener._a]", 1, "listener._a", "no name", ": a"),
    ("[listener.a-]", 1, "listener.a-", "no name", "a letter or digit at both ends"),
    // No TOML.
    ("hostname = \"a.test\"\n\n[limits\nrecipients = 5", 3, "", "is not TOML", "toml.io"),
    ("hostname = \"a.test\"\nhostname = \"b.test\"", 2, "", "is not TOML", "toml.io"),
];

// CASES G1
#[test]
fn an_error_names_file_line_key_what_is_wrong_and_what_would_be_right() {
    for (text, line, key, wrong, right) in ROWS {
        // Without the variable, so that the file's own hostname counts.
        let mut desk = Desk::with(text);
        desk.sources.environment.clear();
        let error = desk.error();
        assert_eq!(error.file, Some(desk.path("postroom.toml").display().to_string()), "{text}");
        assert_eq!((error.line, error.key.as_str()), (Some(*line), *key), "{text}\n{error}");
        assert!(error.wrong.contains(wrong), "{text}\n{error}");
        assert!(error.right.contains(right), "{text}\n{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    for (variable, value, key) in [
        ("POSTROOM_LIMITS__RECIPIENTS", "many", "limits.recipients"),
        ("POSTROOM_LIMITS__RECIPIENT", "1000", "limits.recipient"),
        ("POSTROOM_SENDING__ENABLED", "maybe", "sending.enabled"),
        ("POSTROOM_UPSTREAM__A__HOST", "a b", "upstream.a.host"),
        ("POSTROOM_UPSTREAM__A__PRIORITY", "high", "upstream.a.host"),
        ("POSTROOM_UPSTREAM", "smtp.example.com", "upstream"),
        ("POSTROOM_REDIRECT__ENABLED", "maybe", "redirect.enabled"),
        ("POSTROOM_ADMIN__LISTEN", "true", "admin.listen"),
        ("POSTROOM_NONSENSE__A__B__C__D", "1", "nonsense"),
        ("POSTROOM_", "1", ""),
        ("RELAYHOST", "a:b:c", "upstream.relayhost.host"),
        ("RUST_LOG", "postroom=loud", "log.level"),
    ] {
        let error = Desk::new().variable(variable, value).error();
        assert_eq!((error.file.as_deref(), error.key.as_str()), (Some(variable), key), "{error}");
    }
    let error = Desk::new().flag("data_dri", "/tmp").error();
    assert_eq!((error.file.as_deref(), error.key.as_str()), (Some("command line"), "data_dri"));
    assert!(error.right.contains("data_dir"), "{error}");
}

#[test]
fn two_names_that_one_variable_would_mean_are_an_error() {
    let text = "[upstream.a-b]\nhost = \"a.test\"\n[upstream.a_b]\nhost = \"b.test\"\n";
    let error = Desk::with(text).variable("POSTROOM_UPSTREAM__A_B__PRIORITY", "high").error();
    assert_eq!((error.key.as_str(), error.line), ("upstream.a_b", Some(3)));
    assert!(error.wrong.contains("a-b") && error.right.contains("rename"), "{error}");
}

// CASES G1
#[test]
fn all_errors_come_in_one_go_in_the_order_of_the_file() {
    let desk = Desk::with(
        "data_dri = \"x\"\n[limits]\nrecipients = 5\nmessage_size = \"huge\"\n[listener.a]\naddress = \"x\"\n\
         [upstream.a]\nhost = \"a.test\"\nauth = \"basic\"\n[upstream.b]\n[redirect]\nenabled = 1\n",
    )
    .variable("POSTROOM_QUEUE__RETRY", "never");
    let errors = desk.errors();
    let found: Vec<(Option<usize>, &str)> =
        errors.iter().map(|error| (error.line, error.key.as_str())).collect();
    assert_eq!(
        found,
        [
            (Some(1), "data_dri"),
            (Some(3), "limits.recipients"),
            (Some(4), "limits.message_size"),
            (Some(6), "listener.a.address"),
            (Some(7), "upstream.a.username"),
            (Some(7), "upstream.a.password"),
            (Some(10), "upstream.b.host"),
            (Some(12), "redirect.enabled"),
            (None, "queue.retry"),
        ]
    );
}

#[test]
fn a_wrong_value_causes_no_second_error() {
    let desk = Desk::with(
        "[upstream.a]\nhost = \"a.test\"\nauth = \"basci\"\nusername = \"u\"\npassword = \"p\"\n\
         [upstream.b]\nhost = \"b.test\"\nauth = \"basic\"\nusername = 5\npassword = \"p\"\n",
    );
    let keys: Vec<String> = desk.errors().into_iter().map(|error| error.key).collect();
    assert_eq!(keys, ["upstream.a.auth", "upstream.b.username"]);
}

#[test]
fn errors_are_json_for_programs() {
    let errors = Desk::with("[limits]\nrecipients = 5\n").load().unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[0]["line"], 2);
    assert_eq!(json[0]["key"], "limits.recipients");
    assert!(json[0]["file"].is_string() && json[0]["wrong"].is_string() && json[0]["right"].is_string());
}

#[test]
fn a_file_that_is_not_utf_8_is_named_with_its_line() {
    let desk = Desk::new();
    std::fs::write(desk.path("postroom.toml"), b"hostname = \"a.test\"\n# f\xfcr\n").unwrap();
    let error = desk.error();
    assert_eq!(error.line, Some(2));
    assert!(error.wrong.contains("UTF-8"), "{error}");
}

#[test]
fn an_error_is_one_line_whatever_a_variable_is_called() {
    let desk = Desk::with("").variable("POSTROOM_LOG__F\u{1d}J", "x").variable("POSTROOM_\nLIMITS", "x");
    for error in desk.errors() {
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
}
