//! Receivers in TLS: the certificates that the system trusts, and no others.

use super::receiver::Receiver;
use super::{DEBUG, send, wait_until_told};
use crate::support::certificate::CertificateFiles;
use crate::support::proxy::Proxy;

#[test]
fn a_certificate_is_checked_and_an_authority_of_the_system_is_enough() {
    let files = CertificateFiles::new();
    let receiver = Receiver::start_tls(&files.chain(), &files.key());
    let config = DEBUG.to_owned() + &receiver.webhook("ops", "\"delivered\"");
    let proxy = Proxy::start(&config);
    send(&proxy, "ann@b.test");
    let told = wait_until_told(&proxy, "authority that is not known here").concat();
    assert!(told.contains("SSL_CERT_FILE") && receiver.requests().is_empty(), "{told}");
    drop(proxy);
    let roots = files.chain();
    let trusting = Proxy::start_in(&[("SSL_CERT_FILE", roots.to_str().unwrap())], &config);
    send(&trusting, "bob@b.test");
    let request = &receiver.wait(1)[0];
    assert_eq!((&request["verified"], &request["body"]["code"]), (&true.into(), &"bob@b.test".into()));
}

#[test]
fn a_receiver_without_tls_behind_https_is_told() {
    let receiver = Receiver::start();
    let url = receiver.url().replace("http:", "https:");
    let proxy = Proxy::start(&format!("{DEBUG}[webhook.ops]\nurl = \"{url}\"\non = [\"delivered\"]\n"));
    send(&proxy, "ann@b.test");
    wait_until_told(&proxy, "TLS: ");
}
