//! What to change where an upstream does not work: by what providers are known to say, else by the step that failed.

use super::provider_texts::{ProviderText, TABLE};
use super::session_steps::SessionStep;
use crate::config::settings::{Auth, Upstream};

/// What the provider behind it is known to mean by that text.
pub fn known_remedy(upstream: &Upstream, text: &str) -> Option<String> {
    find(&upstream.host, text).map(|ProviderText { provider, remedy, .. }| format!("{provider}: {remedy}"))
}

/// What to change where that step failed with that text; none where the text says it itself.
pub(super) fn remedy(upstream: &Upstream, step: SessionStep, text: &str) -> Option<String> {
    known_remedy(upstream, text).or_else(|| general(upstream, step, text))
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
fn general(upstream: &Upstream, step: SessionStep, text: &str) -> Option<String> {
    let Upstream { host, port, .. } = upstream;
    let says = |words: &str| text.contains(words);
    let is_silent = says("nothing came within");
    let is_closed = says("connection was closed") || says("the connection failed");
    let advice = match step {
        // Each of these texts has what would be right in it.
        _ if ["set tls", "as `tls_ca`", "the right `host`", "the clock here"]
            .iter()
            .any(|words| says(words)) =>
        {
            return None;
        }
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
        SessionStep::Greeting if is_silent => "the server is silent: is it one of SMTP, and does it expect TLS from the first byte \
             (tls = \"implicit\", port 465)?"
            .to_owned(),
        SessionStep::Greeting if is_closed => "the server closes without a word: it may not know this machine's address, or have too \
             many connections of it (lower `connection_limit`); ask its operator"
            .to_owned(),
        SessionStep::Greeting if !says("greets with") => {
            format!("this is no greeting of SMTP: check `host` and its port ({port})")
        }
        SessionStep::Greeting => "the server does not want this connection: its text says why; if there are too many, lower \
             `connection_limit`, if this machine's address is not allowed, ask its operator"
            .to_owned(),
        SessionStep::Ehlo if !says("EHLO refused") && !says("ended the session") => {
            "the server greets and then does not answer as one of SMTP: ask its operator, or raise `connect_timeout` if it is slow"
                .to_owned()
        }
        SessionStep::Ehlo => {
            "set `hostname` to this machine's full name in DNS: servers refuse names that they do not believe".to_owned()
        }
        SessionStep::Tls if says("STARTTLS refused") => "the server offers TLS and cannot begin it now: its operator has to look, often at \
             its certificate; without TLS no password would be sent"
            .to_owned(),
        SessionStep::Tls if says("certificate") => {
            "the server needs another certificate; or give its own, or its authority's, as `tls_ca`".to_owned()
        }
        SessionStep::Tls => "set `tls` to what the port speaks (\"implicit\" on 465, \"starttls\" on 587 and 25), and give the \
             authority of a private certificate as `tls_ca`"
            .to_owned(),
        SessionStep::Token => {
            "check token_url, client_id, client_secret, refresh_token and scope of `oauth2` against what the provider has registered"
                .to_owned()
        }
        SessionStep::Auth if says("offers no AUTH") => "the server takes no login on this connection: servers often offer AUTH with TLS alone \
             (tls = \"starttls\" or \"implicit\"); if it wants none, set auth = \"anonymous\""
            .to_owned(),
        SessionStep::Auth if is_silent || is_closed => "the server ends the session at the login: too many wrong passwords before, or too \
             many connections? Its operator can say"
            .to_owned(),
        SessionStep::Auth => match upstream.auth {
            Auth::OAuth2(_) => "check `username` (the mailbox that the token is for) and `scope`: the token must allow SMTP".to_owned(),
            Auth::Ntlm { .. } => "check `username`, `password` and `domain`".to_owned(),
            _ => "check `username` and `password`; providers often want the whole mail address, or a password made for programs"
                .to_owned(),
        },
        SessionStep::Folder => "the folder must be there, and the user that the proxy runs as must be able to write in it".to_owned(),
        SessionStep::Write => "the user that the proxy runs as must be able to make files there, with the folder's group, and to remove \
             them; the disk needs space"
            .to_owned(),
        // A mode keeps it here, and the text says which.
        SessionStep::Message if says("not sent: ") => return None,
        SessionStep::Message if upstream.pickup_directory.is_some() => {
            "the user that the proxy runs as must be able to make files there, with the folder's group".to_owned()
        }
        SessionStep::Message if is_silent || is_closed || says("lost") => "the server ends the session in the middle of the message: its \
             operator can say why; a proxy or a virus scanner on the way may do so, too"
            .to_owned(),
        SessionStep::Message if says(" refused: 4") => "the upstream works, and wants this message later, as with greylisting: test again in \
             a few minutes"
            .to_owned(),
        SessionStep::Message if says("5.1.1 ") || says("5.1.10 ") => {
            "the upstream works, and does not know this recipient: test with another address".to_owned()
        }
        SessionStep::Message if says("does not offer SMTPUTF8") || says("bytes, the upstream takes") => {
            "nothing here: mail of this kind has to go through another upstream".to_owned()
        }
        SessionStep::Message => "the upstream works up to there: its text says what it has against the message; often the sender \
             must be one of the account's, see `sender`"
            .to_owned(),
    };
    Some(advice)
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
            SessionStep::Write,
            SessionStep::Message,
        ] {
            assert!(
                remedy(&upstream, step, "451 who knows").is_some_and(|advice| advice.len() > 20),
                "{step}"
            );
        }
        for (step, text, advice) in [
            (SessionStep::Connect, "Connection refused", "587"),
            (SessionStep::Greeting, "greeting: nothing came within 30s", "implicit"),
            (SessionStep::Greeting, "greeting: `HTTP/1.1 400` is no reply", "no greeting of SMTP"),
            (SessionStep::Greeting, "greeting: the connection was closed", "without a word"),
            (SessionStep::Greeting, "the server greets with 554 no", "its text says why"),
            (SessionStep::Ehlo, "EHLO: nothing came within 30s", "does not answer"),
            (SessionStep::Ehlo, "EHLO refused: 550 bad name", "`hostname`"),
            (SessionStep::Tls, "STARTTLS refused: 454 4.7.0 not now", "certificate"),
            (SessionStep::Auth, "AUTH: the server offers no AUTH", "anonymous"),
            (SessionStep::Auth, "AUTH PLAIN refused: 535 no", "`username`"),
            (SessionStep::Message, "from a@x to b@y: RCPT refused: 450 4.2.0 greylisted", "later"),
            (SessionStep::Message, "from a@x to b@y: RCPT refused: 550 5.1.1 who?", "another address"),
            (SessionStep::Message, "from a@x to b@y: MAIL refused: 550 5.7.60 not yours", "`sender`"),
        ] {
            let found = remedy(&upstream, step, text).unwrap_or_default();
            assert!(found.contains(advice), "{text}: {found}");
        }
        for told in
            ["not sent: all mail: sending is off", "TLS: give the authority's certificate as `tls_ca`"]
        {
            assert_eq!(remedy(&upstream, SessionStep::Message, told), None);
        }
    }
}
