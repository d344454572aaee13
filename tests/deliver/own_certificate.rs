//! Certificates that `openssl req -x509` makes and that stand in `tls_ca` themselves, shown by Python's ssl (CASES H7).

use super::{open, send, short, upstream_at};
use postroom::config::settings::{TlsMode, Upstream};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A server with implicit TLS that takes every message; its port is the first line that it writes.
const SERVER: &str = "\
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[3])
def serve(plain):
    try:
        stream = context.wrap_socket(plain, server_side=True).makefile('rwb', buffering=0)
        stream.write(b'220 python.test ESMTP\\r\\n')
        content = False
        for line in stream:
            if content and line != b'.\\r\\n':
                continue
            content = line.upper().startswith(b'DATA')
            stream.write(b'354 go\\r\\n' if content else b'250 ok\\r\\n')
    except OSError:
        pass
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

struct Python {
    child: Child,
    port: u16,
}

impl Python {
    fn start(made: &Made, version: &str) -> Python {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(made.certificate()).arg(made.key()).arg(version);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Python { child, port: line.trim().parse().expect("a port") }
    }

    fn upstream(&self, host: &str, trusted: &Made) -> Arc<Upstream> {
        upstream_at(self.port, |upstream| {
            host.clone_into(&mut upstream.host);
            upstream.tls = TlsMode::Implicit;
            upstream.tls_ca = Some(trusted.certificate());
        })
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What OpenSSL has made.
struct Made(TempDir);

impl Made {
    fn certificate(&self) -> PathBuf {
        self.0.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    fn by(options: &[&str]) -> Made {
        Made::with("openssl", options)
    }

    /// `program` runs `openssl`, or is it.
    fn with(program: &str, options: &[&str]) -> Made {
        let made = Made(tempfile::tempdir().unwrap());
        // No extension at all, unless asked for: such a certificate is of version 1 where OpenSSL is older than 3.2.
        let bare = made.0.path().join("bare.cnf");
        std::fs::write(&bare, "[req]\ndistinguished_name = name\n[name]\n").unwrap();
        let mut command = Command::new(program);
        if program != "openssl" {
            command.args(["2020-01-01 00:00:00", "openssl"]);
        }
        command.args(["req", "-x509", "-nodes"]);
        command.arg("-keyout").arg(made.key()).arg("-out").arg(made.certificate());
        for option in options {
            match *option {
                "bare" => command.arg("-config").arg(&bare),
                option => command.arg(option),
            };
        }
        let done = command.output().expect("openssl, and faketime");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        made
    }
}

const RSA: [&str; 2] = ["-newkey", "rsa:2048"];
const CURVE: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

fn made(key: &[&str], more: &[&str]) -> Made {
    Made::by(&[key, more].concat())
}

/// `openssl req -x509` makes CA:TRUE unless told otherwise; webpki calls that `CaUsedAsEndEntity`.
// CASES H7
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_tls_ca_itself_is_taken_however_openssl_made_it() {
    let address = ["-addext", "subjectAltName=IP:127.0.0.1"];
    let no_ca = ["-addext", "basicConstraints=critical,CA:FALSE"];
    for (what, key, more, host) in [
        ("a CA with its address", &RSA[..], [&["-subj", "/CN=x"], &address[..]].concat(), "127.0.0.1"),
        ("the same on a curve", &CURVE, [&["-subj", "/CN=x"], &address[..]].concat(), "127.0.0.1"),
        ("no CA", &RSA, [&["-subj", "/CN=x"], &address[..], &no_ca[..]].concat(), "127.0.0.1"),
        ("a CA with a common name", &RSA, vec!["-subj", "/CN=localhost"], "localhost"),
        ("its address as common name", &RSA, vec!["-subj", "/CN=127.0.0.1"], "127.0.0.1"),
        ("no extension at all", &RSA, vec!["-subj", "/O=Shop/CN=LOCALHOST", "bare"], "localhost"),
        ("the same on a curve", &CURVE, vec!["-subj", "/CN=localhost", "bare"], "localhost"),
    ] {
        let made = made(key, &more);
        for version in ["TLSv1_2", "TLSv1_3"] {
            let server = Python::start(&made, version);
            let opened = open(&server.upstream(host, &made)).await;
            let mut connection = opened.unwrap_or_else(|error| panic!("{what}, {version}: {error}"));
            assert_eq!(short(&send(&mut connection, &["b@y.test"]).await), ["ok"], "{what}, {version}");
        }
    }
}

// CASES H7, F10
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_and_a_wrong_date_are_refused_in_words_that_say_which() {
    let elsewhere = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=DNS:elsewhere.test"];
    let old = ["-subj", "/CN=localhost", "-days", "30"];
    for (made, host, words) in [
        (made(&RSA, &elsewhere), "127.0.0.1", "is for elsewhere.test and not for 127.0.0.1"),
        (made(&RSA, &["-subj", "/CN=mail.test"]), "localhost", "is for mail.test and not for localhost"),
        (made(&RSA, &["-subj", "/O=Shop"]), "localhost", "is for no host, and not for localhost"),
        (
            made(&RSA, &["-subj", "/CN=mail.test", "bare"]),
            "localhost",
            "is for mail.test and not for localhost",
        ),
        (Made::with("faketime", &[&RSA[..], &old].concat()), "localhost", "has expired on"),
        (Made::with("faketime", &[&RSA[..], &old, &["bare"]].concat()), "localhost", "has expired on"),
    ] {
        let server = Python::start(&made, "TLSv1_3");
        let error = open(&server.upstream(host, &made)).await.err().unwrap();
        assert!(error.text.contains(words), "{words}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_of_the_same_name_is_refused_with_the_remedy() {
    let of_localhost = || made(&RSA, &["-subj", "/CN=localhost"]);
    let (shown, trusted) = (of_localhost(), of_localhost());
    let server = Python::start(&shown, "TLSv1_3");
    let error = open(&server.upstream("localhost", &trusted)).await.err().unwrap();
    assert!(error.text.contains("as `tls_ca`"), "{error}");
    // Made anew with the same key: it is another certificate all the same.
    let key = shown.key().display().to_string();
    let again = made(&["-key", &key], &["-subj", "/CN=localhost", "-days", "99"]);
    let error = open(&server.upstream("localhost", &again)).await.err().unwrap();
    assert!(error.text.contains("as `tls_ca`"), "{error}");
}

/// The certificate is no secret: who shows it without having its key is somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_key_is_refused() {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    for (key, more) in
        [(&RSA[..], &["-subj", "/CN=localhost"][..]), (&RSA, &["-subj", "/CN=localhost", "bare"])]
    {
        let (real, thief) = (made(key, more), made(key, more));
        let certificate = CertificateDer::from_pem_file(real.certificate()).unwrap();
        let stolen = PrivateKeyDer::from_pem_file(thief.key()).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let signer = provider.key_provider.load_private_key(stolen.clone_key()).unwrap();
            let shown = rustls::sign::CertifiedKey::new(vec![certificate.clone()], signer);
            let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
            });
            let upstream = upstream_at(port, |upstream| {
                upstream.host = "localhost".to_owned();
                upstream.tls = TlsMode::Implicit;
                upstream.tls_ca = Some(real.certificate());
            });
            let error = open(&upstream).await.err().unwrap();
            assert!(error.text.contains("does not have the key"), "{version:?}: {error}");
        }
    }
}
