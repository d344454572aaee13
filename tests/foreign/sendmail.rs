//! Programs that call `sendmail`, each told of ours in its own way: the mail passes through the running proxy.

use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::proxy::{BINARY, Proxy};
use crate::support::recorder::{Recorded, Recorder};
use std::os::unix::fs::symlink;
use std::process::Command;

/// A proxy in front of a recorder, and a folder with a `sendmail` in it.
struct Stage {
    proxy: Proxy,
    recorder: Recorder,
    folder: tempfile::TempDir,
}

impl Stage {
    fn start() -> Stage {
        let recorder = Recorder::start();
        let names = "default_domain = \"here.test\"\n[aliases]\nroot = \"admin@x.test\"\n";
        let proxy = Proxy::start(&format!("{names}{}", recorder.upstream("recorder")));
        let folder = tempfile::tempdir().expect("a temporary folder");
        symlink(BINARY, folder.path().join("sendmail")).expect("a folder of our own");
        Stage { proxy, recorder, folder }
    }

    /// The path of `sendmail`.
    fn sendmail(&self) -> String {
        self.file("sendmail")
    }

    /// A path in the folder.
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The program, which finds neither settings of ours nor of anybody else.
    fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(name);
        command.args(arguments).current_dir(&self.folder).env("HOME", self.folder.path());
        command.env("POSTROOM_SENDMAIL", self.proxy.address().to_string()).env("LC_ALL", "C.UTF-8");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("MAILRC", "/dev/null").env_remove("DEAD");
        command
    }

    #[track_caller]
    fn arrived(&self) -> (Recorded, String) {
        let messages = self.recorder.wait(1);
        let [message] = &messages[..] else { panic!("{messages:#?}") };
        (message.clone(), String::from_utf8_lossy(&message.content).into_owned())
    }
}

/// The command line of Debian's cron, and a header as it writes it.
#[test]
fn cron() {
    let stage = Stage::start();
    let line = format!("{} -FCronDaemon -i -B8BITMIME -oem root", stage.sendmail());
    let message = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@here> echo .\nMIME-Version: 1.0\n\
                   Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\
                   X-Cron-Env: <LOGNAME=root>\n\n.\nü\n";
    succeeded(&mut stage.program("sh", &["-c", &line]), message.as_bytes());
    let (message, content) = stage.arrived();
    assert_eq!(message.rcpt, ["<admin@x.test>"]);
    assert!(message.mail.contains("@here.test>") && message.mail.contains("BODY=8BITMIME"), "{message:?}");
    assert!(
        content.contains("From: root (Cron Daemon)\r\n") && content.ends_with("\r\n\r\n.\r\nü\r\n"),
        "{content}"
    );
    assert_eq!(content.matches("From: ").count(), 1, "{content}");
}

#[test]
fn php_mail() {
    if !have(&["php"]) {
        return;
    }
    let stage = Stage::start();
    let script = r#"
        $header = ["From" => "Shop <shop@x.test>", "Cc" => "c@x.test", "Bcc" => "b@x.test"];
        exit(mail("Ann <a@x.test>", "Your order", "Hello,\n.\nit is on its way.\n", $header, "-fbounce@x.test") ? 0 : 1);"#;
    let path = format!("sendmail_path={} -t -i", stage.sendmail());
    succeeded(&mut stage.program("php", &["-d", &path, "-r", script]), b"");
    let (message, content) = stage.arrived();
    assert!(message.mail.starts_with("<bounce@x.test>"), "{message:?}");
    let mut rcpt = message.rcpt.clone();
    rcpt.sort();
    assert_eq!(rcpt, ["<a@x.test>", "<b@x.test>", "<c@x.test>"]);
    assert!(content.contains("Subject: Your order\r\n") && !content.contains("b@x.test"), "{content}");
    assert!(content.trim_end().ends_with("\r\n\r\nHello,\r\n.\r\nit is on its way."), "{content}");
}

#[test]
fn php_mail_hears_of_a_refusal() {
    if !have(&["php"]) {
        return;
    }
    let stage = Stage::start();
    let path = format!("sendmail_path={} -t -i", stage.sendmail());
    let script = r#"exit(mail("not an address", "s", "b") ? 0 : 7);"#;
    let output = stage.program("php", &["-d", &path, "-r", script]).output().expect("php");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(stage.recorder.messages().is_empty());
}

#[test]
fn mail_of_bsd_mailx() {
    if !have(&["bsd-mailx"]) {
        return;
    }
    let stage = Stage::start();
    std::fs::write(stage.file("mailrc"), format!("set sendmail={}\n", stage.sendmail())).expect("a folder");
    let arguments = ["-s", "from mailx", "-c", "c@x.test", "-b", "b@x.test", "root"];
    let mut command = stage.program("bsd-mailx", &arguments);
    succeeded(command.env("MAILRC", stage.file("mailrc")), b"hello\n");
    let (message, content) = stage.arrived();
    let mut rcpt = message.rcpt.clone();
    rcpt.sort();
    assert_eq!(rcpt, ["<admin@x.test>", "<b@x.test>", "<c@x.test>"]);
    assert!(content.contains("Subject: from mailx\r\n") && content.ends_with("hello\r\n"), "{content}");
    assert!(!content.contains("b@x.test"), "{content}");
}

#[test]
fn mail_of_s_nail() {
    if !have(&["s-nail"]) {
        return;
    }
    let stage = Stage::start();
    let mta = format!("mta={}", stage.sendmail());
    let arguments = ["-S", &mta, "-r", "a@x.test", "-s", "from s-nail ü", "-b", "b@x.test", "c@x.test"];
    succeeded(&mut stage.program("s-nail", &arguments), b"hello\n.\nend\n");
    let (message, content) = stage.arrived();
    assert!(message.mail.starts_with("<a@x.test>"), "{message:?}");
    let mut rcpt = message.rcpt.clone();
    rcpt.sort();
    assert_eq!(rcpt, ["<b@x.test>", "<c@x.test>"]);
    assert!(content.contains("end\r\n") && !content.contains("b@x.test"), "{content}");
}

#[test]
fn mutt() {
    if !have(&["mutt"]) {
        return;
    }
    let stage = Stage::start();
    let sendmail = format!("set sendmail=\"{} -oem -oi\"", stage.sendmail());
    let more = "set copy=no from=a@x.test use_envelope_from=yes dsn_notify='failure,delay' dsn_return=hdrs send_charset=utf-8";
    let arguments = ["-n", "-F", "/dev/null", "-e", &sendmail, "-e", more, "-s", "from mutt ✓"];
    let recipients = ["-b", "b@x.test", "-c", "c@x.test", "--", "Ann <ann@x.test>"];
    succeeded(&mut stage.program("mutt", &[&arguments[..], &recipients].concat()), "Grüße\n.\n".as_bytes());
    let (message, content) = stage.arrived();
    assert!(message.mail.starts_with("<a@x.test>"), "{message:?}");
    let mut rcpt = message.rcpt.clone();
    rcpt.sort();
    assert_eq!(rcpt, ["<ann@x.test>", "<b@x.test>", "<c@x.test>"]);
    assert!(content.contains("Subject: from mutt =?") && content.contains("Grüße\r\n.\r\n"), "{content}");
    assert!(!content.contains("b@x.test"), "{content}");
}

#[test]
fn git_send_email() {
    if !have(&["/usr/bin/git", "/usr/lib/git-core/git-send-email", "/usr/share/perl5/Mail/Address.pm"]) {
        return;
    }
    let stage = Stage::start();
    let patch = "From 1234567890123456789012345678901234567890 Mon Sep 17 00:00:00 2001\nFrom: Ann <a@x.test>\n\
                 Date: Sat, 21 Nov 2026 12:00:00 +0000\nSubject: [PATCH] Fix it\n\nSigned-off-by: Ann <a@x.test>\n---\n \
                 f | 1 +\n\ndiff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n a\n+.\n-- \n2.39.5\n";
    std::fs::write(stage.file("0001.patch"), patch).expect("a folder of our own");
    std::fs::write(stage.file(".gitconfig"), "[user]\nname = Ann\nemail = a@x.test\n")
        .expect("a folder of our own");
    let command = format!("--sendmail-cmd={}", stage.sendmail());
    let arguments = [
        "send-email",
        &command,
        "--confirm=never",
        "--from=Ann <a@x.test>",
        "--envelope-sender=bounce@x.test",
        "--to=List <list@x.test>",
        "--cc=c@x.test",
        "--bcc=b@x.test",
        "--suppress-cc=all",
        "0001.patch",
    ];
    succeeded(&mut stage.program("/usr/bin/git", &arguments), b"");
    let (message, content) = stage.arrived();
    assert!(message.mail.starts_with("<bounce@x.test>"), "{message:?}");
    let mut rcpt = message.rcpt.clone();
    rcpt.sort();
    assert_eq!(rcpt, ["<b@x.test>", "<c@x.test>", "<list@x.test>"]);
    assert!(
        content.contains("Subject: [PATCH] Fix it\r\n") && content.contains("\r\n+.\r\n-- \r\n"),
        "{content}"
    );
    assert!(!content.contains("b@x.test"), "{content}");
}
