//! Schemathesis holds the running binary to its own document: what the document allows is taken, what it does not allow is refused,
//! and every answer is as the document says.

use super::*;
use crate::support::foreign;
use crate::support::recorder::Recorder;
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

/// An address of TCP that stands for the control socket, until the process ends.
fn over_tcp(proxy: &Proxy) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");
    let socket = proxy.data_dir().join("control.sock");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&socket) else { continue };
            let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { continue };
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &from_client, &mut &to_server);
                let _ = to_server.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &server, &mut &client);
                let _ = TcpStream::shutdown(&client, std::net::Shutdown::Both);
            });
        }
    });
    address
}

#[test]
fn the_running_binary_does_what_its_document_says() {
    let installed = foreign::folder().join("schemathesis");
    let program = installed.join("bin/st");
    if !foreign::have(&["/usr/bin/python3", &program.display().to_string()]) {
        return;
    }
    let recorder = Recorder::start();
    let file = format!(
        "{}[queue]\narchive_days = 1\n[site.waiting]\nsenders = [\"@waiting.test\"]\n[site.waiting.sending]\nenabled = false\n",
        recorder.upstream("primary")
    );
    let proxy = Proxy::start(&file);
    let send = |site: &str| {
        let answer =
            ask(&proxy, "POST", "/api/v1/send", &json!({ "to": "ann@example.com", "site": site })).json();
        answer["id"].as_str().expect("a message").to_owned()
    };
    let (waiting, sent) = (send("waiting"), send(""));
    recorder.wait(1);
    let address = over_tcp(&proxy);
    let output = Command::new("/usr/bin/python3")
        .arg(&program)
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/schemathesis.toml"))
        .args(["run", "--no-color", "--url"])
        .arg(format!("http://{address}"))
        .arg(format!("http://{address}/api/v1/openapi.json"))
        // It keeps notes where it runs.
        .current_dir(proxy.data_dir())
        .env("PYTHONPATH", &installed)
        .env("WAITING_MESSAGE", waiting)
        .env("SENT_MESSAGE", sent)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python");
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{errors}");
    assert!(report.contains("passed") || report.contains("No issues found"), "{report}");
    assert_eq!(get(&proxy, "/readyz").status, 200, "it still works");
}
