//! What a file becomes: its envelope, its content, its site and class.

use super::{OFF, events, file, pickup, queued, rename_in, wait_until_gone};
use crate::deliver::pickup_folder;
use crate::support::clients::succeeded;
use crate::support::eventually;
use crate::support::foreign::{compiled, have};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::process::Command;

#[test]
fn a_file_that_is_closed_or_renamed_to_there_is_sent_with_its_envelope_and_removed() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let recorder = Recorder::start();
    let proxy = Proxy::start(&(pickup("web1", &folder) + &recorder.upstream("only")));
    let content =
        "From: shop@a.test\r\nTo: ann@b.test\r\nDate: d\r\nMessage-ID: <1@a.test>\r\n\r\n.dot\r\nx\r\n";
    std::fs::write(folder.join("a.eml"), file(&["ann@b.test", "secret@c.test"], content)).unwrap();
    rename_in(&folder, "b.EML", file(&["bob@b.test"], content).as_bytes());
    let all = recorder.wait(2);
    let of = |recipient: &str| all.iter().find(|one| one.rcpt.contains(&format!("<{recipient}>"))).unwrap();
    let first = of("ann@b.test");
    assert!(first.mail.starts_with("<shop@a.test>"), "{first:?}");
    assert_eq!(first.rcpt, ["<ann@b.test>", "<secret@c.test>"]);
    let text = String::from_utf8(first.content.clone()).unwrap();
    assert!(
        text.starts_with("Received: by proxy.test (Postroom ") && text.ends_with(&format!("\r\n{content}")),
        "{text}"
    );
    assert!(!text.to_ascii_lowercase().contains("x-receiver"), "{text}");
    assert_eq!(of("bob@b.test").rcpt.len(), 1);
    for name in ["a.eml", "b.EML"] {
        wait_until_gone(&folder.join(name));
    }
    let told = events(&proxy, "QUEUED");
    assert!(told.len() == 2 && told.iter().all(|text| text.contains("by pickup.web1")), "{told:?}");
}

/// Lines end with a bare LF, as on Unix; nobody has to write an envelope.
#[test]
fn without_an_envelope_the_header_says_who_it_is_from_and_for() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let keys = "[aliases]\nroot = \"ops@own.test\"\n";
    let _proxy = Proxy::start(&(pickup("web1", folder.path()) + &recorder.upstream("only") + keys));
    let content = "Sender: robot@a.test\nFrom: Shop <shop@a.test>\nTo: \"A, B\" <ann@b.test>, root\nBcc: bob@b.test\n\nline\n";
    std::fs::write(folder.path().join("a.eml"), content).unwrap();
    let message = recorder.wait(1).remove(0);
    assert!(message.mail.starts_with("<robot@a.test>"), "{message:?}");
    assert_eq!(message.rcpt, ["<ann@b.test>", "<ops@own.test>", "<bob@b.test>"]);
    let text = String::from_utf8(message.content).unwrap();
    assert!(text.ends_with("\r\n\r\nline\r\n") && !text.contains("Bcc"), "{text}");
}

/// As listeners have them; and the modes of the site hold.
#[test]
fn site_class_and_modes_hold_as_for_listeners() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recorder = Recorder::start();
    let config = format!(
        "{}site = \"intranet\"\nclass = \"urgent\"\n{}[site.intranet]\n[site.shop]\nsenders = [\"@a.test\"]\n\
         [site.intranet.redirect]\nenabled = true\nreport_emails = [\"qa@report.test\"]\n[site.shop.sending]\nenabled = false\n{}",
        pickup("web1", first.path()),
        pickup("web2", second.path()),
        recorder.upstream("only")
    );
    let proxy = Proxy::start(&config);
    let content = "Precedence: bulk\r\nFrom: shop@a.test\r\n\r\nx\r\n";
    for folder in [&first, &second] {
        std::fs::write(folder.path().join("a.eml"), file(&["ann@b.test"], content)).unwrap();
    }
    assert_eq!(recorder.wait(1)[0].rcpt, ["<qa@report.test>"]);
    let waits = queued(&proxy, 1).remove(0);
    assert_eq!((waits["site"].as_str(), waits["class"].as_str()), (Some("shop"), Some("bulk")), "{waits}");
}

#[test]
fn the_folder_of_another_postroom_brings_envelopes_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let _second = Proxy::start(&(pickup("first", folder.path()) + &recorder.upstream("only")));
    let first = Proxy::start(&pickup_folder::upstream("second", folder.path()));
    let mut talk = Talk::hello(first.address());
    for (mail, rcpt) in [
        ("<>", &["<ann@b.test>"][..]),
        ("<shop@a.test>", &["<ann@b.test>", "<secret@c.test>", "<\"a b\"@c.test>"]),
        ("<\u{fc}@a.test> SMTPUTF8", &["<\u{65e5}\u{672c}@b.test>"]),
    ] {
        talk.begin_data(mail, rcpt);
        talk.send("X-Receiver: no@c.test\r\nBcc: secret@c.test\r\nSubject: s\r\n\r\n..x\r\n.\r\n");
        talk.hear("250");
        let all = recorder.messages().len();
        let message = recorder.wait(all + 1).pop().unwrap();
        let path = mail.split(' ').next().unwrap();
        assert!(message.mail.starts_with(path) && message.rcpt == rcpt, "{message:?}");
        let text = String::from_utf8(message.content).unwrap();
        assert_eq!(text.matches("Received: ").count(), 2, "{text}");
        assert!(
            text.contains("X-Original-X-Receiver: no@c.test\r\nSubject: s\r\n")
                && text.ends_with("\r\n\r\n.x\r\n"),
            "{text}"
        );
    }
    eventually("the folder to be empty", || pickup_folder::names(folder.path()).is_empty().then_some(()));
}

/// A folder may be a way in and, by another proxy, the way back: what has been here before stays.
#[test]
fn what_comes_round_again_is_refused() {
    let (there, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first =
        Proxy::start(&(pickup("back", back.path()) + &pickup_folder::upstream("there", there.path())));
    let _second =
        Proxy::start(&(pickup("there", there.path()) + &pickup_folder::upstream("back", back.path())));
    assert!(Talk::hello(first.address()).mail("b@b.test", 100).starts_with("250"));
    eventually("the loop to be seen", || {
        events(&first, "REFUSED").pop().filter(|text| text.contains("been here before"))
    });
    assert_eq!(pickup_folder::names(&back.path().join("badmail")).len(), 2);
}

/// Mono's System.Net.Mail, which writes no envelope (as .NET does), so that To and Cc are read.
#[test]
fn system_net_mail_drops_files() {
    if !have(&["mcs", "mono"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let proxy = Proxy::start(&(pickup("web1", folder.path()) + &recorder.upstream("only")));
    let program = compiled("pickup.cs", |source, product| {
        let mut command = Command::new("mcs");
        command.arg(format!("-out:{}", product.display())).arg("-r:System.dll").arg(source);
        command
    });
    succeeded(Command::new("mono").arg(program).arg(folder.path()), b"");
    let mut all = recorder.wait(2);
    all.sort_by_key(|message| message.rcpt.len());
    assert_eq!(all[0].rcpt, ["<bob@upstream.test>"]);
    assert_eq!(all[1].rcpt, ["<bob@upstream.test>", "<eve@upstream.test>", "<carol@upstream.test>"]);
    for message in &all {
        assert!(message.mail.starts_with("<ann@client.test>"), "{message:?}");
    }
    let text = String::from_utf8(all.remove(0).content).unwrap();
    println!("{text}");
    assert!(text.contains("the order is on its way."), "{text}");
    assert!(events(&proxy, "REFUSED").is_empty());
    eventually("the folder to be empty", || pickup_folder::names(folder.path()).is_empty().then_some(()));
}

/// `--json` and `queue show` say where it came from.
#[test]
fn the_listing_says_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&(pickup("web1", folder.path()) + OFF));
    std::fs::write(folder.path().join("a.eml"), file(&["ann@b.test"], "Subject: s\r\n\r\nx\r\n")).unwrap();
    let message = queued(&proxy, 1).remove(0);
    assert_eq!(
        (message["listener"].as_str(), message["state"].as_str()),
        (Some("pickup.web1"), Some("queued"))
    );
}
