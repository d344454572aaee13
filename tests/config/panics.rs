//! Nothing that anybody can write makes loading panic, and what is refused always says why.

use super::Desk;
use postroom::config::{Change, NewValues, propose};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

const KEYS: &[&str] = &[
    "hostname",
    "data_dir",
    "listener",
    "listener.a",
    "listener.a.address",
    "listener.a.allow",
    "limits",
    "limits.recipients",
    "limits.message_size",
    "limits.command_timeout",
    "queue.retry",
    "queue.engine",
    "queue.path",
    "sending.enabled",
    "upstream",
    "upstream.a",
    "upstream.a.host",
    "upstream.a.tls",
    "upstream.a.auth",
    "upstream.a.username",
    "upstream.a.password",
    "upstream.a.password_file",
    "upstream.a.rate_limit",
    "upstream.a.tls_ca",
    "upstream.\"x y\".host",
    "log.level",
    "redirect.enabled",
    "nonsense",
];

const VALUES: &[&str] = &[
    "\"\"",
    "\"a\"",
    "\"127.0.0.1:25\"",
    "\"[::1]:25\"",
    "\"::/0\"",
    "\"5m\"",
    "\"25MiB\"",
    "\"99999999999EiB\"",
    "\"1/0s\"",
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "1.5",
    "inf",
    "nan",
    "true",
    "[]",
    "[1]",
    "[\"private\"]",
    "[[]]",
    "{}",
    "{ a = 1 }",
    "1979-05-27",
    "\"\\u0000\"",
    "\"basic\"",
    "\"default\"",
    "\"/dev/null\"",
    "\".\"",
];

const WITH_UPSTREAM: &str = "[upstream.a]\nhost = \"a.test\"\n[site.x]\n";

/// What stands in front of any text.
const ADMIN_FILES: &[&str] = &[
    "",
    "[replaced]\n",
    "[upstream.a]\nenabled = false\n",
    "[upstream.a]\nenabled = false\n[replaced]\n\"upstream.a.enabled\" = ",
    "[upstream.b]\nhost = \"b.test\"\n[replaced]\n\"upstream.b\" = \"x\"\n",
];

const CHANGED_KEYS: &[&str] = &[
    "host",
    "enabled",
    "sites",
    "password",
    "password_file",
    "connection_limit",
    "oauth2",
    "oauth2.scope",
    "tls_ca",
    "username",
    "sender.address",
    "redirect",
    "redirect.report_emails",
    "redirect.enabled",
    "redirect.allow",
    "debug.failure_rate",
    "queue.archive_days",
    "site.x.debug.enabled",
    "site.x.redirect.report_emails",
    "site.x",
    "site",
    "log_emails.path",
    "limits.recipients",
    "aliases.root",
    "nothing",
];

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        (0..9_u64).prop_map(|number| json!(number)),
        (0.0..1.0).prop_map(|share| json!(share)),
        "\\PC{0,8}|[\\x00-\\x7f]{0,8}".prop_map(|text| json!(text)),
        prop::sample::select(vec![
            "",
            "a@b.test",
            "@b.test",
            "x",
            "b.test:26",
            "/dev/null",
            "true",
            "3",
            "[\"a@b.test\"]"
        ])
        .prop_map(|text| json!(text)),
    ];
    let list = prop::collection::vec(leaf.clone(), 0..3).prop_map(|items| json!(items));
    let report =
        (leaf.clone(), any::<bool>()).prop_map(|(email, on)| json!([{ "email": email, "enabled": on }]));
    prop_oneof![4 => leaf, 1 => list, 1 => report]
}

/// Loads, and looks at whatever comes out.
fn survive(desk: &Desk) {
    match desk.load() {
        Ok(loaded) => {
            assert!(!loaded.settings.hostname.is_empty());
            assert!(loaded.settings.data_dir.is_absolute());
            assert!(!loaded.settings.listeners.is_empty());
            assert!(!loaded.settings.queue.retry.is_empty());
            loaded.in_force.to_toml().parse::<toml_edit::DocumentMut>().unwrap();
        }
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                assert!(!error.wrong.is_empty() && !error.right.is_empty(), "{error:?}");
            }
            assert_eq!(errors.to_string().lines().count(), errors.errors.len(), "{errors}");
        }
    }
}

proptest! {
    #[test]
    fn any_text(text in "(?s)\\PC*|[a-z\\[\\]\"'.={}#\n 0-9-]*") {
        survive(&Desk::with(&text));
    }

    #[test]
    fn any_text_in_admin_toml(text in "(?s)\\PC*|[a-z\\[\\]\"'.={}#\n 0-9-]*", rest in prop::sample::select(ADMIN_FILES)) {
        let desk = Desk::with(WITH_UPSTREAM);
        desk.write("var/admin.toml", &format!("{rest}{text}"));
        survive(&desk);
        // Whatever it is, all of it can be taken back.
        propose(&desk.sources, &Change::ResetAll { confirmed: false }).unwrap();
    }

    /// What is accepted is what is read again.
    #[test]
    fn any_change(
        keys in prop::collection::btree_map(prop::sample::select(CHANGED_KEYS), json_value(), 1..5),
        at_upstream in any::<bool>(),
    ) {
        let desk = Desk::with(WITH_UPSTREAM);
        let mut values = NewValues::new();
        for (key, value) in keys {
            let mut table = &mut values;
            let mut parts: Vec<&str> = key.split('.').collect();
            let last = parts.pop().unwrap();
            for part in parts {
                let below = table.entry(part).or_insert_with(|| NewValues::new().into());
                let Some(below) = below.as_object_mut() else { return Ok(()) };
                table = below;
            }
            table.insert(last.to_owned(), value);
        }
        let change = match at_upstream {
            true => Change::EditUpstream { name: "a".to_owned(), keys: values },
            false => Change::Settings(values),
        };
        let Ok(proposal) = propose(&desk.sources, &change) else { return Ok(()) };
        desk.write("var/admin.toml", proposal.loaded.admin.text.expose_secret());
        let loaded = desk.loaded();
        prop_assert_eq!(loaded.dropped, []);
        prop_assert_eq!(loaded.in_force.to_json(), proposal.loaded.in_force.to_json());
        prop_assert!(propose(&desk.sources, &change).unwrap().is_in_force(), "{:?}", change);
    }

    #[test]
    fn any_value_at_any_key(
        pairs in prop::collection::btree_map(prop::sample::select(KEYS), prop::sample::select(VALUES), 0..6),
    ) {
        let text: String = pairs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        survive(&Desk::with(&text));
    }

    #[test]
    fn any_environment(
        variables in prop::collection::vec(("(POSTROOM_|RELAYHOST)[A-Za-z_]{0,20}|\\PC*", "\\PC*"), 0..6),
    ) {
        let desk = variables.iter().fold(Desk::new(), |desk, (name, value)| desk.variable(name, value));
        survive(&desk);
    }

    #[test]
    fn any_value_at_any_key_of_the_environment(
        pairs in prop::collection::vec((prop::sample::select(KEYS), prop::sample::select(VALUES)), 0..6),
    ) {
        let desk = pairs.iter().fold(Desk::new(), |desk, (key, value)| {
            let name = format!("POSTROOM_{}", key.replace('.', "__").to_uppercase());
            desk.variable(&name, value.trim_matches('"')).flag(key, value)
        });
        survive(&desk);
    }
}
