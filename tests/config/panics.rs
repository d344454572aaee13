//! Nothing that anybody can write makes loading panic, and what is refused always says why.

use super::Desk;
use proptest::prelude::*;

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
