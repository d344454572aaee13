//! The certificate of a listener and its private key are read: `certificate` and `private_key` of its table.

use super::read_secret::warn_if_others_may_read;
use super::section::{ConfigReader, Section};
use super::server_certificate::{ServerCertificate, WrongFile};
use crate::clock::{Clock, SystemClock};
use std::sync::Arc;

/// Read now, so that connections find it in memory and a reload reads it again. `is_needed`: somebody asked for TLS.
pub(super) fn read(
    reader: &ConfigReader<'_>,
    section: &Section<'_>,
    is_needed: bool,
) -> Option<Arc<ServerCertificate>> {
    let (chain, key) = (section.path_beside("certificate"), section.path_beside("private_key"));
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (chain, key) => {
            for (name, path) in [("certificate", &chain), ("private_key", &key)] {
                let is_needed = is_needed || chain.is_some() || key.is_some();
                if path.is_none() && is_needed && section.is_sound(name) {
                    let right = "give the paths of two PEM files: the certificate chain, and its private key";
                    section.wrong(name, "is missing: TLS needs certificate and private_key", right);
                }
            }
            return None;
        }
    };
    match ServerCertificate::read(&chain, &key) {
        Ok(certificate) => {
            warn_if_others_may_read(reader, &key);
            if certificate.is_expired(SystemClock::default().wall()) {
                let path = section.path_of("certificate");
                reader.warn(format!("{path}: {} (clients may refuse it)", certificate.describe_end()));
            }
            Some(Arc::new(certificate))
        }
        Err(WrongFile::Chain(wrong)) => {
            section.wrong("certificate", wrong, "give the path of a PEM file with the certificate chain");
            None
        }
        Err(WrongFile::Key(wrong)) => {
            let right = "give the path of a PEM file with the private key of the certificate";
            section.wrong("private_key", wrong, right);
            None
        }
    }
}
