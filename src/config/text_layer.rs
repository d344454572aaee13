//! What the layers that know only text, environment and command line, mean by a path and by a value.

use super::schema::{Schema, Shape};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

/// The keys of a path such as `upstream__primary__host` or `upstream.primary.host`. `file` tells which names exist, since
/// the environment writes `-` as `_`. What is no key of the schema is one key, and told as unknown later.
pub(super) fn path(schema: &Schema, written: &str, separator: &str, file: &Dict) -> Vec<String> {
    let (first, mut rest) = split(written, separator);
    let mut path = vec![first.to_owned()];
    let mut shape = schema.root().get(first);
    let mut in_file = file.get(first).and_then(Value::as_dict);
    // Whether the next part is a name.
    let mut named = matches!(shape, Some(Shape::Named(_)));
    while let Some(remaining) = rest {
        let (part, more) = split(remaining, separator);
        let part = match named {
            true => name_in(in_file, part),
            false => {
                let below = shape.and_then(|shape| shape.keys().get(part)).filter(|below| below.is_table());
                if below.is_none() || more.is_none() {
                    path.push(remaining.to_owned());
                    break;
                }
                shape = below;
                part
            }
        };
        // A named table has keys; names stand in none but the outermost tables.
        named = false;
        in_file = in_file.and_then(|table| table.get(part)).and_then(Value::as_dict);
        path.push(part.to_owned());
        rest = more;
    }
    path
}

fn split<'a>(written: &'a str, separator: &str) -> (&'a str, Option<&'a str>) {
    written.split_once(separator).map_or((written, None), |(part, rest)| (part, Some(rest)))
}

/// The file's name may have `-` where this has `_`; two that would fit are an error of the file.
fn name_in<'a>(tables: Option<&'a Dict>, name: &'a str) -> &'a str {
    let is_it = |other: &&String| other.replace('-', "_") == name.replace('-', "_");
    tables.and_then(|tables| tables.keys().find(is_it)).map_or(name, String::as_str)
}

/// A value stays the text it is, and whoever reads the key gives it a type: so a password of digits needs no quotes. A list
/// whose items may be tables is TOML, where it is any.
pub(super) fn value<S: AsRef<str>>(schema: &Schema, path: &[S], text: &str) -> Value {
    let list = match schema.at(path) {
        Some(Shape::List(..)) => Toml::from_str::<Dict>(&format!("list = {text}")).ok(),
        _ => None,
    };
    let list = list.and_then(|mut list| list.remove("list")).filter(|list| list.as_array().is_some());
    list.unwrap_or_else(|| Value::from(text))
}
