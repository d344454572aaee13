//! What TLS of a listener agrees on: key exchange, versions, ciphers, with rustls, OpenSSL and a scanner as clients.

use crate::support::certificate::CertificateFiles;
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

const GROUPS: &[&dyn SupportedKxGroup] = aws_lc_rs::ALL_KX_GROUPS;

fn started(files: &CertificateFiles, tls: &str) -> Proxy {
    Proxy::start(&format!("[listener.test]\naddress = \"@LISTEN@\"\ntls = \"{tls}\"\n{}", files.config()))
}

/// A client that trusts the certificate of `files` and offers these key exchanges, greeted.
fn greeted(
    proxy: &Proxy,
    files: &CertificateFiles,
    groups: &[&'static dyn SupportedKxGroup],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.chain()).unwrap()).unwrap();
    let provider = CryptoProvider { kx_groups: groups.to_vec(), ..aws_lc_rs::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut talk = Talk::connect_only(proxy.address());
    let mut stream = StreamOwned::new(client, talk.stream().try_clone().unwrap());
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
    stream
}

#[test]
fn the_key_exchange_is_post_quantum_where_the_client_can() {
    let files = CertificateFiles::new();
    let proxy = started(&files, "implicit");
    let hybrid = NamedGroup::X25519MLKEM768;
    let (can, cannot): (Vec<_>, Vec<_>) = GROUPS.iter().copied().partition(|group| group.name() == hybrid);
    let agreed = |groups: &[&'static dyn SupportedKxGroup]| {
        let stream = greeted(&proxy, &files, groups);
        stream.conn.negotiated_key_exchange_group().unwrap().name()
    };
    assert_eq!(agreed(&can), hybrid);
    assert_eq!(agreed(&aws_lc_rs::default_provider().kx_groups), hybrid);
    // A client that would rather not is served all the same.
    for group in [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1] {
        let only: Vec<_> = cannot.iter().copied().filter(|one| one.name() == group).collect();
        assert_eq!(agreed(&only), group);
    }
}

/// The attribute's value in a line of XML.
fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line.find(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {line}"));
    line[start + name.len() + 2..].split('"').next().unwrap()
}

#[test]
fn a_scanner_finds_no_version_below_1_2_and_no_weak_cipher() {
    if !have(&["sslscan"]) {
        return;
    }
    let files = CertificateFiles::new();
    for (tls, option) in [("implicit", "--show-sigs"), ("starttls", "--starttls-smtp")] {
        let proxy = started(&files, tls);
        let address = proxy.address().to_string();
        let mut sslscan = Command::new("sslscan");
        let said = succeeded(sslscan.args(["--xml=-", "--no-groups", option, &address]), b"").stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines = |tag: &str| -> Vec<String> {
            said.lines().filter(|line| line.contains(tag)).map(str::to_owned).collect()
        };
        for (version, enabled) in
            [("2", "0"), ("3", "0"), ("1.0", "0"), ("1.1", "0"), ("1.2", "1"), ("1.3", "1")]
        {
            let protocols = lines("<protocol ");
            let line = protocols.iter().find(|line| attribute(line, "version") == version);
            assert_eq!(line.map(|line| attribute(line, "enabled")), Some(enabled), "{version}: {said}");
        }
        let ciphers = lines("<cipher ");
        assert!(ciphers.len() >= 6, "{tls}: {said}");
        for cipher in &ciphers {
            let (version, name) = (attribute(cipher, "sslversion"), attribute(cipher, "cipher"));
            assert!(matches!(version, "TLSv1.2" | "TLSv1.3"), "{cipher}");
            let sound = name.contains("GCM") || name.contains("CHACHA20");
            assert!(sound && (version == "TLSv1.3" || name.starts_with("ECDHE-")), "{cipher}");
            assert!(matches!(attribute(cipher, "strength"), "strong" | "acceptable"), "{cipher}");
        }
    }
}
