//! The signature, checked by what others wrote: the examples of docs/webhooks.md in the languages that they are in, and webhook
//! (adnanh/webhook), a receiver that many use.

use super::receiver::{Receiver, SECRET};
use super::{DEBUG, send, wait_until_told};
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::proxy::Proxy;
use crate::support::{Ended, eventually, free_address, spawn};
use std::path::Path;
use std::process::{Command, Stdio};

/// The example of docs/webhooks.md in that language.
fn example(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/webhooks.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("an example");
    rest.split("```").next().unwrap().to_owned()
}

/// What a program says of a signature: secret and signature are its arguments, the body comes on standard input.
fn judged(program: &[&str], source: &Path, body: &str, signature: &str) -> String {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(source).args([SECRET, signature]);
    let output = succeeded(&mut command, body.as_bytes());
    String::from_utf8(output.stdout).unwrap().trim().to_lowercase()
}

#[test]
fn the_examples_take_what_is_signed_and_nothing_else() {
    let receiver = Receiver::start();
    let proxy = Proxy::start(&(DEBUG.to_owned() + &receiver.webhook("ops", "\"delivered\"")));
    send(&proxy, "ann@b.test");
    let request = receiver.wait(1).remove(0);
    let (body, signature) =
        (request["text"].as_str().unwrap(), request["header"]["x-postroom-signature"].as_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let main = [
        (
            "python",
            "python3",
            "hook.py",
            "import sys\nprint(is_from_postroom(sys.argv[1], sys.stdin.buffer.read(), sys.argv[2]))\n",
        ),
        (
            "php",
            "php",
            "hook.php",
            "echo isFromPostroom($argv[1], file_get_contents('php://stdin'), $argv[2]) ? 'true' : 'false';\n",
        ),
        (
            "javascript",
            "node",
            "hook.js",
            "console.log(isFromPostroom(process.argv[2], require('node:fs').readFileSync(0), process.argv[3]));\n",
        ),
        (
            "csharp",
            "mono",
            "hook.cs",
            "class Program { static void Main(string[] a) { var body = new System.IO.MemoryStream(); \
             System.Console.OpenStandardInput().CopyTo(body); \
             System.Console.WriteLine(Postroom.IsFromPostroom(a[0], body.ToArray(), a[1])); } }\n",
        ),
    ];
    for (language, program, name, caller) in main {
        if !have(&[program]) || language == "csharp" && !have(&["mcs"]) {
            continue;
        }
        let mut source = folder.path().join(name);
        std::fs::write(&source, example(language) + caller).unwrap();
        if language == "csharp" {
            let compiled = source.with_extension("exe");
            succeeded(Command::new("mcs").arg(format!("-out:{}", compiled.display())).arg(&source), b"");
            source = compiled;
        }
        let judged = |body: &str, signature: &str| judged(&[program], &source, body, signature);
        assert_eq!(judged(body, signature), "true", "{language}");
        assert_eq!(judged(&body.replace("ann@", "bob@"), signature), "false", "{language}");
        for forged in [
            "",
            "sha256=",
            "sha256=00",
            &signature.replace("sha256=", ""),
            &signature.replace(['a', '1'], "b"),
        ] {
            assert_eq!(judged(body, forged), "false", "{language}: {forged}");
        }
    }
}

/// Its rule `payload-hmac-sha256` is what others verify such signatures with. Of a wrong one it says 500.
#[test]
fn a_receiver_of_other_people_s_verifies_the_signature() {
    if !have(&["webhook"]) {
        return;
    }
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let taken = folder.path().join("taken");
    let hooks = serde_json::json!([{
        "id": "postroom",
        "execute-command": "/usr/bin/tee",
        "command-working-directory": folder.path(),
        "pass-arguments-to-command": [
            { "source": "string", "name": "-a" },
            { "source": "string", "name": taken },
            { "source": "payload", "name": "recipient" },
        ],
        "trigger-rule": { "match": {
            "type": "payload-hmac-sha256",
            "secret": SECRET,
            "parameter": { "source": "header", "name": "X-Postroom-Signature" },
        }},
    }]);
    let file = folder.path().join("hooks.json");
    std::fs::write(&file, hooks.to_string()).unwrap();
    let mut command = Command::new("webhook");
    command.arg("-hooks").arg(&file).args(["-ip", "127.0.0.1", "-port", &address.port().to_string()]);
    let _receiver =
        Ended(spawn(command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null())));
    eventually("it to listen", || std::net::TcpStream::connect(address).ok());
    let config = |secret: &str| {
        format!(
            "{DEBUG}[webhook.ops]\nurl = \"http://{address}/hooks/postroom\"\non = [\"delivered\"]\nsecret = \"{secret}\"\n"
        )
    };
    let proxy = Proxy::start(&config(SECRET));
    send(&proxy, "ann@b.test");
    // tee makes a file of the name that it is given: of the recipient, which stands in the body.
    eventually("its command to run", || folder.path().join("ann@b.test").exists().then_some(()));
    proxy.configure(&config("another"));
    proxy.command(&["reload"]);
    send(&proxy, "bob@b.test");
    wait_until_told(&proxy, "500 Internal Server Error");
    assert!(!folder.path().join("bob@b.test").exists());
}
