//! The keys of a table as `conf/postroom.toml` describes them, for whoever shows a form with them.

use super::in_force::Shown;
use super::schema::{DEFAULT_FILE, SECRETS, Schema, Shape};

/// A key, with what the default file says of it.
#[derive(Clone, PartialEq, Debug)]
pub struct DescribedKey {
    /// Within its table: `host`, `oauth2.token_url`.
    pub key: String,
    /// The comment above it, on one line; of the keys in an inline table, the first has it.
    pub comment: String,
    /// Null for a table that has no default of its own.
    pub default: serde_json::Value,
    /// Its value is a secret.
    pub is_secret: bool,
}

/// The keys of an upstream, in the order of the file.
pub fn keys_of_upstreams() -> Vec<DescribedKey> {
    described("[upstream.primary]", "upstream")
}

/// The keys that stand beneath a line of the default file, a table, and what is known of them beneath a named table of that kind.
fn described(header: &str, kind: &str) -> Vec<DescribedKey> {
    let Ok(schema) = Schema::built_in() else { return Vec::new() };
    let of_kind = schema.root().get(kind).map(Shape::keys);
    let mut keys = Vec::new();
    for (key, value, comment) in lines_of_keys(DEFAULT_FILE, header) {
        match of_kind.and_then(|known| known.get(&key)) {
            Some(Shape::Table(below)) => {
                // In the order of the file; a map has another.
                let mut names: Vec<&String> = below.keys().collect();
                names.sort_by_key(|name| value.find(&format!("{name} =")));
                for (number, name) in names.into_iter().enumerate() {
                    let comment = if number == 0 { comment.clone() } else { String::new() };
                    keys.push(describe(format!("{key}.{name}"), comment, &below[name]));
                }
            }
            Some(shape) => keys.push(describe(key, comment, shape)),
            None => {}
        }
    }
    keys
}

fn describe(key: String, comment: String, shape: &Shape) -> DescribedKey {
    let default = shape.default().map(|value| Shown::written(value, SECRETS));
    let is_secret = key.rsplit('.').next().is_some_and(|last| SECRETS.contains(&last));
    let default = default.and_then(|shown| serde_json::to_value(shown).ok()).unwrap_or_default();
    DescribedKey { key, comment, default, is_secret }
}

/// Each key of the table, with what stands behind it and the comment above it.
fn lines_of_keys(text: &str, header: &str) -> Vec<(String, String, String)> {
    let uncommented = |line: &str| line.strip_prefix('#').unwrap_or(line).to_owned();
    let lines = text.lines().skip_while(|line| uncommented(line) != header).skip(1);
    let (mut keys, mut comment) = (Vec::new(), String::new());
    for line in lines.take_while(|line| !line.trim().is_empty() && !uncommented(line).starts_with('[')) {
        if let Some(prose) = line.strip_prefix("# ") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(prose);
        } else if let Some((key, value)) = uncommented(line).split_once(" = ") {
            keys.push((key.to_owned(), value.to_owned(), std::mem::take(&mut comment)));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_an_upstream_is_described() {
        let keys = keys_of_upstreams();
        let schema = Schema::built_in().unwrap();
        let count = |shape: &Shape| if shape.is_table() { shape.keys().len() } else { 1 };
        let known: usize = schema.root()["upstream"].keys().values().map(count).sum();
        assert_eq!(keys.len(), known);
        let of = |name: &str| keys.iter().find(|key| key.key == name).unwrap();
        assert!(of("enabled").comment.starts_with("false: gets no mail"));
        assert!(of("connection_limit").comment.ends_with("(see `postroom upstream list`)."));
        assert_eq!(of("connection_limit").default, 2);
        assert!(
            of("oauth2.client_secret").is_secret && of("password").is_secret && !of("username").is_secret
        );
        // Whoever fills in a form sees why each key is there.
        assert_eq!(keys.iter().filter(|key| key.comment.is_empty()).count(), 4, "{keys:#?}");
    }
}
