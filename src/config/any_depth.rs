//! Tests: tables beneath named ones, inline tables and lists of tables are keys like all others, whatever the depth. They go by
//! a default file of their own, since that of Postroom need not have each of these.

use super::error::ConfigError;
use super::in_force::InForce;
use super::merged::Merged;
use super::schema::Schema;
use super::section::{ConfigReader, ListItem, Section};
use super::sources::Sources;
use super::{read_secret, unknown_keys};
use figment::value::{Dict, Value};
use std::sync::Arc;

const DEFAULT_FILE: &str = r#"
hostname = ""

[redirect]
enabled = false
# Who gets it: an address, or a table.
#report_emails = [{ email = "qa@example.com", enabled = true }, "qa@example.com"]
report_emails = []

[debug]
rate = 0.01

[certificates.issuer.account]
email = ""

[aliases]

#[listener.local]
#address = "127.0.0.1:25"

#[upstream.primary]
# An example.
#host = "smtp.example.com"
#oauth2 = { token_url = "", client = { id = "postroom", password = "" } }

#[site.intranet]
#senders = []
#[site.intranet.redirect]
#enabled = true
#[site.intranet.debug]
"#;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::describe(DEFAULT_FILE).unwrap())
}

/// What a file, an environment and a command line come to.
fn merged(text: &str, environment: &[(&str, &str)], command_line: &[(&str, &str)]) -> Merged {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postroom.toml");
    std::fs::write(&file, text).unwrap();
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let sources = Sources {
        file: Some(file),
        environment: pairs(environment),
        working_dir: folder.path().to_owned(),
        overrides: pairs(command_line),
        unwritten: None,
    };
    Merged::gather(&sources, schema()).unwrap_or_else(|broken| panic!("{}", broken.error))
}

fn at<'a>(values: &'a Dict, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = values.get(first)?;
    rest.map_or(Some(value), |rest| at(value.as_dict()?, rest))
}

/// Line, key and what would be right, of the only error.
#[track_caller]
fn only(errors: &[ConfigError]) -> (Option<usize>, &str, &str) {
    let [error] = errors else { panic!("{errors:#?}") };
    (error.line, &error.key, &error.right)
}

#[test]
fn a_named_table_has_its_whole_template_beneath_it_and_overrides_have_no_defaults() {
    let values = merged(
        "[upstream.a.oauth2.client]\npassword = \"p\"\n[site.x]\n[site.y.redirect]\nenabled = true\n",
        &[],
        &[],
    )
    .values;
    assert_eq!(at(&values, "upstream.a.host").unwrap().as_str(), Some("smtp.example.com"));
    assert_eq!(at(&values, "upstream.a.oauth2.token_url").unwrap().as_str(), Some(""));
    assert_eq!(at(&values, "upstream.a.oauth2.client.id").unwrap().as_str(), Some("postroom"));
    assert_eq!(at(&values, "upstream.a.oauth2.client.password").unwrap().as_str(), Some("p"));
    assert_eq!(at(&values, "certificates.issuer.account.email").unwrap().as_str(), Some(""));
    assert_eq!(at(&values, "redirect.report_emails").unwrap().as_array(), Some(&[][..]));
    assert_eq!(at(&values, "site.x.senders").unwrap().as_array(), Some(&[][..]));
    assert!(at(&values, "site.x.redirect").is_none() && at(&values, "site.x.debug").is_none());
    assert_eq!(at(&values, "site.y.redirect").unwrap().as_dict().unwrap().len(), 1);
    assert!(at(&values, "listener.local.address").is_some() && at(&values, "site.intranet").is_none());
}

#[test]
fn an_unknown_key_is_told_with_its_path_its_line_and_the_nearest_known_one() {
    for (text, line, key, right) in [
        ("[site.x.redirect]\nenabeld = true", 2, "site.x.redirect.enabeld", "site.x.redirect.enabled?"),
        ("[site.x.debug]\nrat = 5", 2, "site.x.debug.rat", "site.x.debug.rate?"),
        ("[site.x]\nreport_emails = []", 2, "site.x.report_emails", "site.x.redirect.report_emails?"),
        ("[site.x.redirct]", 1, "site.x.redirct", "site.x.redirect?"),
        ("[site.x]\ntoken_url = \"\"", 2, "site.x.token_url", "the keys here are debug, redirect, senders"),
        (
            "[upstream.a]\nhost = \"h\"\noauth2 = { token_ur = \"\" }",
            3,
            "upstream.a.oauth2.token_ur",
            "upstream.a.oauth2.token_url?",
        ),
        (
            "[upstream.\"a b\"]\noauth2.client.di = \"\"",
            2,
            "upstream.\"a b\".oauth2.client.di",
            "upstream.\"a b\".oauth2.client.id?",
        ),
        (
            "[upstream.a.oauth2.client]\nid_file = \"x\"",
            2,
            "upstream.a.oauth2.client.id_file",
            "the keys here are id, password",
        ),
        (
            "[redirect]\nreport_emails = [\n\"a@b.test\",\n{ email = \"c@d.test\", enabeld = true },\n]",
            4,
            "redirect.report_emails[1].enabeld",
            "redirect.report_emails[1].enabled?",
        ),
        (
            "[[site.x.redirect.report_emails]]\nemail = \"a@b.test\"\n[[site.x.redirect.report_emails]]\nemal = \"b\"",
            4,
            "site.x.redirect.report_emails[1].emal",
            "site.x.redirect.report_emails[1].email?",
        ),
        (
            "[certificates.issuer]\nacount.email = \"\"",
            2,
            "certificates.issuer.acount",
            "certificates.issuer.account?",
        ),
        ("rate = 5", 1, "rate", "debug.rate?"),
    ] {
        let mut errors = unknown_keys::unknown_keys(&merged(text, &[], &[]));
        // Names are another matter.
        errors.retain(|error| error.wrong.contains("unknown key"));
        let found = only(&errors);
        assert_eq!((found.0, found.1), (Some(line), key), "{text}");
        assert!(found.2.ends_with(right), "{text}: {}", found.2);
    }
}

#[test]
fn a_value_in_place_of_a_table_is_told_with_its_path_and_line() {
    for (text, line, key, right) in [
        ("[site.x]\nredirect = true", 2, "site.x.redirect", "[site.x.redirect]"),
        ("[upstream.a]\n\noauth2 = \"x\"", 3, "upstream.a.oauth2", "[upstream.a.oauth2]"),
        ("upstream.a.oauth2 = { client = [] }", 1, "upstream.a.oauth2.client", "[upstream.a.oauth2.client]"),
        ("[certificates]\nissuer = 2026-11-20", 2, "certificates.issuer", "[certificates.issuer]"),
        ("[[site]]", 1, "site", "[site.primary]"),
    ] {
        let errors = unknown_keys::unknown_keys(&merged(text, &[], &[]));
        let found = only(&errors);
        assert_eq!((found.0, found.1), (Some(line), key), "{text}");
        assert!(found.2.ends_with(right), "{text}: {}", found.2);
    }
}

#[test]
fn environment_and_command_line_reach_every_depth() {
    let environment = [
        ("POSTROOM_SITE__INTRA_NET__REDIRECT__ENABLED", "true"),
        ("POSTROOM_UPSTREAM__A__OAUTH2__CLIENT__ID", "shop"),
        ("POSTROOM_CERTIFICATES__ISSUER__ACCOUNT__EMAIL", "a@b.test"),
        ("POSTROOM_ALIASES__A__B", "a@b.test"),
        ("POSTROOM_REDIRECT__REPORT_EMAILS", "[{ email = \"a@b.test\" }, \"c@d.test\"]"),
    ];
    let command_line = [("site.x.redirect.report_emails", "a@b.test, c@d.test"), ("aliases.a.b", "c@d.test")];
    let merged = merged("[site.intra-net]\n", &environment, &command_line);
    assert_eq!(unknown_keys::unknown_keys(&merged), []);
    let text = |path: &str| at(&merged.values, path).and_then(Value::as_str);
    assert_eq!(text("site.intra-net.redirect.enabled"), Some("true"));
    assert_eq!(text("upstream.a.oauth2.client.id"), Some("shop"));
    assert_eq!(text("certificates.issuer.account.email"), Some("a@b.test"));
    let aliases = at(&merged.values, "aliases").unwrap().as_dict().unwrap();
    assert_eq!(aliases.keys().collect::<Vec<_>>(), ["a.b", "a__b"]);
    let list = at(&merged.values, "redirect.report_emails").unwrap().as_array().unwrap();
    assert!(list[0].as_dict().is_some() && list[1].as_str().is_some());
}

#[test]
fn an_error_at_any_depth_names_the_variable() {
    for (variable, value, key) in [
        ("POSTROOM_SITE__INTRA_NET__REDIRECT__ENABELD", "true", "site.intra-net.redirect.enabeld"),
        ("POSTROOM_SITE__INTRA_NET__REDIRECT", "on", "site.intra-net.redirect"),
        ("POSTROOM_UPSTREAM__A__OAUTH2__CLIENT__DI", "x", "upstream.a.oauth2.client.di"),
        ("POSTROOM_REDIRECT__REPORT_EMAILS", "[{ emal = \"a@b.test\" }]", "redirect.report_emails[0].emal"),
    ] {
        let merged = merged("[site.intra-net]\n", &[(variable, value)], &[]);
        let errors = unknown_keys::unknown_keys(&merged);
        assert_eq!(only(&errors).1, key);
        assert_eq!(errors[0].file.as_deref(), Some(variable));
    }
    let merged = merged("", &[], &[("site.x.redirect.enabeld", "true")]);
    let errors = unknown_keys::unknown_keys(&merged);
    assert_eq!(
        (only(&errors).1, errors[0].file.as_deref()),
        ("site.x.redirect.enabeld", Some("command line"))
    );
}

const FORM: &str = "give it a list of addresses";

type ReadRedirect = (bool, Vec<(String, bool)>);

/// One function reads a table and what overrides it.
fn redirect(section: &Section<'_>) -> ReadRedirect {
    let item = |item: ListItem<'_>| match item {
        ListItem::Text(email) => (email, true),
        ListItem::Table(item) => (item.read("email", FORM, String::new(), Ok), item.flag("enabled")),
    };
    (section.flag("enabled"), section.items("report_emails", FORM).into_iter().map(item).collect())
}

/// The redirect outside of any site and of each site, what was wrong, and what is in force.
fn read(merged: &Merged) -> (ReadRedirect, Vec<ReadRedirect>, Vec<ConfigError>, InForce) {
    let reader = ConfigReader::new(merged);
    let root = reader.root();
    let outside = redirect(&root.section("redirect"));
    let sites = root.named("site").iter().map(|site| redirect(&site.section("redirect"))).collect();
    for upstream in root.named("upstream") {
        let client = upstream.section("oauth2").section("client");
        client.read("id", FORM, String::new(), Ok);
        read_secret::read(&reader, &client, "password");
    }
    let ConfigReader { errors, in_force, .. } = reader;
    (outside, sites, errors.into_inner(), in_force.into_inner())
}

#[test]
fn what_a_site_does_not_say_holds_as_outside_of_it() {
    let text = "[redirect]\nreport_emails = [{ email = \"a@b.test\", enabled = false }, { email = \"c@d.test\" }, \"e@f.test\"]\n\
         [site.v]\n[site.w.redirect]\nenabled = true\n[site.x.redirect]\nreport_emails = []\n\
         [[site.y.redirect.report_emails]]\nemail = \"g@h.test\"\n";
    let (outside, sites, errors, _) = read(&merged(text, &[], &[]));
    assert_eq!(errors, []);
    let all = [("a@b.test", false), ("c@d.test", true), ("e@f.test", true)];
    let all: Vec<(String, bool)> = all.map(|(email, enabled)| (email.to_owned(), enabled)).to_vec();
    assert_eq!(outside, (false, all.clone()));
    assert_eq!(
        sites,
        [
            (false, all.clone()),
            (true, all),
            (false, Vec::new()),
            (false, vec![("g@h.test".to_owned(), true)])
        ]
    );

    let environment = [("POSTROOM_SITE__V__REDIRECT__REPORT_EMAILS", "a@b.test,c@d.test")];
    let (_, sites, errors, _) = read(&merged("[redirect]\nenabled = true\n[site.v]\n", &environment, &[]));
    assert_eq!(errors, []);
    let both = ["a@b.test", "c@d.test"].map(|email| (email.to_owned(), true)).to_vec();
    assert_eq!(sites, [(true, both)]);
}

#[test]
fn a_wrong_value_is_told_once_and_where_it_stands() {
    for (text, line, key, wrong) in [
        ("[site.x.redirect]\nenabled = \"yes\"", 2, "site.x.redirect.enabled", "text, not true or false"),
        ("[redirect]\nenabled = 5\n[site.x]\n[site.y]", 2, "redirect.enabled", "a number"),
        ("[redirect]\nreport_emails = 5\n[site.x]", 2, "redirect.report_emails", "a number, not a list"),
        ("[redirect]\nreport_emails = \"a@b.test\"", 2, "redirect.report_emails", "text, not a list"),
        (
            "[redirect]\nreport_emails = [\n\"a@b.test\",\n5 ]\n[site.x]",
            4,
            "redirect.report_emails[1]",
            "a number, not text",
        ),
        (
            "[redirect]\nreport_emails = [\n{ email = \"a@b.test\" },\n{ email = \"a@b.test\", enabled = 1 }]\n[site.x]",
            4,
            "redirect.report_emails[1].enabled",
            "a number, not true or false",
        ),
        (
            "[upstream.a.oauth2.client]\nid = true",
            2,
            "upstream.a.oauth2.client.id",
            "true or false, not text",
        ),
    ] {
        let (.., errors, _) = read(&merged(text, &[], &[]));
        assert_eq!((only(&errors).0, only(&errors).1), (Some(line), key), "{text}");
        assert!(errors[0].wrong.contains(wrong), "{text}: {}", errors[0]);
    }
    let environment = [("POSTROOM_REDIRECT__REPORT_EMAILS", "[{ email = 5 }]")];
    let (.., errors, _) = read(&merged("", &environment, &[]));
    assert_eq!(only(&errors).1, "redirect.report_emails[0].email");
    assert_eq!(errors[0].file.as_deref(), Some("POSTROOM_REDIRECT__REPORT_EMAILS"));
}

#[test]
fn what_is_in_force_is_shown_at_every_depth_and_can_be_loaded_again() {
    let text = "[redirect]\nreport_emails = [{ email = \"a@b.test\", enabled = false }, \"c@d.test\"]\n\
         [site.x.redirect]\nenabled = true\n[site.y]\n\
         [upstream.a]\noauth2 = { client = { password = \"hunter2\" } }\n";
    let first = merged(text, &[("POSTROOM_UPSTREAM__A__OAUTH2__CLIENT__ID", "shop")], &[]);
    let (.., in_force) = read(&first);
    let shown = in_force.to_toml();
    let file = first.file.as_ref().unwrap().path.display();
    for line in [
        "[redirect]".to_owned(),
        "enabled = false".to_owned(),
        format!("report_emails = [{{ email = \"a@b.test\", enabled = false }}, \"c@d.test\"]  # {file}:2"),
        "[site.x.redirect]".to_owned(),
        format!("enabled = true  # {file}:4"),
        "[upstream.a.oauth2.client]".to_owned(),
        "id = \"shop\"  # POSTROOM_UPSTREAM__A__OAUTH2__CLIENT__ID".to_owned(),
        format!("password = \"****\"  # {file}:7"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("site.y") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(in_force.to_json()["redirect"]["report_emails"][0]["enabled"], false);

    let again = merged(&shown, &[], &[]);
    assert_eq!(unknown_keys::unknown_keys(&again), []);
    let (outside, sites, errors, in_force_again) = read(&again);
    let (first_outside, first_sites, ..) = read(&first);
    assert_eq!((outside, &sites[0], errors), (first_outside, &first_sites[0], Vec::new()));
    assert_eq!(in_force_again.to_json(), in_force.to_json());
}

#[test]
fn a_fraction_is_read_and_shown_as_one() {
    for (text, environment, number, shown) in [
        ("", None, 0.01, "0.01"),
        ("rate = 0.25", None, 0.25, "0.25"),
        ("rate = 1", None, 1.0, "1.0"),
        ("", Some("0.5"), 0.5, "0.5"),
    ] {
        let environment: Vec<_> =
            environment.map(|value| ("POSTROOM_SITE__X__DEBUG__RATE", value)).into_iter().collect();
        let merged = merged(&format!("[site.x.debug]\n{text}\n[debug]\n"), &environment, &[]);
        let reader = ConfigReader::new(&merged);
        let rate =
            |section: &Section<'_>| section.read("rate", "give it a number from 0 to 1", -1.0, Ok::<f64, _>);
        rate(&reader.root().section("debug"));
        assert_eq!(rate(&reader.root().named("site")[0].section("debug")), number);
        let in_force = reader.in_force.borrow().to_toml();
        assert!(in_force.contains(&format!("rate = {shown}")), "{in_force}");
    }
    for wrong in ["\"0.5\"", "nan", "inf", "true"] {
        let merged = merged(&format!("[debug]\nrate = {wrong}"), &[], &[]);
        let reader = ConfigReader::new(&merged);
        reader.root().section("debug").read("rate", FORM, -1.0, Ok::<f64, _>);
        assert_eq!(only(&reader.errors.borrow()).1, "debug.rate");
    }
}
