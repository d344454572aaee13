//! The `[admin]` table is read. What a new key needs stands in [`super::schema`].

use super::admin_settings::AdminSettings;
use super::error::{ValueError, quoted};
use super::host::Host;
use super::parse;
use super::section::{ConfigReader, Section};
use super::{read_certificate, read_password, read_secret};
use secrecy::ExposeSecret;
use std::net::Ipv6Addr;

/// Shorter ones can be guessed, given time: nobody counts wrong tokens.
const SHORT_TOKEN: usize = 16;

pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>) -> AdminSettings {
    let form = r#"give it an IP address and a port such as "127.0.0.1:8025" or "[::1]:8025", or """#;
    let listen = section.read("listen", form, None, |text: String| match text.as_str() {
        "" => Ok(None),
        text => parse::socket_address(text).map(Some),
    });
    let password = read_password::read(reader, section);
    let token = read_secret::read(reader, section, "token");
    let token = Some(token).filter(|token| !token.expose_secret().is_empty());
    let form = r#"give it a list of names such as ["postroom.example.com"]"#;
    let hosts = section
        .read("hosts", form, Vec::new(), |texts: Vec<String>| texts.iter().map(|text| host(text)).collect());
    let certificate = read_certificate::read(reader, section, false);
    let settings = AdminSettings { listen, password, token, hosts, certificate };
    check(reader, section, &settings);
    settings
}

fn check(reader: &ConfigReader<'_>, section: &Section<'_>, settings: &AdminSettings) {
    if let Some(token) = &settings.token
        && token.expose_secret().len() < SHORT_TOKEN
    {
        let path = section.path_of("token");
        reader.warn(format!("{path} is short enough to be guessed: take what `openssl rand -hex 32` prints"));
    }
    let Some(listen) = settings.listen.filter(|listen| !listen.ip().to_canonical().is_loopback()) else {
        return;
    };
    let is_sound = ["password_hash", "password", "password_file"].iter().all(|key| section.is_sound(key));
    if settings.password.is_none() && is_sound {
        section.wrong(
            "listen",
            format!("{listen} can be reached by other machines, and there is no password"),
            "give password_hash what `postroom hash` prints, or listen on 127.0.0.1 (a token alone does not suffice: \
             without a password everybody may read)",
        );
    }
    if settings.certificate.is_none() && section.is_sound("certificate") && section.is_sound("private_key") {
        let path = section.path_of("listen");
        reader.warn(format!(
            "{path}: passwords and mail may be read by others on their way: give certificate and private_key, or listen on \
             127.0.0.1 behind a proxy that does TLS"
        ));
    }
}

/// A name or an address, without a port: every port is answered.
fn host(text: &str) -> Result<String, ValueError> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(address.to_string());
    }
    let host = Host::parse(text).map_err(|_| ValueError::from(format!("{} is no name", quoted(text))))?;
    match text.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
        true => Err(ValueError::with_hint(
            format!("{} has a port", quoted(text)),
            "give the name alone: any port is answered",
        )),
        false => Ok(host.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_kept_as_they_are_compared() {
        for (text, kept) in [
            ("Postroom.Example.com.", "postroom.example.com"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8:0::2]", "2001:db8::2"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(kept), "{text}");
        }
        for text in ["", "a.test:80", "[::1]:80", "https://a.test", "*.a.test", "a b"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
