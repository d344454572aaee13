//! A proxy to which everything has happened that is counted.

use crate::support::certificate::CertificateFiles;
use crate::support::clients::succeeded;
use crate::support::proxy::Proxy;
use crate::support::scripted::{Identity, Scripted};
use crate::support::token_server::TokenServer;
use crate::support::{eventually, free_address};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use tempfile::{NamedTempFile, TempDir};

/// STARTTLS, a login, and one message to each of `recipients`, from a sender who is told of failures.
const CLIENT: &str = "\
import smtplib, ssl, sys
port, sender, *recipients = sys.argv[1:]
context = ssl._create_unverified_context()
for to in recipients:
    with smtplib.SMTP('127.0.0.1', int(port), local_hostname='client.test', timeout=300) as client:
        client.starttls(context=context)
        client.login('anybody', 'anything')
        client.sendmail(sender, [to], b'Subject: hello\\r\\n\\r\\nhello\\r\\n')
with smtplib.SMTP('127.0.0.1', int(port), local_hostname='client.test', timeout=300) as client:
    client.docmd('NONSENSE')
";

/// Of the admin listener.
pub const TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// Everything that the proxy of [`Busy::start`] works with.
pub struct Busy {
    pub proxy: Proxy,
    /// The admin listener, which wants [`TOKEN`].
    pub admin: SocketAddr,
    _server: Scripted,
    _tokens: TokenServer,
    _certificate: CertificateFiles,
    _trusted: NamedTempFile,
    _pickup: TempDir,
}

impl Busy {
    /// Upstreams: `relay` works, with TLS and tokens; `down` does not, and is asked first. Sites: `qa` is redirected. Mail
    /// was delivered, deferred, refused for good and bounced, redirected, and taken from a folder; a file of the folder was refused.
    pub fn start() -> Busy {
        let (identity, certificate) = (Identity::of(&["127.0.0.1"]), CertificateFiles::new());
        let (tokens, pickup) = (TokenServer::start(), tempfile::tempdir().unwrap());
        let mut trusted = NamedTempFile::new().unwrap();
        trusted.write_all(identity.pem().as_bytes()).unwrap();
        let server = Scripted::start(|script| {
            script
                .implicit_tls(&identity)
                .ehlo(&["AUTH XOAUTH2"])
                .on("AUTH", "235 2.7.0 good")
                .on("RCPT TO:<no@", "550 5.1.1 nobody of that name")
                .on("RCPT TO:<later@", "451 4.2.1 later")
        });
        std::fs::write(pickup.path().join("good.eml"), "To: pat@b.test\nFrom: a@a.test\n\nhello\n").unwrap();
        std::fs::write(pickup.path().join("bad.eml"), "nobody is named here\n").unwrap();
        let admin = free_address();
        let (port, ca) = (server.port(), trusted.path().display().to_string());
        let config = format!(
            "[queue]\nretry = [\"1h\"]\n\
             [listener.local]\naddress = \"@LISTEN@\"\ntls = \"opportunistic\"\nauth = \"any\"\n{}\
             [admin]\nlisten = \"{admin}\"\npassword = \"open-Sesame/17\"\ntoken = \"{TOKEN}\"\n\
             [upstream.relay]\nhost = \"127.0.0.1:{port}\"\ntls = \"implicit\"\ntls_ca = \"{ca}\"\n{}\
             [upstream.down]\nhost = \"127.0.0.1:1\"\ntls = \"none\"\npriority = \"high\"\n\
             [site.qa]\nsenders = [\"@qa.test\"]\n\
             [site.qa.redirect]\nenabled = true\nreport_emails = [\"report@b.test\"]\n\
             [webhook.ops]\nurl = \"http://127.0.0.1:1/\"\non = [\"delivered\"]\n\
             [pickup.folder]\ndirectory = \"{}\"\n",
            certificate.config(),
            tokens.keys("first"),
            pickup.path().display(),
        );
        let proxy = Proxy::start(&config);
        let busy = Busy {
            proxy,
            admin,
            _server: server,
            _tokens: tokens,
            _certificate: certificate,
            _trusted: trusted,
            _pickup: pickup,
        };
        busy.send_all();
        busy.proxy.command(&["reload"]);
        busy.wait();
        busy
    }

    /// One message each: to be delivered, to be deferred, to be refused for good, to be redirected.
    pub fn send_all(&self) {
        let port = self.proxy.address().port().to_string();
        let send = |sender: &str, recipients: &[&str]| {
            let mut python = Command::new("python3");
            succeeded(python.args(["-c", CLIENT, &port, sender]).args(recipients), b"");
        };
        send("ann@a.test", &["bob@b.test", "later@b.test", "no@b.test"]);
        send("tester@qa.test", &["customer@b.test"]);
    }

    /// Until everything has happened: the bounce was delivered, too.
    fn wait(&self) {
        let count = |series: &Series, name: &str, labels: &[&str]| sum(series, name, labels);
        eventually("everything to have happened", || {
            let series = series(&self.proxy);
            let relay = |result: &str| {
                let result = format!("result=\"{result}\"");
                count(&series, "postroom_recipients_total", &["upstream=\"relay\"", &result])
            };
            // bob, report copy, the file's, the bounce.
            let done = relay("delivered") >= 4.0
                && relay("deferred") >= 1.0
                && relay("failed") >= 1.0
                && count(&series, "postroom_refusals_total", &["reason=\"file\""]) >= 1.0;
            done.then_some(())
        });
    }
}

/// Values by name and labels, as they are written.
pub type Series = BTreeMap<String, f64>;

/// What the text says.
pub fn text(proxy: &Proxy) -> String {
    String::from_utf8(proxy.raw("/metrics")).unwrap()
}

/// The series that the proxy has now.
pub fn series(proxy: &Proxy) -> Series {
    let text = text(proxy);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number in {line}")))
        })
        .collect()
}

/// The sum of the series of that name that have all these labels.
pub fn sum(series: &Series, name: &str, labels: &[&str]) -> f64 {
    let is_wanted =
        |key: &str| key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label));
    series.iter().filter(|(key, _)| is_wanted(key)).map(|(_, value)| value).sum()
}
