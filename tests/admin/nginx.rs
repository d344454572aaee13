//! Behind nginx that does TLS, with the lines of docs/admin.md.

use super::{Admin, CHANGE, PASSWORD, config, with_password};
use crate::support::certificate::CertificateFiles;
use crate::support::talk::Talk;
use crate::support::{Ended, eventually, foreign, free_address, postfix_tool, spawn};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

/// What a browser asks for.
const NAME: &str = "postroom.example.com";

struct Nginx {
    address: SocketAddr,
    _process: Ended,
    _folder: tempfile::TempDir,
    _certificate: CertificateFiles,
}

/// The lines of the page, which pass everything on.
fn location(admin: SocketAddr) -> String {
    let page = include_str!("../../docs/admin.md");
    let (_, lines) = page.split_once("```nginx\n").expect("lines for nginx");
    let lines = lines.split("```").next().unwrap();
    assert!(lines.contains("http://127.0.0.1:8025;"));
    lines.replace("127.0.0.1:8025", &admin.to_string())
}

impl Nginx {
    fn before(admin: SocketAddr) -> Nginx {
        let (folder, certificate, address) =
            (tempfile::tempdir().unwrap(), CertificateFiles::new(), free_address());
        let keys = certificate.config().replace("certificate = ", "ssl_certificate ");
        let keys = keys.replace("private_key = ", "ssl_certificate_key ").replace("\"\n", "\";\n");
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n\
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
             scgi_temp_path scgi;\nserver {{ listen {address} ssl; server_name {NAME};\n{keys}\n{} }} }}\n",
            location(admin)
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let mut command = Command::new(postfix_tool("nginx"));
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf"]);
        let mut process = Ended(spawn(&mut command));
        eventually("nginx to listen", || {
            assert!(process.0.try_wait().unwrap().is_none(), "nginx has ended");
            TcpStream::connect(address).ok()
        });
        Nginx { address, _process: process, _folder: folder, _certificate: certificate }
    }

    /// curl, asking by the name.
    fn curl(&self, path: &str, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        let resolve = format!("{NAME}:{}:127.0.0.1", self.address.port());
        curl.args(["--silent", "--include", "--no-buffer", "--insecure", "--resolve", &resolve])
            .args(arguments);
        curl.arg(format!("https://{NAME}:{}{path}", self.address.port()));
        curl
    }

    fn said(&self, path: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.curl(path, arguments).output().unwrap().stdout).unwrap()
    }
}

#[test]
fn the_lines_of_the_page_work() {
    if !foreign::have(&["nginx"]) {
        return;
    }
    let admin = Admin::start(&with_password());
    let nginx = Nginx::before(admin.address);
    let unknown = nginx.said("/api/v1/stats", &[]);
    assert!(unknown.starts_with("HTTP/1.1 421") && unknown.contains("hosts in [admin]"), "{unknown}");
    admin.proxy.configure(&config(admin.address, &format!("{}\nhosts = [\"{NAME}\"]", with_password())));
    admin.proxy.command(&["reload"]);
    assert!(nginx.said("/api/v1/stats", &[]).starts_with("HTTP/1.1 401"));
    let said = nginx.said("/login", &["--data", &format!("password={PASSWORD}")]);
    assert!(said.starts_with("HTTP/1.1 303") && said.contains("SameSite=Lax; Secure"), "{said}");
    let (_, cookie) = said.split_once("postroom_session=").unwrap();
    let cookie = format!("Cookie: postroom_session={}", cookie.split(';').next().unwrap());
    let session = nginx.said("/api/v1/session", &["--header", &cookie]);
    let (_, token) = session.split_once("\"csrf_token\":\"").expect("a token");
    let token = format!("X-CSRF-Token: {}", token.split('"').next().unwrap());
    let patch = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let headers = ["--header", &cookie, "--header", &token, "--header", &origin];
        let json = ["--header", "Content-Type: application/json", "--request", "PATCH", "--data", CHANGE];
        nginx.said("/api/v1/settings", &[&headers[..], &json].concat())
    };
    assert!(patch("https://evil.test").starts_with("HTTP/1.1 403"));
    let own = patch(&format!("https://{NAME}:{}", nginx.address.port()));
    assert!(own.starts_with("HTTP/1.1 200") && admin.has_redirect(), "{own}");
    let mut follower =
        spawn(nginx.curl("/api/v1/events/stream", &["--header", &cookie]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _follower = Ended(follower);
    assert!(lines.any(|line| line.starts_with("content-type: text/event-stream")
        || line.starts_with("Content-Type: text/event-stream")));
    assert!(Talk::hello(admin.proxy.address()).mail("b@b.test", 100).starts_with("250"));
    assert!(lines.any(|line| line.contains("QUEUED")), "an event comes through when it happens");
}
