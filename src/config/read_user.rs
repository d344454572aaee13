//! One `[user.*]` table is read. What a new key needs stands in [`super::schema`].

use super::password::StoredPassword;
use super::read_handling::patterns;
use super::read_listener::{CLASSES, site};
use super::read_password;
use super::section::{ConfigReader, Section};
use super::settings::User;

pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>) -> User {
    User {
        name: section.name().to_owned(),
        password: password(reader, section),
        site: site(section),
        class: section.choice("class", None, CLASSES, &[]),
        senders: patterns(section, "senders"),
    }
}

fn password(reader: &ConfigReader<'_>, section: &Section<'_>) -> StoredPassword {
    let password = read_password::read(reader, section);
    let are_sound =
        ["password_hash", "password", "password_file"].into_iter().all(|key| section.is_sound(key));
    if password.is_none() && are_sound {
        let right = "give password_hash what `postroom hash` prints, or a password or password_file";
        section.wrong("password", "is missing", right);
    }
    password.unwrap_or_else(|| StoredPassword::Hash(String::new().into()))
}
