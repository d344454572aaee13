//! `postroom test`: each step when it has ended, what to change where one failed, and what a test leaves as it was.

use crate::support::proxy::Proxy;
use crate::support::scripted::{Act, Identity, Script, Scripted};
use crate::support::talk::Talk;
use crate::support::token_server::TokenServer;
use crate::support::{Ended, PATIENCE, eventually, spawn};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const LOGIN: &str = "auth = \"basic\"\nusername = \"app@example.test\"\npassword = \"s3cret\"\n";

fn upstream(server: &Scripted, more: &str) -> String {
    format!("[upstream.only]\nhost = \"127.0.0.1:{}\"\n{more}", server.port())
}

fn plain(server: &Scripted, more: &str) -> String {
    upstream(server, &format!("tls = \"none\"\n{more}"))
}

/// Standard output and the exit code.
fn said(output: &Output) -> (String, Option<i32>) {
    (String::from_utf8(output.stdout.clone()).unwrap(), output.status.code())
}

/// The one upstream of `test --json`, whatever came of it.
fn tested(proxy: &Proxy, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = proxy.try_command(&[&["test", "--json"], arguments].concat());
    let (text, code) = said(&output);
    let all: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (all[0].clone(), code)
}

fn steps(tested: &Value) -> Vec<String> {
    let steps = tested["steps"].as_array().unwrap().iter();
    steps
        .map(|step| format!("{} {}", step["step"].as_str().unwrap(), step["outcome"].as_str().unwrap()))
        .collect()
}

/// The step that failed, in words, and what to change.
fn failure(tested: &Value) -> (String, String, String) {
    let last = tested["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(last["outcome"], "failed", "{tested:#}");
    // Some texts say themselves what to change.
    let text = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
    (text("step"), text("detail"), text("remedy"))
}

fn events(proxy: &Proxy, code: &str) -> Vec<Value> {
    proxy.cli(&["events", "--code", code, "--json"]).as_array().unwrap().clone()
}

fn tls_file(identity: &Identity) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(identity.pem().as_bytes()).unwrap();
    file
}

#[test]
fn each_step_is_told_with_its_time_and_the_message_arrives() {
    let identity = Identity::of(&["127.0.0.1", "mx.test"]);
    let trusted = tls_file(&identity);
    let script = |s: Script| s.ehlo(&["SIZE 1000000", "AUTH PLAIN"]).on("AUTH", "235 2.7.0 ok");
    let server = Scripted::start(|s| script(s).starttls(&identity));
    let keys = format!("tls_ca = {:?}\n{LOGIN}", trusted.path());
    let proxy = Proxy::start(&upstream(&server, &keys));
    let (result, code) = tested(&proxy, &["only", "--to", "ann@example.test"]);
    assert_eq!((code, &result["ok"]), (Some(0), &Value::Bool(true)), "{result:#}");
    let expected = ["lookup", "connect", "greeting", "ehlo", "tls", "ehlo", "auth", "message"];
    assert_eq!(steps(&result), expected.map(|step| format!("{step} ok")));
    let detail = |place: usize| result["steps"][place]["detail"].as_str().unwrap();
    assert_eq!(detail(1), format!("127.0.0.1:{}", server.port()));
    assert!(detail(4).starts_with("TLSv1.3, TLS_"), "{}", detail(4));
    assert!(detail(4).contains("ends 4096-01-01T00:00:00Z; it is for 127.0.0.1, mx.test"), "{}", detail(4));
    assert!(detail(5).contains("SIZE 1000000") && detail(5).contains("AUTH PLAIN"), "{}", detail(5));
    assert_eq!(detail(6), "PLAIN as app@example.test");
    assert!(result["steps"].as_array().unwrap().iter().all(|step| step["ms"].is_u64()), "{result:#}");
    let message = server.wait_for(1).remove(0);
    assert!(message.mail.starts_with("<app@example.test>") && message.tls, "{message:?}");
    assert!(message.recipients[0].starts_with("<ann@example.test>"), "{message:?}");
    let content = String::from_utf8(message.content).unwrap();
    for field in ["From: Postroom <app@example.test>\r\n", "Subject: Test message through only\r\n", "Date: "]
    {
        assert!(content.contains(field), "{content}");
    }
    let event = eventually("the event", || events(&proxy, "TESTED").pop());
    assert_eq!((&event["type"], &event["upstream"]), (&"Information".into(), &"only".into()));
    assert!(event["message"].as_str().unwrap().contains("with a message to ann@example.test: it works"));

    let (text, code) = said(&proxy.try_command(&["test", "only"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\n  connect") && text.contains(" ms  127.0.0.1:"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("  only works ("), "{text}");
    assert_eq!(server.transactions().len(), 1, "no message without --to");
}

#[test]
fn steps_are_told_as_they_end() {
    let server = Scripted::start(|s| s.greeting(Act::Hang));
    let proxy = Proxy::start(&plain(&server, ""));
    for alone in [false, true] {
        let mut proxy = Proxy::start(&plain(&server, ""));
        if alone {
            assert!(proxy.terminate().success());
        }
        let mut child = Ended(spawn(proxy.command_line(&["test", "only"]).stdout(Stdio::piped())));
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (sender, received) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let seen = || received.recv_timeout(PATIENCE).expect("a line while the test goes on");
        assert_eq!(seen(), "only");
        assert!(seen().starts_with("  lookup"));
        assert!(seen().starts_with("  connect"));
        assert!(child.0.try_wait().unwrap().is_none(), "it still waits for the greeting");
    }
    drop(proxy);
}

#[test]
fn what_failed_is_told_with_what_to_change() {
    let certificate = Identity::of(&["elsewhere.test"]);
    let trusted = tls_file(&certificate);
    let ca = format!("tls_ca = {:?}\n", trusted.path());
    let office = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit \
                  https://aka.ms/smtp_auth_disabled for more information.";
    let auth = |s: Script, reply: &str| s.ehlo(&["AUTH PLAIN"]).on("AUTH", reply);
    type Case<'a> = (Box<dyn Fn(Script) -> Script + 'a>, String, &'a str, &'a str, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            Box::new(|s| s.greeting("554 5.3.2 no")),
            "tls = \"none\"\n".into(),
            "greeting",
            "554",
            "its text says why",
        ),
        (
            Box::new(|s| s.on("EHLO", "421 4.7.0 who?")),
            "tls = \"none\"\n".into(),
            "ehlo",
            "421",
            "`hostname`",
        ),
        (Box::new(|s| s), "tls = \"starttls\"\n".into(), "tls", "does not offer STARTTLS", "`tls`"),
        (
            Box::new(|s| s.starttls(&certificate)),
            format!("tls = \"starttls\"\n{ca}"),
            "tls",
            "is for elsewhere.test and not for 127.0.0.1; is one of them the right `host`?",
            "",
        ),
        (
            Box::new(|s| auth(s, office)),
            format!("tls = \"none\"\n{LOGIN}"),
            "auth",
            "AUTH PLAIN refused: 535 5.7.139",
            "switch it on for the mailbox",
        ),
        (
            Box::new(|s| auth(s, "535 5.7.8 no")),
            format!("tls = \"none\"\n{LOGIN}"),
            "auth",
            "535 5.7.8 no",
            "`username` and `password`",
        ),
        (
            Box::new(|s| s.on("MAIL", "554 5.2.252 SendAsDenied; app not allowed to send as postmaster")),
            "tls = \"none\"\n".into(),
            "message",
            "MAIL refused: 554 5.2.252",
            "sender = \"username\"",
        ),
        (
            Box::new(|s| s.at_dot("554 Message rejected: Email address is not verified.")),
            "tls = \"none\"\n".into(),
            "message",
            "content refused: 554",
            "verify the address",
        ),
    ];
    for (script, keys, step, detail, remedy) in cases {
        let server = Scripted::start(script);
        let proxy = Proxy::start(&upstream(&server, &keys));
        let (result, code) = tested(&proxy, &["only", "--to", "ann@example.test"]);
        let (failed, why, change) = failure(&result);
        assert_eq!((code, failed.as_str()), (Some(1), step), "{result:#}");
        assert!(why.contains(detail) && change.contains(remedy), "{why}\n{change}");
        let event = eventually("the event", || events(&proxy, "TESTED").pop());
        assert_eq!(event["type"], "Warning", "{event:#}");
        assert!(event["message"].as_str().unwrap().contains(detail), "{event:#}");
        assert!(!result.to_string().contains("s3cret"), "{result:#}");
    }
}

#[test]
fn names_and_addresses_that_lead_nowhere_are_told() {
    let free = crate::support::free_address();
    let config = format!(
        "[upstream.none]\nhost = \"no-such-host.invalid\"\n[upstream.refused]\nhost = \"{free}\"\ntls = \"none\"\n"
    );
    let proxy = Proxy::start(&config);
    let (text, code) = said(&proxy.try_command(&["test", "--all"]));
    assert_eq!(code, Some(1), "{text}");
    let (first, second) = text.split_once("  none does not work").unwrap();
    assert!(
        first.contains("the name cannot be resolved") && first.contains("getent hosts no-such-host.invalid"),
        "{text}"
    );
    assert!(second.contains("Connection refused") && second.contains("nobody listens there"), "{text}");
}

#[test]
fn wrong_usage_and_a_wrong_configuration_have_codes_of_their_own() {
    let server = Scripted::start(|s| s);
    let mut proxy = Proxy::start(&plain(&server, ""));
    let code = |arguments: &[&str]| proxy.try_command(arguments).status.code();
    assert_eq!(code(&["test"]), Some(2));
    assert_eq!(code(&["test", "only", "--all"]), Some(2));
    assert_eq!(code(&["test", "only", "--to", "nobody"]), Some(2));
    assert_eq!(code(&["test", "only", "--from", "a@b.test"]), Some(2));
    let output = proxy.try_command(&["test", "other"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no upstream `other` (only)"));
    assert!(server.sessions().is_empty());
    assert!(proxy.terminate().success());
    proxy.configure("[upstream.only]\nhost = \"127.0.0.1:25\"\ntls = \"perhaps\"\n");
    assert_eq!(proxy.try_command(&["test", "only"]).status.code(), Some(78));
}

#[test]
fn disabled_upstreams_are_tested_and_an_open_circuit_stays_as_it_is() {
    let server = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]).on("AUTH", "535 5.7.8 no"));
    let off = Scripted::start(|s| s);
    let other =
        format!("[upstream.off]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\nenabled = false\n", off.port());
    let proxy = Proxy::start(&(plain(&server, LOGIN) + &other));
    let state = |name: &str| {
        let all = proxy.cli(&["upstream", "list", "--json"]);
        let mut found = all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        // It is told by the wall clock, and kept by the other: to the millisecond it may differ.
        let probe_at = found.as_object_mut().unwrap().remove("probe_at");
        assert_eq!(probe_at.is_some_and(|at| at.is_string()), found["state"] == "open");
        found
    };
    let before = state("only");
    // A failed test is no failed delivery.
    assert_eq!(tested(&proxy, &["only"]).1, Some(1));
    assert_eq!(state("only"), before);
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    let open = eventually("the circuit to open", || Some(state("only")).filter(|one| one["state"] == "open"));
    server.change(|_| Script::default().ehlo(&["AUTH PLAIN"]).on("AUTH", "235 2.7.0 ok"));
    assert_eq!(tested(&proxy, &["only"]).1, Some(0), "an open circuit keeps no test away");
    assert_eq!(state("only"), open);
    assert_eq!(tested(&proxy, &["off", "--to", "ann@example.test"]).1, Some(0));
    assert_eq!(off.wait_for(1).len(), 1);
    assert_eq!(state("off")["state"], "disabled");
}

#[test]
fn what_a_provider_means_stands_in_the_event_and_in_the_listing() {
    let words = "535 5.7.8 Username and Password not accepted. For more information, go to \
                 https://support.google.com/mail/?p=BadCredentials";
    let server = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]).on("AUTH", words));
    let proxy = Proxy::start(&plain(&server, LOGIN));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    let event = eventually("the circuit to open", || events(&proxy, "CIRCUIT_OPEN").pop());
    assert!(
        event["message"].as_str().unwrap().contains("(Gmail: `username` is the whole address"),
        "{event:#}"
    );
    let upstream = &proxy.cli(&["upstream", "list", "--json"])[0];
    assert!(upstream["remedy"].as_str().unwrap().contains("make an app password"), "{upstream:#}");
}

/// Tests with a message to each address; those that it arrived at.
fn arrived(config: &str, addresses: &[&str]) -> Vec<String> {
    let server = Scripted::start(|s| s);
    let mut proxy = Proxy::start(&(config.to_owned() + &plain(&server, "")));
    for alone in [false, true] {
        if alone {
            assert!(proxy.terminate().success());
        }
        for address in addresses {
            let before = server.transactions().len();
            let (result, code) = tested(&proxy, &["only", "--to", address]);
            let sent = server.transactions().len() - before;
            let (expected, step) =
                if sent == 1 { (Some(0), "message ok") } else { (Some(1), "message failed") };
            assert_eq!((code, steps(&result).last().unwrap().as_str()), (expected, step), "{result:#}");
            if sent == 0 {
                assert!(failure(&result).1.starts_with("not sent: "), "{result:#}");
            }
        }
    }
    let received = server.transactions();
    let paths = received.iter().map(|one| one.recipients[0].split('>').next().unwrap()[1..].to_owned());
    let mut paths: Vec<String> = paths.collect();
    let again = paths.split_off(paths.len() / 2);
    assert_eq!(paths, again, "the same without a proxy");
    paths
}

#[test]
fn a_test_message_obeys_modes() {
    let addresses = ["ann@example.test", "QA@example.test", "off@example.test", "dev@dev.test"];
    let redirect = "[redirect]\nenabled = true\nallow = [\"@dev.test\"]\nreport_emails = [\"qa@example.test\", \
                    { email = \"off@example.test\", enabled = false }]\n";
    assert_eq!(arrived(redirect, &addresses), ["QA@example.test", "dev@dev.test"]);
    for mode in ["[debug]\nenabled = true\n", "[simulate]\nenabled = true\n", "[sending]\nenabled = false\n"]
    {
        assert_eq!(arrived(&(redirect.to_owned() + mode), &addresses[..2]), [""; 0], "{mode}");
    }
    // The sites that an upstream is there for decide, and no other.
    let site = "[site.intranet]\nsenders = [\"@intranet.test\"]\n[site.intranet.debug]\nenabled = true\n";
    assert_eq!(arrived(site, &addresses[..1]), addresses[..1]);
    let server = Scripted::start(|s| s);
    let proxy = Proxy::start(&(site.to_owned() + &plain(&server, "sites = [\"intranet\"]\n")));
    let (result, code) = tested(&proxy, &["only", "--to", "ann@example.test"]);
    assert_eq!(code, Some(1));
    assert!(failure(&result).1.contains("mail of site intranet: debug is on"), "{result:#}");
    assert!(server.transactions().is_empty());
}

#[test]
fn the_sender_is_one_that_the_server_may_know() {
    let always = "[sender]\nrewrite = \"always\"\naddress = \"Shop <shop@example.test>\"\n";
    let cases = [
        ("", "", "postmaster@example.test"),
        ("", "from", "me@example.test"),
        (always, "from", "shop@example.test"),
        (always, "sender = \"own@example.test\"\n", "own@example.test"),
    ];
    for (before, keys, expected) in cases {
        let server = Scripted::start(|s| s);
        let (keys, from) = if keys == "from" { ("", true) } else { (keys, false) };
        let config = format!("default_domain = \"example.test\"\n{before}{}", plain(&server, keys));
        let proxy = Proxy::start(&config);
        let from = if from { &["--from", "me@example.test"][..] } else { &[] };
        assert_eq!(tested(&proxy, &[&["only", "--to", "ann@example.test"], from].concat()).1, Some(0));
        assert!(server.wait_for(1)[0].mail.starts_with(&format!("<{expected}>")), "{expected}");
    }
}

#[test]
fn a_pickup_folder_is_tested_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pickup");
    let keys = format!("[upstream.only]\ndelivery = \"pickup\"\npickup_directory = {path:?}\n");
    let mut proxy = Proxy::start(&keys);
    for alone in [false, true] {
        if alone {
            assert!(proxy.terminate().success());
        }
        let (result, code) = tested(&proxy, &["only", "--to", "ann@example.test"]);
        let (step, why, change) = failure(&result);
        assert_eq!((code, step.as_str()), (Some(1), "folder"), "{result:#}");
        assert!(why.contains("create the folder") && change.contains("must be there"), "{why}\n{change}");
        std::fs::create_dir(&path).unwrap();
        let (result, code) = tested(&proxy, &["only", "--to", "ann@example.test"]);
        assert_eq!(
            (code, steps(&result)),
            (Some(0), ["folder ok", "write ok", "message ok"].map(str::to_owned).to_vec())
        );
        let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let text = std::fs::read_to_string(&files[0]).unwrap();
        let head = "x-sender: postmaster@proxy.test\r\nx-receiver: ann@example.test\r\n";
        assert!(text.starts_with(head) && text.contains("Subject: Test message through only\r\n"), "{text}");
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_test_of_a_pickup_folder_makes_a_file_there_and_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    // Any file that is made changes it.
    let long_ago = std::time::UNIX_EPOCH;
    std::fs::File::open(folder.path()).unwrap().set_modified(long_ago).unwrap();
    let config = |path: &std::path::Path| {
        format!("[upstream.only]\ndelivery = \"pickup\"\npickup_directory = {path:?}\n")
    };
    let proxy = Proxy::start(&config(folder.path()));
    let (result, code) = tested(&proxy, &["only"]);
    let made = ["folder ok", "write ok"].map(str::to_owned);
    assert_eq!((code, steps(&result)), (Some(0), made.to_vec()), "{result:#}");
    assert!(std::fs::metadata(folder.path()).unwrap().modified().unwrap() > long_ago, "nothing was made");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // Nobody makes files there; root may, as far as its mode tells.
    let proxy = Proxy::start(&config(std::path::Path::new("/proc")));
    let (result, code) = tested(&proxy, &["only", "--to", "ann@example.test"]);
    let step = if rustix::process::geteuid().is_root() { "write" } else { "folder" };
    assert_eq!((code, failure(&result).0.as_str()), (Some(1), step), "{result:#}");
}

fn takes_tokens(script: Script) -> Script {
    script.ehlo(&["AUTH XOAUTH2"]).on("AUTH", "235 2.7.0 Accepted")
}

#[test]
fn deliveries_and_tests_share_one_token() {
    let tokens = TokenServer::start();
    let server = Scripted::start(takes_tokens);
    let proxy = Proxy::start(&plain(&server, &tokens.keys("first")));
    let (result, code) = tested(&proxy, &["only"]);
    assert_eq!(code, Some(0), "{result:#}");
    assert_eq!(steps(&result)[4..], ["token ok", "auth ok"]);
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    server.wait_for(1);
    assert_eq!(tokens.state().requests.len(), 1);
    assert!(!result.to_string().contains("access-1"), "{result:#}");
}

/// Whoever asked has gone; the refresh token that was replaced meanwhile must not be lost.
#[test]
fn a_test_goes_on_when_nobody_listens_any_more() {
    let tokens = TokenServer::start();
    tokens.state().replaces = true;
    tokens.state().delay = Duration::from_secs(1);
    let server = Scripted::start(takes_tokens);
    let proxy = Proxy::start(&plain(&server, &tokens.keys("first")));
    let child = Ended(spawn(proxy.command_line(&["test", "only"]).stdout(Stdio::null())));
    eventually("the request", || (tokens.state().requests.len() == 1).then_some(()));
    drop(child);
    eventually("the end of the test", || events(&proxy, "TESTED").pop());
    let kept = std::fs::read_to_string(proxy.data_dir().join("tokens.json")).unwrap();
    assert!(kept.contains("refresh-1"), "{kept}");
}

#[test]
fn without_a_proxy_a_replaced_refresh_token_is_kept_for_it() {
    let tokens = TokenServer::start();
    tokens.state().replaces = true;
    tokens.state().refresh_token = "first".to_owned();
    let server = Scripted::start(takes_tokens);
    let mut proxy = Proxy::start(&plain(&server, &tokens.keys("first")));
    assert!(proxy.terminate().success());
    let (result, code) = tested(&proxy, &["only"]);
    assert_eq!(code, Some(0), "{result:#}");
    proxy.start_again();
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    server.wait_for(1);
    assert!(tokens.state().requests[1].contains("refresh_token=refresh-1&"), "not the one that was used up");
    assert!(proxy.terminate().success());

    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("not-there");
    let data_dir = ["--data-dir", nowhere.to_str().unwrap()];
    let output = proxy.try_command(&[&["test", "only"], &data_dir[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("may be replaced and could not be kept"), "{error}");
    assert_eq!(tokens.state().requests.len(), 2, "nothing was asked for");
}
