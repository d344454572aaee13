//! Real programs that send mail: swaks, smtp-source, Python's smtplib, curl. Each panics, with what the program said,
//! unless the mail was accepted.

use super::{postfix_tool, spawn};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

/// An envelope for the clients.
pub struct Envelope<'a> {
    /// For MAIL; empty = the null reverse-path.
    pub from: &'a str,
    /// For RCPT.
    pub to: &'a [&'a str],
}

/// swaks with further `arguments`, the content given byte for byte.
#[track_caller]
pub fn swaks(server: SocketAddr, envelope: &Envelope<'_>, content: &[u8], arguments: &[&str]) {
    // Without its fix-ups swaks sends what it is given, so that we do the dots.
    let mut stuffed = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".");
    let file = written(&stuffed);
    let from = if envelope.from.is_empty() { "<>" } else { envelope.from };
    let mut command = Command::new("swaks");
    command.args(["--server", &server.ip().to_string(), "--port", &server.port().to_string()]);
    command.args(["--from", from, "--to", &envelope.to.join(","), "--no-data-fixup"]);
    command.arg("--data").arg(format!("@{}", file.path().display())).args(arguments);
    succeeded(&mut command, b"");
}

/// smtp-source, which makes its own messages: `arguments` say how many, of what length, from and to whom.
#[track_caller]
pub fn smtp_source(server: SocketAddr, arguments: &[&str]) {
    succeeded(Command::new(postfix_tool("smtp-source")).args(arguments).arg(server.to_string()), b"");
}

/// smtp-source with a message from a file: `-F` sends it with CRLF at each line end and dots doubled. Returns what it
/// sends, which is the content and an empty line that it always adds.
#[track_caller]
pub fn smtp_source_file(server: SocketAddr, envelope: &Envelope<'_>, content: &[u8]) -> Vec<u8> {
    let unix: Vec<u8> = content.iter().copied().filter(|byte| *byte != b'\r').collect();
    let file = written(&unix);
    let path = file.path().to_str().expect("a path of our own");
    smtp_source(server, &["-f", envelope.from, "-t", envelope.to[0], "-F", path]);
    [content, b"\r\n"].concat()
}

/// Python's smtplib; `options` of MAIL such as `SMTPUTF8` and `BODY=8BITMIME`.
#[track_caller]
pub fn smtplib(server: SocketAddr, envelope: &Envelope<'_>, content: &[u8], options: &[&str]) {
    const SCRIPT: &str = "\
import smtplib, sys
host, port, sender, to, options = sys.argv[1:6]
with smtplib.SMTP(host, int(port), local_hostname='client.test', timeout=60) as client:
    client.ehlo()
    client.command_encoding = 'utf-8'
    refused = client.sendmail(sender, to.split('\\n'), sys.stdin.buffer.read(), options.split())
    assert not refused, refused
";
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, &server.ip().to_string(), &server.port().to_string()]);
    command.args([envelope.from, &envelope.to.join("\n"), &options.join(" ")]);
    succeeded(&mut command, content);
}

/// curl.
#[track_caller]
pub fn curl_smtp(server: SocketAddr, envelope: &Envelope<'_>, content: &[u8]) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--upload-file", "-"]);
    command.args(["--mail-from", envelope.from]);
    for to in envelope.to {
        command.args(["--mail-rcpt", to]);
    }
    command.arg(format!("smtp://{server}/client.test"));
    succeeded(&mut command, content);
}

/// Runs the program with `input` and returns what it said. Panics unless it succeeds.
#[track_caller]
pub fn succeeded(command: &mut Command, input: &[u8]) -> Output {
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdin = child.stdin.take().expect("it was piped");
    let output = std::thread::scope(|scope| {
        // A program that ends before it has read everything says so itself.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("its output")
    });
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn written(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content).expect("room for a temporary file");
    file
}
