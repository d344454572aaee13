//! What to change where an upstream does not work: by what providers are known to say, else by the step that failed.

use super::provider_texts::{ProviderText, TABLE};
use super::session_steps::SessionStep;
use crate::config::settings::{Auth, Upstream};

/// What the provider behind it is known to mean by that text.
pub fn known_remedy(upstream: &Upstream, text: &str) -> Option<String> {
    find(&upstream.host, text).map(|ProviderText { provider, remedy, .. }| format!("{provider}: {remedy}"))
}

/// What to change where that step failed with that text.
pub(super) fn remedy(upstream: &Upstream, step: SessionStep, text: &str) -> String {
    known_remedy(upstream, text).unwrap_or_else(|| general(upstream, step, text))
}

fn find(host: &str, text: &str) -> Option<&'static ProviderText> {
    let (host, text) = (host.to_ascii_lowercase(), text.to_ascii_lowercase());
    let fits = |row: &&ProviderText| {
        host.ends_with(row.host) && marks(row).all(|mark| text.contains(&mark.to_ascii_lowercase()))
    };
    TABLE.iter().find(fits)
}

/// What the text is known by.
fn marks(row: &ProviderText) -> impl Iterator<Item = &'static str> {
    row.text.split('«').skip(1).filter_map(|rest| Some(rest.split_once('»')?.0))
}

/// What can be said without knowing the server.
fn general(upstream: &Upstream, step: SessionStep, text: &str) -> String {
    let Upstream { host, port, .. } = upstream;
    match step {
        SessionStep::Lookup => {
            format!("check the spelling of `host`, and that this machine can resolve it: getent hosts {host}")
        }
        SessionStep::Connect if text.contains("refused") => format!(
            "nobody listens there on port {port}: check `host` (587 is usual for STARTTLS, 465 for TLS from the first byte)"
        ),
        SessionStep::Connect if *port == 25 => "a firewall on the way may drop it; many networks and clouds block port 25 \
             outwards: try port 587, 465 or 2525 of the provider"
            .to_owned(),
        SessionStep::Connect => format!(
            "a firewall on the way may drop connections to port {port}; try another port of the provider, and check \
             `source_address` where it is set"
        ),
        SessionStep::Greeting => "the server does not want this connection: its text says why; if there are too many, lower \
             `connection_limit`, if this machine's address is not allowed, ask its operator"
            .to_owned(),
        SessionStep::Ehlo => {
            "set `hostname` to this machine's full name in DNS: servers refuse names that they do not believe".to_owned()
        }
        SessionStep::Tls => "set `tls` to what the port speaks (\"implicit\" on 465, \"starttls\" on 587 and 25), and give the \
             authority of a private certificate as `tls_ca`"
            .to_owned(),
        SessionStep::Token => {
            "check token_url, client_id, client_secret, refresh_token and scope of `oauth2` against what the provider has registered"
                .to_owned()
        }
        SessionStep::Auth => match upstream.auth {
            Auth::OAuth2(_) => "check `username` (the mailbox that the token is for) and `scope`: the token must allow SMTP".to_owned(),
            Auth::Ntlm { .. } => "check `username`, `password` and `domain`".to_owned(),
            _ => "check `username` and `password`; providers often want the whole mail address, or a password made for programs"
                .to_owned(),
        },
        SessionStep::Folder => "the folder must be there, and the user that the proxy runs as must be able to write in it".to_owned(),
        SessionStep::Message => "the upstream works up to there: its text says what it has against the message; often the sender \
             must be one of the account's, see `sender`"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(row: &ProviderText) -> String {
        row.text.replace(['«', '»'], "")
    }

    #[test]
    fn each_text_finds_its_own_row() {
        for row in TABLE {
            assert!(marks(row).next().is_some(), "{}", row.text);
            let host =
                if row.host.is_empty() { "smtp.test".to_owned() } else { format!("smtp.{}", row.host) };
            let found = find(&host, &format!("AUTH PLAIN refused: {}", plain(row)));
            assert_eq!(found.map(|row| row.text), Some(row.text), "{}", row.provider);
        }
        assert!(find("smtp.mailgun.org.test", "535 Authentication failed").is_none());
        assert!(find("smtp.test", "550 5.1.1 no such user").is_none());
        let providers: std::collections::BTreeSet<&str> = TABLE.iter().map(|row| row.provider).collect();
        assert_eq!(providers.len(), 6);
    }

    /// docs/upstreams.md has the same table.
    #[test]
    fn the_page_for_people_has_each_row() {
        let page = include_str!("../../docs/upstreams.md");
        for row in TABLE {
            let line = format!("| {} | {} | {} |", row.provider, plain(row), row.remedy);
            assert!(page.contains(&line), "docs/upstreams.md lacks\n{line}");
        }
    }

    #[test]
    fn every_step_has_general_advice() {
        let upstream = crate::config::default_upstream("a", "mx.test", 587);
        for step in [
            SessionStep::Lookup,
            SessionStep::Connect,
            SessionStep::Greeting,
            SessionStep::Ehlo,
            SessionStep::Tls,
            SessionStep::Token,
            SessionStep::Auth,
            SessionStep::Folder,
            SessionStep::Message,
        ] {
            assert!(remedy(&upstream, step, "451 who knows").len() > 20, "{step}");
        }
        assert!(remedy(&upstream, SessionStep::Connect, "Connection refused").contains("587"));
    }
}
