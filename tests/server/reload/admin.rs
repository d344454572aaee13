//! Keys of `[admin]`: they hold for the next request.

use super::refused;
use crate::admin::{Admin, config};
use crate::support::certificate::CertificateFiles;
use crate::support::free_address;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[track_caller]
fn logs_in(admin: &Admin, password: &str) -> bool {
    admin.form("/login", &[], &format!("password={password}")).status == 303
}

/// What a TLS client is shown, as curl verifies it.
fn is_trusted(admin: &Admin, files: &CertificateFiles) -> bool {
    let url = format!("https://localhost:{}/livez", admin.address.port());
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--fail", "--cacert"]).arg(files.chain()).arg(url);
    curl.output().unwrap().status.success()
}

#[test]
pub fn listen() {
    let mut admin = Admin::start("");
    let taken = config(admin.proxy.address(), "");
    refused(&admin.proxy, &taken, "admin.listen");
    let elsewhere = config("192.0.2.7:8025".parse().unwrap(), "password = \"x\"");
    refused(&admin.proxy, &elsewhere, "this machine has no such address");
    assert_eq!(admin.get("/livez", &[]).status, 200, "it is where it was");
    admin.address = free_address();
    admin.reload("");
    assert_eq!(admin.get("/livez", &[]).status, 200);
}

#[test]
pub fn password_hash() {
    let admin = Admin::start("");
    let hash = |password| postroom::config::password::hash(password).unwrap();
    assert_eq!(admin.get("/api/v1/stats", &[]).status, 200);
    admin.reload(&format!("password_hash = \"{}\"", hash("one")));
    assert_eq!(admin.get("/api/v1/stats", &[]).status, 401);
    assert!(logs_in(&admin, "one"));
    admin.reload(&format!("password_hash = \"{}\"", hash("two")));
    assert!(logs_in(&admin, "two") && !logs_in(&admin, "one"));
}

#[test]
pub fn password() {
    let admin = Admin::start("password = \"one\"");
    assert!(logs_in(&admin, "one"));
    admin.reload("password_file = \"postroom.toml\"");
    assert!(!logs_in(&admin, "one"), "another form of it holds");
    admin.reload("password = \"two\"");
    assert!(logs_in(&admin, "two") && !logs_in(&admin, "one"));
    admin.reload("");
    assert_eq!(admin.get("/api/v1/stats", &[]).status, 200);
}

#[test]
pub fn token() {
    let admin = Admin::start("password = \"x\"\ntoken = \"one\"");
    let status = |token: &str| admin.get("/api/v1/stats", &[&bearer(token)]).status;
    assert_eq!((status("one"), status("two")), (200, 401));
    admin.proxy.wait_until_said("admin.token is short enough to be guessed");
    admin.reload("password = \"x\"\ntoken = \"two\"");
    assert_eq!((status("one"), status("two")), (401, 200));
    admin.reload("password = \"x\"");
    assert_eq!((status("two"), status("")), (401, 401));
}

#[test]
pub fn hosts() {
    let admin = Admin::start("");
    let status = || admin.get("/api/v1/stats", &["Host: mail.test"]).status;
    assert_eq!(status(), 421);
    admin.reload("hosts = [\"mail.test\"]");
    assert_eq!(status(), 200);
    admin.reload("hosts = [\"other.test\"]");
    assert_eq!(status(), 421);
}

#[test]
pub fn certificate() {
    let (files, other) = (CertificateFiles::new(), CertificateFiles::new());
    let admin = Admin::start("");
    assert!(!is_trusted(&admin, &files));
    admin.reload(&files.config());
    assert!(is_trusted(&admin, &files) && !is_trusted(&admin, &other));
    admin.reload(&other.config());
    assert!(is_trusted(&admin, &other) && !is_trusted(&admin, &files));
    let mixed = files.config().replace("certificate = ", "# ");
    refused(&admin.proxy, &config(admin.address, &mixed), "admin.certificate: is missing");
    other.write("chain.pem", "no certificate");
    admin.proxy.configure(&config(admin.address, &other.config()));
    super::refused_as_it_stands(&admin.proxy, "admin.certificate");
    admin.reload("");
    assert_eq!(admin.get("/livez", &[]).status, 200, "in clear text again");
}

#[test]
pub fn private_key() {
    let files = CertificateFiles::new();
    let admin = Admin::start(&files.config());
    assert!(is_trusted(&admin, &files));
    files.change_key();
    admin.proxy.configure(&config(admin.address, &files.config()));
    super::refused_as_it_stands(&admin.proxy, "key.pem is the key of another certificate");
    assert!(is_trusted(&admin, &files), "the one that was read before");
    files.renew(100);
    admin.reload(&files.config());
    assert!(is_trusted(&admin, &files));
}
