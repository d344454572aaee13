//! `oauth2 = { … }` of an upstream.

use super::error::ValueError;
use super::https_url;
use super::read_secret;
use super::section::{ConfigReader, Section};
use super::settings::OAuth2;
use secrecy::ExposeSecret;

const URL_FORM: &str = r#"give it the token endpoint, such as "https://oauth2.googleapis.com/token""#;

/// `upstream` is its table. `used`: `auth` says so.
pub(super) fn read(reader: &ConfigReader<'_>, upstream: &Section<'_>, username: &str, used: bool) -> OAuth2 {
    let section = upstream.section("oauth2");
    let text = |key: &str| section.read(key, "give it a text in quotes", String::new(), Ok);
    let oauth2 = OAuth2 {
        username: username.to_owned(),
        token_url: section.read("token_url", URL_FORM, String::new(), |text: String| token_url(text)),
        client_id: text("client_id"),
        client_secret: read_secret::read(reader, &section, "client_secret"),
        refresh_token: read_secret::read(reader, &section, "refresh_token"),
        scope: text("scope"),
    };
    if used {
        must_be_whole(upstream, &section, &oauth2);
    } else if oauth2 != (OAuth2 { username: username.to_owned(), ..OAuth2::default() })
        && upstream.is_sound("auth")
    {
        reader.warn(format!("{} is given and not used: auth is not oauth2", upstream.path_of("oauth2")));
    }
    oauth2
}

fn must_be_whole(upstream: &Section<'_>, section: &Section<'_>, oauth2: &OAuth2) {
    let missing = |section: &Section<'_>, key: &str, right: &str| {
        if section.is_sound(key) {
            section.wrong(key, "is missing", format!("auth = \"oauth2\" needs {right}"));
        }
    };
    if oauth2.username.is_empty() {
        missing(upstream, "username", "a username: the mailbox that mail is sent from");
    }
    if oauth2.token_url.is_empty() {
        missing(section, "token_url", "the URL of the authorization server's token endpoint");
    }
    if oauth2.client_id.is_empty() {
        missing(section, "client_id", "the client_id that the authorization server gave");
    }
    let secrets = ["client_secret", "client_secret_file", "refresh_token", "refresh_token_file"];
    let is_empty = oauth2.client_secret.expose_secret().is_empty() && !oauth2.has_refresh_token();
    if is_empty && secrets.iter().all(|key| section.is_sound(key)) {
        let right = "a refresh_token, or a client_secret where the client asks in its own name";
        missing(section, "refresh_token", right);
    }
}

fn token_url(text: String) -> Result<String, ValueError> {
    if !text.is_empty() {
        https_url::parse(&text, "give client_id and client_secret for themselves")?;
    }
    Ok(text)
}
