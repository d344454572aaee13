//! Starting where something is in the way: a message that says what to do, the right exit code, nothing damaged.

use crate::support::proxy::{Launch, Proxy, postroom};
use crate::support::recorder::Recorder;
use crate::support::scripted::Scripted;
use crate::support::{clients, eventually, free_address};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs `postroom serve` with that file until it ends.
fn serve(config: &Path) -> Output {
    postroom().arg("serve").arg("--config").arg(config).output().expect("the built binary")
}

/// What it said, after it ended with that code.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn config(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("postroom.toml");
    let listener = format!("[listener.test]\naddress = \"{}\"\n", free_address());
    let listener = if text.contains("[listener.") { String::new() } else { listener };
    std::fs::write(&file, format!("hostname = \"proxy.test\"\n{text}\n{listener}")).unwrap();
    file
}

// CASES G1
#[test]
fn a_wrong_configuration_is_told_whole_with_78_and_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(
        folder.path(),
        "[limits]\nmessage_sise = \"1MiB\"\nrecipients = \"many\"\ncommand_timeout = \"5 parsecs\"\n\
         [upstream.a]\nhost = \"a b\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"hunter-4711\"\npasword = \"hunter-4712\"\n\
         [listener.x]\naddress = \"localhost\"\n",
    );
    for verb in ["serve", "check"] {
        let output = postroom().arg(verb).arg("--config").arg(&file).output().unwrap();
        let said = said(&output, 78);
        for (key, line) in [
            ("limits.message_sise", 3),
            ("limits.recipients", 4),
            ("limits.command_timeout", 5),
            ("upstream.a.host", 7),
            ("upstream.a.pasword", 11),
            ("listener.x.address", 13),
        ] {
            let place = format!("{}:{line}", file.display());
            assert!(
                said.lines().any(|text| text.contains(key) && text.contains(&place)),
                "{key} at {place} in\n{said}"
            );
        }
        assert!(said.contains("message_size") && said.contains("\"5m\""), "{said}");
        assert!(!said.contains("hunter"), "{said}");
    }
}

// CASES G2, G3, G5
#[test]
fn what_would_loop_be_ambiguous_or_open_to_the_world_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    for (text, words) in [
        (
            "[upstream.one]\nhost = \"a.test\"\npriority = \"default\"\n[upstream.two]\nhost = \"b.test\"\npriority = \"default\"\n"
                .to_owned(),
            ["one", "two"],
        ),
        (
            format!("[listener.door]\naddress = \"{address}\"\n[upstream.loop]\nhost = \"localhost:{}\"\n", address.port()),
            ["upstream.loop.host", "listener door"],
        ),
        (
            format!("[listener.door]\naddress = \"0.0.0.0:{}\"\nallow = [\"0.0.0.0/0\"]\n", address.port()),
            ["listener.door.allow", "danger_open_relay"],
        ),
    ] {
        let said = said(&serve(&config(folder.path(), &text)), 78);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!folder.path().join("var").exists(), "nothing is made by a start that is refused");
    }
}

// CASES G8
#[test]
fn a_password_of_digits_from_the_environment_is_what_the_upstream_gets() {
    let server = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]));
    let upstream = format!(
        "[upstream.a]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\nauth = \"basic\"\nusername = \"u\"\n",
        server.port()
    );
    let proxy = Proxy::start_in(&[("POSTROOM_UPSTREAM__A__PASSWORD", "0123456")], &upstream);
    let envelope = clients::Envelope { from: "a@a.test", to: &["b@b.test"] };
    clients::smtplib(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &[]);
    server.wait_for(1);
    assert_eq!(server.sessions()[0].commands[1], "AUTH PLAIN AHUAMDEyMzQ1Ng==");
}

/// As a user who is nobody: `program` and its arguments. A user who is not root stays who they are.
fn unprivileged(folder: &Path) -> Command {
    // The folder of the build may be closed to others.
    let binary = folder.join("postroom");
    std::fs::copy(env!("CARGO_BIN_EXE_postroom"), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let clean = postroom();
    let mut command = match rustix::process::geteuid().is_root() {
        false => Command::new(&binary),
        true => {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ]);
            command.arg(&binary);
            command
        }
    };
    for (name, _) in clean.get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command
}

// CASES G6
#[test]
fn who_may_not_have_port_25_is_told_three_ways_out() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u32>().unwrap() <= 25 {
        println!("not shown: on this machine everybody may listen on port 25");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let text = format!("data_dir = \"{}\"\n[listener.local]\naddress = \"127.0.0.1:25\"\n", data.display());
    let file = config(folder.path(), &text);
    let output =
        unprivileged(folder.path()).arg("serve").arg("--config").arg(file).output().expect("setpriv");
    let said = said(&output, 1);
    for word in ["listener.local.address", "127.0.0.1:25", "setcap", "systemd socket", "2525"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

// CASES G10
#[test]
fn a_data_dir_that_cannot_be_made_or_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::write(folder.path().join("file"), "I am no folder").unwrap();
    for data_dir in ["closed/below", "closed", "file", "file/below"] {
        let file = config(folder.path(), &format!("data_dir = \"{data_dir}\"\n"));
        let output =
            unprivileged(folder.path()).arg("serve").arg("--config").arg(file).output().expect("setpriv");
        let said = said(&output, 1);
        assert!(said.contains(&format!("/{data_dir}")), "{data_dir}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), "I am no folder");
}

// CASES G10
#[test]
fn a_data_dir_that_is_missing_is_made_with_its_parents_for_the_owner_alone() {
    let recorder = Recorder::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/b/c");
    let text = format!("data_dir = \"{}\"\n{}", data.display(), recorder.upstream("only"));
    let file = config(folder.path(), &text);
    let serve = postroom()
        .arg("serve")
        .arg("--config")
        .arg(file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _ended = crate::support::Ended(serve);
    eventually("the queue file", || data.join("queue.redb").exists().then_some(()));
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

// CASES G10, E9
#[test]
fn a_queue_file_that_is_no_queue_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "data_dir = \"data\"\n");
    let queue = folder.path().join("data/queue.redb");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    for content in [&b""[..], b"not a queue at all", &[0; 100_000]] {
        std::fs::write(&queue, content).unwrap();
        let said = said(&serve(&file), 1);
        assert!(said.contains("queue.redb") && !said.contains("panicked"), "{said}");
        assert_eq!(std::fs::read(&queue).unwrap(), content);
    }
}

/// RUST_LOG is stronger than the file, our own variable stronger than both.
#[test]
fn the_log_is_as_loud_as_the_configuration_says() {
    let said = |launch: Launch| {
        let mut proxy = Proxy::start_with("[log]\nlevel = \"error\"\n", launch);
        assert_eq!(proxy.terminate().code(), Some(0));
        proxy.refused().1
    };
    let loud = Launch::default().variable("RUST_LOG", "info");
    assert!(said(loud.clone()).contains("listener "));
    assert_eq!(said(Launch::default()), "");
    assert_eq!(said(loud.variable("POSTROOM_LOG__LEVEL", "error")), "");
}

/// It made `./var` where somebody happened to stand and said nothing.
#[test]
fn a_start_without_a_configuration_says_so_and_where_its_data_is() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |more: &[(&str, &str)]| {
        let mut command = postroom();
        command.arg("serve").current_dir(folder.path()).env("POSTROOM_HOSTNAME", "proxy.test");
        command.env("POSTROOM_LISTENER__LOCAL__ADDRESS", "192.0.2.1:25").envs(more.iter().copied());
        // The address is nobody's, so it ends by itself.
        said(&command.output().unwrap(), 1)
    };
    let said = serve(&[]);
    let line = said.lines().find(|line| line.contains("no configuration file was found")).expect(&said);
    assert!(line.contains("/etc/postroom/postroom.toml") && line.contains("$POSTROOM_CONFIG"), "{line}");
    assert!(line.ends_with(&format!("data_dir is {}", folder.path().join("var").display())), "{line}");
    let elsewhere = folder.path().join("elsewhere");
    let said = serve(&[("POSTROOM_DATA_DIR", elsewhere.to_str().unwrap())]);
    assert!(said.contains(&format!("data_dir is {}", elsewhere.display())), "{said}");
    let file = folder.path().join("named.toml");
    std::fs::write(&file, "data_dir = \"data\"\n").unwrap();
    assert!(!serve(&[("POSTROOM_CONFIG", file.to_str().unwrap())]).contains("no configuration file"));
}
