//! A password that others give us is read: as a hash, as it is, or in a file.

use super::error::ValueError;
use super::in_force::Shown;
use super::origin::Layer;
use super::password::{StoredPassword, check_hash};
use super::read_secret;
use super::section::{ConfigReader, Section};
use secrecy::ExposeSecret;

const HASH_FORM: &str = "give it what `postroom hash` prints";

/// `password_hash`, `password` or `password_file`; none where none is given. The strongest layer's form holds.
pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>) -> Option<StoredPassword> {
    let layer = |key: &str| {
        let given = section.find(key).filter(|(value, _)| value.as_str() != Some(""));
        // In the default file the hash is an example.
        given.map(|(_, origin)| origin.layer).filter(|layer| *layer != Layer::Default)
    };
    let hash = layer("password_hash");
    let (other_key, other) = match layer("password_file") > layer("password") {
        true => ("password_file", layer("password_file")),
        false => ("password", layer("password")),
    };
    if hash.is_some() && hash == other {
        section.wrong("password_hash", format!("is given beside {other_key}"), "give one of them");
        return None;
    }
    if hash > other {
        section.show("password", Shown::Text(String::new()));
        let hash = section.read("password_hash", HASH_FORM, String::new(), |text: String| {
            check_hash(&text).map(|()| text).map_err(ValueError::from)
        });
        section.show("password_hash", Shown::Text(hash.clone()).masked());
        return Some(StoredPassword::Hash(hash.into()));
    }
    section.show("password_hash", Shown::Text(String::new()));
    let password = read_secret::read(reader, section, "password");
    (!password.expose_secret().is_empty()).then_some(StoredPassword::Plain(password))
}
