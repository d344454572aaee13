//! The pages of the web admin in Debian's Chromium: a Python script for each page leads it there with Playwright, and lib.py
//! holds every page to what all promise: axe finds nothing, nothing is fetched from elsewhere, nothing in the console, not wider than a
//! phone, not over 100 KiB. Pictures lie in target/screenshots.

use crate::support::foreign;
use crate::support::proxy::{Proxy, postroom};
use crate::support::{Ended, free_address, spawn};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

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
auth = \"basic\"
enabled = false
";

/// Has the script lead a browser through the pages of a proxy with this configuration, which has no `[admin]`; `@STEADY@` in it is
/// the address of an upstream.
#[track_caller]
fn play(script: &str, config: &str) {
    if !have_browser() {
        return;
    }
    let (steady, admin) = (free_address(), free_address());
    let _sink = sink(steady);
    let config = config.replace("@STEADY@", &steady.to_string());
    let admin_keys =
        format!("[admin]\nlisten = \"{admin}\"\npassword = \"{PASSWORD}\"\ntoken = \"{TOKEN}\"\n");
    // What the environment gives cannot be changed on pages.
    let environment =
        [("POSTROOM_LOG_EMAILS__ENABLED", "true"), ("POSTROOM_UPSTREAM__RETIRED__CONNECTION_LIMIT", "3")];
    let proxy = Proxy::start_in(&environment, &format!("{config}\n{admin_keys}"));
    let variables = [
        ("ADMIN_URL", format!("http://{admin}")),
        ("ADMIN_PASSWORD", PASSWORD.to_owned()),
        ("ADMIN_TOKEN", TOKEN.to_owned()),
        ("SMTP_ADDRESS", proxy.address().to_string()),
    ];
    run(script, &proxy.data_dir(), &variables);
}

/// An upstream that refuses some recipients.
fn sink(address: SocketAddr) -> Ended {
    let mut command = postroom();
    command.args(["sink", "--quiet", "--reject-to", "unknown", "--refuse-to", "full", "--listen"]);
    Ended(spawn(command.arg(address.to_string())))
}

#[track_caller]
fn have_browser() -> bool {
    let axe = foreign::folder().join("browser/axe.min.js");
    foreign::have(&["/usr/bin/python3", "/usr/bin/chromium", &axe.display().to_string()])
}

/// What a browser leaves behind lies in `folder`.
#[track_caller]
fn run(script: &str, folder: &Path, variables: &[(&str, String)]) {
    let output = Command::new("/usr/bin/python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script))
        .current_dir(folder)
        .env("PYTHONPATH", foreign::folder().join("browser"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("Python");
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{report}");
    assert!(output.status.success(), "{script}: {}\n{report}\n{errors}", output.status);
}

#[test]
fn the_link_of_the_demo_logs_in_once_and_every_page_has_something_to_show() {
    if !have_browser() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = postroom();
    command.arg("demo").arg("--data-dir").arg(folder.path().join("var"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--mail-every", "1d"]);
    let mut demo = Ended(spawn(command.stdout(Stdio::piped())));
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let link = first.split_whitespace().find(|word| word.contains("/login?token=")).expect(&first).to_owned();
    // It goes on talking.
    let rest = std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    run("tour_page.py", folder.path(), &[("DEMO_LINK", link)]);
    drop(demo);
    rest.join().unwrap().unwrap();
}

#[test]
fn the_login_page_lets_in_who_knows_the_password_also_without_scripts() {
    play("login_page.py", HOUSE);
}

#[test]
fn the_dashboard_shows_what_is_and_follows_what_happens() {
    play("dashboard_page.py", HOUSE);
}

#[test]
fn in_the_queue_messages_are_found_held_released_sent_again_and_deleted() {
    play("queue_page.py", HOUSE);
}

#[test]
fn the_page_of_a_message_tells_what_became_of_it_and_does_something_about_it() {
    play("message_page.py", HOUSE);
}

#[test]
fn the_html_of_a_message_may_do_nothing_and_its_parts_are_shown() {
    play("message_content_page.py", HOUSE);
}

#[test]
fn sent_mail_is_found_and_sent_again() {
    play("sent_page.py", HOUSE);
}

#[test]
fn events_are_found_followed_and_exported() {
    play("events_page.py", HOUSE);
}

#[test]
fn upstreams_are_added_changed_tested_switched_reset_and_deleted() {
    play("upstreams_page.py", HOUSE);
}

#[test]
fn a_change_of_what_happens_to_mail_is_asked_about_first() {
    play("settings_page.py", HOUSE);
}

#[test]
fn a_test_message_is_sent_from_a_page() {
    play("send_page.py", HOUSE);
}

#[test]
fn the_configuration_names_the_source_of_each_value_and_takes_changes_back() {
    play("configuration_page.py", HOUSE);
}
