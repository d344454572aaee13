//! The pages of the web admin in Debian's Chromium: a Python script for each page leads it there with Playwright, and lib.py
//! holds every page to what all promise: axe finds nothing, nothing is fetched from elsewhere, nothing in the console, not wider than a
//! phone, not over 100 KiB. Pictures lie in target/screenshots.

use crate::support::foreign;
use crate::support::free_address;
use crate::support::proxy::Proxy;
use std::path::Path;
use std::process::Command;

const PASSWORD: &str = "open-Sesame/17";

/// Has the script lead a browser through the pages of a proxy with this configuration, which has no `[admin]`.
#[track_caller]
fn play(script: &str, config: &str) {
    let installed = foreign::folder().join("browser");
    let axe = installed.join("axe.min.js");
    if !foreign::have(&["/usr/bin/python3", "/usr/bin/chromium", &axe.display().to_string()]) {
        return;
    }
    let address = free_address();
    let proxy =
        Proxy::start(&format!("{config}\n[admin]\nlisten = \"{address}\"\npassword = \"{PASSWORD}\"\n"));
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let output = Command::new("/usr/bin/python3")
        .arg(scripts.join(script))
        // What a browser leaves behind goes with the folder.
        .current_dir(proxy.data_dir())
        .env("PYTHONPATH", &installed)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ADMIN_URL", format!("http://{address}"))
        .env("ADMIN_PASSWORD", PASSWORD)
        .output()
        .expect("Python");
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{report}");
    assert!(output.status.success(), "{script}: {}\n{report}\n{errors}", output.status);
}

#[test]
fn the_login_page_lets_in_who_knows_the_password_also_without_scripts() {
    play("login.py", "[sending]\nenabled = false\n");
}
