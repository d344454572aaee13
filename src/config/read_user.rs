//! One `[user.*]` table is read. What a new key needs stands in [`super::schema`].

use super::error::ValueError;
use super::in_force::Shown;
use super::origin::Layer;
use super::password::{StoredPassword, check_hash};
use super::read_handling::patterns;
use super::read_listener::{CLASSES, site};
use super::read_secret;
use super::section::{ConfigReader, Section};
use super::settings::User;
use secrecy::ExposeSecret;

pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>) -> User {
    User {
        name: section.name().to_owned(),
        password: password(reader, section),
        site: site(section),
        class: section.choice("class", None, CLASSES, &[]),
        senders: patterns(section, "senders"),
    }
}

/// A password in one of three forms: a hash, as it is, or in a file. The strongest layer's form holds.
fn password(reader: &ConfigReader<'_>, section: &Section<'_>) -> StoredPassword {
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
        return StoredPassword::Hash(String::new().into());
    }
    if hash > other {
        section.show("password", Shown::Text(String::new()));
        let hash = section.read("password_hash", HASH_FORM, String::new(), |text: String| {
            check_hash(&text).map(|()| text).map_err(ValueError::from)
        });
        section.show("password_hash", Shown::Text(hash.clone()).masked());
        return StoredPassword::Hash(hash.into());
    }
    section.show("password_hash", Shown::Text(String::new()));
    let password = read_secret::read(reader, section, "password");
    let sound = section.is_sound("password") && section.is_sound("password_file");
    if password.expose_secret().is_empty() && sound {
        let right = "give password_hash what `postroom hash` prints, or a password or password_file";
        section.wrong("password", "is missing", right);
    }
    StoredPassword::Plain(password)
}

const HASH_FORM: &str = "give it what `postroom hash` prints";
