//! The environment as a layer: `POSTROOM_` + path with `__` between levels, the well-known `RELAYHOST` names, `RUST_LOG`.

use super::error::ConfigError;
use super::key_path::{KeyPath, insert};
use super::schema::Schema;
use super::{parse, text_layer};
use figment::value::Dict;
use std::collections::BTreeMap;

/// No keys: the name of the file, and where `postroom sendmail` finds the proxy.
const IGNORED: &[&str] = &["POSTROOM_CONFIG", "POSTROOM_SENDMAIL"];

/// Well-known names. Ours are stronger.
const WELL_KNOWN: &[(&str, &[&str])] = &[
    ("RUST_LOG", &["log", "level"]),
    ("RELAYHOST", &["upstream", "relayhost", "host"]),
    ("RELAYHOST_USERNAME", &["upstream", "relayhost", "username"]),
    ("RELAYHOST_PASSWORD", &["upstream", "relayhost", "password"]),
    ("RELAYHOST_PASSWORD_FILE", &["upstream", "relayhost", "password_file"]),
];

/// Whoever gives one of `RELAYHOST_*` wants to authenticate; the names have no other way to say so.
const ASKS_FOR_AUTH: &str = "RELAYHOST_";

#[derive(Default)]
pub(super) struct Environment {
    pub(super) values: Dict,
    /// Which variable a key (and each table above it) came from.
    pub(super) variables: BTreeMap<KeyPath, String>,
    pub(super) errors: Vec<ConfigError>,
}

impl Environment {
    /// Reads the variables that are ours. `file` tells which names exist, since `-` is written `_` here.
    pub(super) fn read(variables: &[(String, String)], schema: &Schema, file: &Dict) -> Environment {
        let mut environment = Environment::default();
        for (name, path) in WELL_KNOWN {
            // An empty one is what a compose file makes of a variable that nobody has set.
            let Some((_, value)) = variables.iter().find(|(n, v)| n == name && !v.is_empty()) else {
                continue;
            };
            match *name {
                "RUST_LOG" => environment.set(schema, name, path, &parse::with_levels(value)),
                _ => environment.set(schema, name, path, value),
            }
            if name.starts_with(ASKS_FOR_AUTH) {
                environment.set(schema, name, &["upstream", "relayhost", "auth"], "basic");
            }
        }
        let mut own: Vec<&(String, String)> = variables.iter().filter(|(name, _)| is_key(name)).collect();
        own.sort();
        for (name, value) in own {
            match path(name, schema, file) {
                Ok(path) => environment.set(schema, name, &path, value),
                Err(error) => environment.errors.push(error),
            }
        }
        environment
    }

    fn set<S: AsRef<str>>(&mut self, schema: &Schema, name: &str, path: &[S], text: &str) {
        insert(&mut self.values, path, text_layer::value(schema, path, text));
        let mut above = KeyPath::root();
        for key in path {
            above = above.key(key.as_ref());
            self.variables.entry(above.clone()).or_insert_with(|| name.to_owned());
        }
        self.variables.insert(above, name.to_owned());
    }
}

fn is_key(name: &str) -> bool {
    name.strip_prefix("POSTROOM_").is_some_and(|rest| !is_kubernetes(rest)) && !IGNORED.contains(&name)
}

/// What Kubernetes puts into the environment of every container for a service whose name is or begins with `postroom`:
/// `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_<port's name>`, `PORT` and, as links of Docker's had it, `PORT_<n>_TCP` with
/// what follows. A name of ours with `__` is a path, which these are not.
fn is_kubernetes(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    !rest.contains("__")
        && (words.ends_with(&["SERVICE", "HOST"])
            || words.ends_with(&["PORT"])
            || words.windows(2).any(|pair| pair == ["SERVICE", "PORT"])
            || words.windows(3).any(|three| three[0] == "PORT" && is_number(three[1])))
}

/// Path of the key that a variable means.
fn path(variable: &str, schema: &Schema, file: &Dict) -> Result<Vec<String>, ConfigError> {
    let written = variable.strip_prefix("POSTROOM_").unwrap_or(variable).to_ascii_lowercase();
    let plain =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let (first, rest) = written.split_once("__").map_or((written.as_str(), None), |(a, b)| (a, Some(b)));
    if !plain(first) || !rest.is_none_or(plain) {
        return Err(ConfigError {
            file: Some(variable.to_owned()),
            line: None,
            key: String::new(),
            wrong: "names no key".to_owned(),
            right: "POSTROOM_ is followed by a path such as LIMITS__RECIPIENTS".to_owned(),
        });
    }
    Ok(text_layer::path(schema, &written, "__", file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::value::Value;

    fn one(name: &str, file: &Dict) -> Result<String, String> {
        path(name, &Schema::built_in().unwrap(), file)
            .map(|path| path.join("/"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_names_a_key() {
        let none = Dict::new();
        for (name, expected) in [
            ("POSTROOM_HOSTNAME", "hostname"),
            ("POSTROOM_DATA_DIR", "data_dir"),
            ("POSTROOM_LIMITS__MESSAGE_SIZE", "limits/message_size"),
            ("POSTROOM_LIMITS__A__B", "limits/a__b"),
            ("POSTROOM_UPSTREAM__PRIMARY__PASSWORD", "upstream/primary/password"),
            // No such keys and names: told as unknown keys.
            ("POSTROOM_UPSTREAM__A__B__PASSWORD_FILE", "upstream/a/b__password_file"),
            ("POSTROOM_UPSTREAM___A__HOST", "upstream/_a/host"),
            ("POSTROOM_UPSTREAM", "upstream"),
            ("POSTROOM_UPSTREAM__X", "upstream/x"),
        ] {
            assert_eq!(one(name, &none).as_deref(), Ok(expected), "{name}");
        }
        for name in ["POSTROOM_", "POSTROOM___A", "POSTROOM_LIMITS__", "POSTROOM_Ü"] {
            assert!(one(name, &none).unwrap_err().contains("names no key"), "{name}");
        }
    }

    #[test]
    fn a_name_with_a_hyphen_is_found() {
        let mut file = Dict::new();
        insert(&mut file, &["upstream", "office-365", "host"], Value::from("a"));
        assert_eq!(
            one("POSTROOM_UPSTREAM__OFFICE_365__HOST", &file).as_deref(),
            Ok("upstream/office-365/host")
        );
    }

    #[test]
    fn what_kubernetes_injects_is_told_from_keys() {
        for name in [
            "POSTROOM_SERVICE_HOST",
            "POSTROOM_SERVICE_PORT",
            "POSTROOM_SERVICE_PORT_SMTP",
            "POSTROOM_PORT",
            "POSTROOM_PORT_25_TCP",
            "POSTROOM_PORT_25_TCP_PROTO",
            "POSTROOM_SMTP_SERVICE_HOST",
            "POSTROOM_WEB_ADMIN_SERVICE_PORT_HTTP",
            "POSTROOM_SMTP_PORT",
            "POSTROOM_WEB_ADMIN_PORT_8025_TCP_ADDR",
        ] {
            assert!(!is_key(name), "{name}");
        }
        for name in [
            "POSTROOM_HOSTNAME",
            "POSTROOM_PORTS",
            "POSTROOM_SERVICE",
            "POSTROOM_PORT__X",
            "POSTROOM_UPSTREAM__A__PORT",
            "POSTROOM_UPSTREAM__MY_SERVICE__HOST",
            "POSTROOM_LISTENER__SERVICE_PORT__ADDRESS",
            "POSTROOM_PORT_X_TCP",
        ] {
            assert!(is_key(name), "{name}");
        }
    }

    /// Else a key could not be given in the environment.
    #[test]
    fn no_key_of_ours_looks_like_one_of_kubernetes() {
        for key in Schema::built_in().unwrap().root().keys() {
            assert!(is_key(&format!("POSTROOM_{}", key.to_uppercase())), "{key}");
        }
    }
}
