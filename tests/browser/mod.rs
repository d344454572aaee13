//! The pages of the web admin in Debian's Chromium: a Python script for each page leads it there with Playwright, and lib.py
//! holds every page to what all promise: axe finds nothing, nothing is fetched from elsewhere, nothing in the console, not wider than a
//! phone, not over 100 KiB. Pictures lie in target/screenshots.

use crate::support::foreign;
use crate::support::proxy::{Proxy, postroom};
use crate::support::{Ended, free_address, spawn};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const PASSWORD: &str = "open-Sesame/17";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Two sites, the mail of one of which is redirected; `steady` refuses mail to unknown@ for good and to full@ for now.
const HOUSE: &str = "\
[queue]
archive_days = 7
[site.shop]
senders = [\"@shop.example\"]
[site.staging]
senders = [\"@staging.example\"]
[site.staging.redirect]
enabled = true
report_emails = [\"qa@shop.example\"]
[upstream.steady]
host = \"@STEADY@\"
tls = \"none\"
[upstream.retired]
host = \"@STEADY@\"
username = \"postroom\"
password = \"not-to-be-seen\"
priority = \"low\"
enabled = false
";

/// Has the script lead a browser through the pages of a proxy with this configuration, which has no `[admin]`; `@STEADY@` in it is
/// the address of an upstream.
#[track_caller]
fn play(script: &str, config: &str) {
    let installed = foreign::folder().join("browser");
    let axe = installed.join("axe.min.js");
    if !foreign::have(&["/usr/bin/python3", "/usr/bin/chromium", &axe.display().to_string()]) {
        return;
    }
    let (steady, admin) = (free_address(), free_address());
    let _sink = sink(steady);
    let config = config.replace("@STEADY@", &steady.to_string());
    let admin_keys =
        format!("[admin]\nlisten = \"{admin}\"\npassword = \"{PASSWORD}\"\ntoken = \"{TOKEN}\"\n");
    // What the environment gives cannot be changed on pages.
    let proxy =
        Proxy::start_in(&[("POSTROOM_LOG_EMAILS__ENABLED", "true")], &format!("{config}\n{admin_keys}"));
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let output = Command::new("/usr/bin/python3")
        .arg(scripts.join(script))
        // What a browser leaves behind goes with the folder.
        .current_dir(proxy.data_dir())
        .env("PYTHONPATH", &installed)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ADMIN_URL", format!("http://{admin}"))
        .env("ADMIN_PASSWORD", PASSWORD)
        .env("ADMIN_TOKEN", TOKEN)
        .env("SMTP_ADDRESS", proxy.address().to_string())
        .output()
        .expect("Python");
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{report}");
    assert!(output.status.success(), "{script}: {}\n{report}\n{errors}", output.status);
}

/// An upstream that refuses some recipients.
fn sink(address: SocketAddr) -> Ended {
    let mut command = postroom();
    command.args(["sink", "--quiet", "--reject-to", "unknown", "--refuse-to", "full", "--listen"]);
    Ended(spawn(command.arg(address.to_string())))
}

#[test]
fn the_login_page_lets_in_who_knows_the_password_also_without_scripts() {
    play("login.py", HOUSE);
}

#[test]
fn the_dashboard_shows_what_is_and_follows_what_happens() {
    play("dashboard.py", HOUSE);
}
