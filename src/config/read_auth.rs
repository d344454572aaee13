//! What an upstream is logged in to with: its own keys, or the shared `[credentials.default]`.

use super::secret::Secret;
use super::section::{ConfigReader, Section};
use super::settings::Auth;
use super::{read_oauth2, read_secret};
use secrecy::ExposeSecret;

/// What `auth` may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anonymous,
    Basic,
    Ntlm,
    OAuth2,
    Shared,
}

const KINDS: &[(&str, Kind)] = &[
    ("anonymous", Kind::Anonymous),
    ("basic", Kind::Basic),
    ("ntlm", Kind::Ntlm),
    ("oauth2", Kind::OAuth2),
    ("default", Kind::Shared),
];

/// The one name in `[credentials.*]`.
const SHARED: &str = "default";

/// A user name with its password.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    username: String,
    password: Secret,
}

/// `[credentials.default]`; empty where it is not there. That something of it is missing is reported where it is used.
pub(super) fn shared(reader: &ConfigReader<'_>) -> Credentials {
    let mut shared = Credentials::default();
    for section in reader.root().named("credentials") {
        if section.name() != SHARED {
            let right = "give [credentials.default], which auth = \"default\" uses, or the credentials to the upstream itself";
            let wrong = format!("stands in [credentials.{}], which nothing uses", section.name());
            section.wrong("username", wrong, right);
            continue;
        }
        let password = read_secret::read(reader, &section, "password");
        shared = Credentials { username: username(&section), password };
    }
    shared
}

/// What the upstream's `auth` means.
pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>, shared: &Credentials) -> Auth {
    let kind = section.choice("auth", Kind::Anonymous, KINDS, &[]);
    let own =
        Credentials { username: username(section), password: read_secret::read(reader, section, "password") };
    let domain = text(section, "domain");
    if !domain.is_empty() && kind != Kind::Ntlm && section.is_sound("auth") {
        section.wrong("domain", "is given without NTLM", "give auth = \"ntlm\", or leave it out");
    }
    let oauth2 = read_oauth2::read(reader, section, &own.username, kind == Kind::OAuth2);
    match kind {
        Kind::OAuth2 if !own.password.expose_secret().is_empty() => {
            let password = section.path_of("password");
            reader.warn(format!(
                "{password} is given and not used: with auth = \"oauth2\" only tokens are sent"
            ));
        }
        Kind::Anonymous | Kind::Shared if !own.username.is_empty() && section.is_sound("auth") => {
            let (username, auth) = (section.path_of("username"), section.path_of("auth"));
            let kind = if kind == Kind::Shared { "default" } else { "anonymous" };
            reader.warn(format!("{username} is given and not used: {auth} is {kind}"));
        }
        Kind::Basic => must_be_whole(section, &own, "auth = \"basic\""),
        Kind::Ntlm => must_be_whole(section, &own, "auth = \"ntlm\""),
        _ => {}
    }
    match kind {
        Kind::Anonymous => Auth::Anonymous,
        Kind::Basic => Auth::Basic { username: own.username, password: own.password },
        Kind::Ntlm => ntlm(own, domain),
        Kind::OAuth2 => Auth::OAuth2(oauth2),
        Kind::Shared => {
            let Credentials { username, password } = shared.clone();
            if username.is_empty() || password.expose_secret().is_empty() {
                let right = "give [credentials.default] a username and a password (or password_file)";
                section.wrong("auth", "default is the shared credentials, and they are missing", right);
            }
            Auth::Basic { username, password }
        }
    }
}

/// `SHOP\app` is how administrators of Windows write a name with its domain.
fn ntlm(own: Credentials, domain: String) -> Auth {
    let Credentials { username, password } = own;
    match username.split_once('\\') {
        Some((before, name)) if domain.is_empty() => {
            Auth::Ntlm { username: name.to_owned(), password, domain: before.to_owned() }
        }
        _ => Auth::Ntlm { username, password, domain },
    }
}

/// Reports what is missing. `who` needs it.
fn must_be_whole(section: &Section<'_>, credentials: &Credentials, who: &str) {
    if credentials.username.is_empty() && section.is_sound("username") {
        section.wrong("username", "is missing", format!("{who} needs a username and a password"));
    }
    let sound = section.is_sound("password") && section.is_sound("password_file");
    if credentials.password.expose_secret().is_empty() && sound {
        section.wrong("password", "is missing", format!("{who} needs a password or a password_file"));
    }
}

fn username(section: &Section<'_>) -> String {
    text(section, "username")
}

fn text(section: &Section<'_>, key: &str) -> String {
    section.read(key, "give it a text in quotes", String::new(), |text: String| {
        match text.chars().any(char::is_control) {
            true => Err("contains control characters".into()),
            false => Ok(text),
        }
    })
}
