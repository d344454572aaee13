//! The programs in pages send the mail that they say. Each is run as it stands, but for the port.

use super::Page;
use crate::foreign::clients::{JAVA_CLASS_PATH, JAVA_MAIL};
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::proxy::{BINARY, Launch};
use crate::support::recorder::Recorder;
use std::path::Path;
use std::process::Command;

/// Writes the page's programs in that language into a folder, runs what `commands` make of them there, and looks what arrives.
#[track_caller]
fn sends(page: &str, language: &str, file: &str, commands: impl FnOnce(&Path) -> Vec<Command>) {
    let page = Page::read(page);
    let recorder = Recorder::start();
    let proxy = page.proxy(recorder.address(), Launch::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = page.blocks_in(language).into_iter().find(|text| text.contains(file));
    let program = program.unwrap_or_else(|| panic!("{} has no {file}", page.name));
    let port = proxy.address().port().to_string();
    assert!(program.contains("2525") || language == "php", "{program}");
    std::fs::write(folder.path().join(file), program.replace("2525", &port)).expect("a folder of our own");
    for ini in page.blocks_in("ini") {
        let ini = ini.replace("2525", &port).replace("/usr/local/bin/postroom", BINARY);
        std::fs::write(folder.path().join("php.ini"), ini).expect("a folder of our own");
    }
    for mut command in commands(folder.path()) {
        succeeded(command.current_dir(&folder), b"");
    }
    let messages = recorder.wait(1);
    let [message] = &messages[..] else { panic!("{messages:#?}") };
    assert_eq!(message.rcpt, ["<ann@example.com>"]);
    let content = String::from_utf8_lossy(&message.content);
    for part in ["\r\nSubject: Your order 4711\r\n", "shop@example.com", "Ann", "it is on its way."] {
        assert!(content.contains(part), "no {part:?} in\n{content}");
    }
}

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]);
    command
}

#[test]
fn python() {
    sends("docs/apps/python.md", "python", "send.py", |_| vec![command(&["python3", "send.py"])]);
}

#[test]
fn node() {
    if have(&["node", "/usr/share/nodejs/nodemailer"]) {
        sends("docs/apps/node.md", "js", "send.js", |_| {
            let mut node = command(&["node", "send.js"]);
            node.env("NODE_PATH", "/usr/share/nodejs");
            vec![node]
        });
    }
}

#[test]
fn go() {
    if have(&["go"]) {
        sends("docs/apps/go.md", "go", "send.go", |folder| {
            let mut build = command(&["go", "build", "-o", "send", "send.go"]);
            build.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
            vec![build, Command::new(folder.join("send"))]
        });
    }
}

#[test]
fn java() {
    if have(&["javac", "java", JAVA_MAIL]) {
        let path = format!("{JAVA_CLASS_PATH}:.");
        sends("docs/apps/java.md", "java", "Send.java", |_| {
            vec![command(&["javac", "-cp", &path, "Send.java"]), command(&["java", "-cp", &path, "Send"])]
        });
    }
}

#[test]
fn dotnet() {
    if have(&["mcs", "mono"]) {
        sends("docs/apps/dotnet.md", "csharp", "send.cs", |_| {
            let compile = command(&["mcs", "-nowarn:618", "-r:System.dll", "-out:send.exe", "send.cs"]);
            vec![compile, command(&["mono", "send.exe"])]
        });
    }
}

#[test]
fn php_mail() {
    if have(&["php"]) {
        sends("docs/apps/wordpress-php.md", "php", "mail.php", |_| {
            vec![command(&["php", "-c", "php.ini", "mail.php"])]
        });
    }
}

/// The hook that the plugin adds is called as WordPress calls it.
#[test]
fn wordpress_plugin() {
    let autoload = "/usr/share/php/libphp-phpmailer/autoload.php";
    if have(&["php", autoload]) {
        let wordpress = format!(
            "require '{autoload}';
            function add_action($name, $hook) {{ if ($name === 'phpmailer_init') $GLOBALS['hook'] = $hook; }}
            require 'postroom.php';
            $mail = new PHPMailer\\PHPMailer\\PHPMailer(true);
            $mail->isMail();
            $mail->setFrom('shop@example.com', 'Shop');
            $mail->addAddress('ann@example.com', 'Ann');
            $mail->Subject = 'Your order 4711';
            $mail->Body = 'it is on its way.';
            $hook($mail);
            $mail->send();"
        );
        sends("docs/apps/wordpress-php.md", "php", "postroom.php", |_| {
            vec![command(&["php", "-r", &wordpress])]
        });
    }
}
