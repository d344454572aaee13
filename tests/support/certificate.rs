//! Certificates of listeners, as files.

use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// A certificate for `localhost` and 127.0.0.1, signed with its own key, and that key, in a folder of their own.
pub struct CertificateFiles(TempDir);

impl CertificateFiles {
    /// One that ends in a year.
    pub fn new() -> CertificateFiles {
        CertificateFiles::that_ends_in(365)
    }

    /// One that ends in so many days.
    pub fn that_ends_in(days: i64) -> CertificateFiles {
        let files = CertificateFiles(tempfile::tempdir().expect("a temporary folder"));
        files.renew(days);
        files
    }

    /// Other files in their place.
    pub fn renew(&self, days: i64) {
        let (certificate, key) = made(days);
        self.write("chain.pem", &certificate);
        self.write("key.pem", &key);
    }

    /// The key of another certificate in its place.
    pub fn change_key(&self) {
        self.write("key.pem", &made(365).1);
    }

    /// One of the files with this text.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a folder of our own");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file");
    }

    /// The file of the chain.
    pub fn chain(&self) -> PathBuf {
        self.0.path().join("chain.pem")
    }

    /// The file of the key.
    pub fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// The two keys of a listener.
    pub fn config(&self) -> String {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        format!("certificate = \"{}\"\nprivate_key = \"{}\"\n", path("chain.pem"), path("key.pem"))
    }
}

/// Certificate and key in PEM.
fn made(days: i64) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("sound names");
    #[expect(clippy::disallowed_methods, reason = "the certificate has to be good today")]
    let end = jiff::Zoned::now().saturating_add(jiff::Span::new().days(days));
    let (year, month, day) = (i32::from(end.year()), end.month() as u8, end.day() as u8);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}
