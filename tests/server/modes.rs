//! Modes and what goes wrong with them: nobody to report to, report addresses that are refused, modes and sites that change
//! while mail waits (rules 2 and 6).

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use serde_json::Value;

const QUICK: &str = "[queue]\nretry = [\"50ms\"]\n";
const SHOP: &str = "[site.shop]\nsenders = [\"@shop.test\"]\n";
const STORE: &str = "[site.store]\nsenders = [\"@shop.test\"]\n";
const OFF: &str = "[sending]\nenabled = false\n";

fn redirect(more: &str) -> String {
    format!("[redirect]\nenabled = true\n{more}\n")
}

fn only(server: &Scripted) -> String {
    format!("[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n", server.port())
}

/// Sends a message; its queue id.
#[track_caller]
fn mail(proxy: &Proxy, from: &str, to: &[&str]) -> String {
    let mut talk = Talk::hello(proxy.address());
    let to: Vec<String> = to.iter().map(|one| format!("<{one}>")).collect();
    talk.begin_data(&format!("<{from}>"), &to.iter().map(String::as_str).collect::<Vec<_>>());
    talk.send("From: a@shop.test\r\nSubject: s\r\n\r\nx\r\n.\r\n");
    talk.hear("250").rsplit(' ').next().unwrap().to_owned()
}

#[track_caller]
fn reload(proxy: &Proxy, config: &str) {
    proxy.configure(config);
    proxy.command(&["reload"]);
}

fn show(proxy: &Proxy, id: &str) -> Option<Value> {
    proxy.get(&format!("/api/v1/messages/{id}"))
}

/// The message as soon as that is so.
#[track_caller]
fn when(proxy: &Proxy, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually("the message to be so", || show(proxy, id).filter(&is_so))
}

/// The message once that alone holds it.
#[track_caller]
fn held(proxy: &Proxy, id: &str, because: &str) -> Value {
    when(proxy, id, |message| {
        message["state"] == "held" && message["held_because"] == serde_json::json!([because])
    })
}

#[track_caller]
fn release(proxy: &Proxy, id: &str) {
    let confirmed = proxy.try_command(&["queue", "release", id, "--yes"]);
    if !confirmed.status.success() {
        proxy.command(&["queue", "release", id]);
    }
}

/// Waits until it is delivered and gone.
#[track_caller]
fn gone(proxy: &Proxy, id: &str) {
    let is_over = |message: Value| message["state"] == "sent";
    eventually("the message to be gone", || show(proxy, id).is_none_or(is_over).then_some(()));
}

/// Its recipients: role, address and state.
fn recipients(message: &Value) -> Vec<String> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let of = |one: &Value| [text(one, "role"), text(one, "address"), text(one, "state")].join(" ");
    message["recipients"].as_array().unwrap().iter().map(of).collect()
}

fn events(proxy: &Proxy, id: &str) -> Vec<(String, String)> {
    let all = proxy.cli(&["events", "--json", "--limit", "1000"]);
    let own = all.as_array().unwrap().iter().filter(|event| event["queue_id"] == id);
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    own.map(|event| (text(event, "code"), text(event, "message"))).collect()
}

fn rcpts(server: &Scripted) -> Vec<String> {
    let sessions = server.sessions();
    let commands = sessions.iter().flat_map(|session| session.commands.iter());
    commands.filter_map(|command| command.strip_prefix("RCPT TO:")).map(str::to_owned).collect()
}

// CASES G4
#[test]
fn redirect_with_nobody_enabled_starts_says_so_holds_and_goes_on_with_the_first_who_is() {
    let recorder = Recorder::start();
    let to = |list: &str| recorder.upstream("only") + &redirect(&format!("report_emails = [{list}]"));
    let proxy = Proxy::start(&to("{ email = \"qa@r.test\", enabled = false }"));
    proxy.wait_until_said("nobody is enabled");
    let check = proxy.command(&["check"]);
    let said = [check.stdout, check.stderr].concat();
    assert!(
        String::from_utf8_lossy(&said).contains("nobody is enabled"),
        "{}",
        String::from_utf8_lossy(&said)
    );
    let id = mail(&proxy, "a@shop.test", &["b@b.test", "c@b.test"]);
    held(&proxy, &id, "nobody_to_report_to");
    let told = events(&proxy, &id);
    assert!(told.iter().any(|(code, text)| code == "HELD" && text.contains("no report address")), "{told:?}");
    // Neither a restart nor a retry lets it go.
    drop(proxy.command(&["queue", "retry", &id]));
    let mut proxy = proxy;
    proxy.kill();
    proxy.start_again();
    held(&proxy, &id, "nobody_to_report_to");
    reload(&proxy, &to("\"qa@r.test\""));
    gone(&proxy, &id);
    let taken = recorder.messages();
    assert_eq!(taken.iter().map(|one| one.rcpt.clone()).collect::<Vec<_>>(), [["<qa@r.test>"]]);
}

// CASES H11
#[test]
fn redirected_mail_that_waits_is_held_when_redirect_is_switched_off() {
    let refuses = Scripted::start(|script| script.on("RCPT", "451 4.2.0 later"));
    let server = Scripted::start(|script| script);
    let on = redirect("report_emails = [\"qa@r.test\"]");
    let proxy = Proxy::start(&format!("{QUICK}{}{on}", only(&refuses)));
    let id = mail(&proxy, "a@shop.test", &["b@b.test", "c@b.test"]);
    when(&proxy, &id, |message| message["attempts"].as_u64() >= Some(1));
    reload(&proxy, &format!("{QUICK}{}", only(&server)));
    let message = held(&proxy, &id, "mode_ended");
    // The copy that was open is dropped; what it stood for is not decided.
    assert_eq!(recipients(&message), ["original b@b.test held", "original c@b.test held"]);
    proxy.command(&["queue", "retry", &id]);
    let other = mail(&proxy, "a@shop.test", &["after@b.test"]);
    gone(&proxy, &other);
    assert!(show(&proxy, &id).is_some_and(|message| message["state"] == "held"));
    assert!(rcpts(&refuses).iter().all(|rcpt| rcpt == "<qa@r.test>"), "{:?}", rcpts(&refuses));
    assert_eq!(rcpts(&server), ["<after@b.test>"]);
    release(&proxy, &id);
    gone(&proxy, &id);
    assert_eq!(rcpts(&server), ["<after@b.test>", "<b@b.test>", "<c@b.test>"]);
}

/// An attempt that was lost before anybody answered counts as none, and yet it was one.
#[test]
fn a_copy_that_was_begun_and_lost_keeps_its_message_from_going_to_its_addressees() {
    let server = Scripted::start(|script| script.on("RCPT TO:<qa", crate::support::scripted::Act::Close));
    let config = |more: &str| format!("{QUICK}{}{more}", only(&server));
    // Accepted while nothing was switched, so that only the attempt can have told.
    let mut proxy = Proxy::start(&config(OFF));
    let id = mail(&proxy, "a@shop.test", &["b@b.test"]);
    reload(&proxy, &config(&redirect("report_emails = [\"qa@r.test\"]")));
    server.wait_for_ends(1);
    proxy.kill();
    proxy.configure(&config(""));
    proxy.start_again();
    held(&proxy, &id, "mode_ended");
    assert!(!rcpts(&server).contains(&"<b@b.test>".to_owned()));
}

/// Applications keep their sessions: what holds for the mail of one is not what was configured when it began.
#[test]
fn what_a_session_from_before_sends_is_under_the_modes_in_force() {
    let recorder = Recorder::start();
    let config = |more: &str| recorder.upstream("only") + more;
    let on = redirect("report_emails = [\"qa@r.test\"]");
    let proxy = Proxy::start(&config(OFF));
    let mut talk = Talk::hello(proxy.address());
    let mut send = |to: &str| {
        let reply = talk.mail(to, 100);
        reply.rsplit(' ').next().unwrap().to_owned()
    };
    reload(&proxy, &config(&(on + OFF)));
    let under_redirect = send("b@b.test");
    reload(&proxy, &config(OFF));
    let as_addressed = send("c@b.test");
    reload(&proxy, &config(""));
    gone(&proxy, &as_addressed);
    held(&proxy, &under_redirect, "mode_ended");
    assert_eq!(recorder.messages()[0].rcpt, ["<c@b.test>"]);
    assert_eq!(recorder.messages().len(), 1);
}

// CASES H12
#[test]
fn mail_of_a_site_that_was_renamed_is_held_until_it_is_back_or_released() {
    let recorder = Recorder::start();
    let config = |site: &str, more: &str| format!("{}{site}{more}", recorder.upstream("only"));
    let proxy = Proxy::start(&config(SHOP, OFF));
    let (back, released) =
        (mail(&proxy, "a@shop.test", &["back@b.test"]), mail(&proxy, "a@shop.test", &["released@b.test"]));
    reload(&proxy, &config(STORE, ""));
    for id in [&back, &released] {
        let message = held(&proxy, id, "site_gone");
        assert_eq!(message["site"], "shop");
        let told = events(&proxy, id);
        assert!(told.iter().any(|(code, text)| code == "HELD" && text.contains("site shop")), "{told:?}");
    }
    let new = mail(&proxy, "a@shop.test", &["new@b.test"]);
    gone(&proxy, &new);
    assert_eq!(recorder.messages().len(), 1, "what waits did not become everybody's");
    release(&proxy, &released);
    gone(&proxy, &released);
    reload(&proxy, &config(SHOP, ""));
    gone(&proxy, &back);
    let taken = recorder.messages();
    let rcpt: Vec<&str> = taken.iter().map(|one| one.rcpt[0].as_str()).collect();
    assert_eq!(rcpt, ["<new@b.test>", "<released@b.test>", "<back@b.test>"]);
}

#[test]
fn report_addresses_that_are_refused_have_their_outcome_and_nothing_goes_to_the_originals() {
    let server = Scripted::start(|script| {
        script.on("RCPT TO:<qa", "550 5.1.1 who is qa").on("RCPT TO:<ops", "550 5.7.1 not to ops")
    });
    let on = redirect("report_emails = [\"qa@r.test\", \"ops@r.test\"]");
    let proxy = Proxy::start(&format!("{QUICK}{}{on}", only(&server)));
    let id = mail(&proxy, "a@shop.test", &["b@b.test", "c@b.test"]);
    let message = when(&proxy, &id, |message| message["state"] == "failed");
    assert_eq!(
        recipients(&message),
        [
            "original b@b.test failed",
            "original c@b.test failed",
            "report_copy qa@r.test failed",
            "report_copy ops@r.test failed"
        ]
    );
    let reply = |place: usize| message["recipients"][place]["reply"].as_str().unwrap().to_owned();
    assert!(reply(2).contains("who is qa") && reply(3).contains("not to ops"), "{message}");
    assert!(reply(0).contains("redirected to"), "{message}");
    assert_eq!(rcpts(&server), ["<qa@r.test>", "<ops@r.test>"]);
    // One of them works again.
    let well = Scripted::start(|script| script.on("RCPT TO:<ops", "550 5.7.1 not to ops"));
    reload(&proxy, &format!("{QUICK}{}{on}", only(&well)));
    proxy.command(&["queue", "retry", &id]);
    gone(&proxy, &id);
    let told = events(&proxy, &id);
    for recipient in ["b@b.test", "c@b.test"] {
        let delivered =
            |(code, text): &(String, String)| code == recipient && text.contains("a report address took it");
        assert!(told.iter().any(delivered), "{told:?}");
    }
    assert_eq!(rcpts(&well), ["<qa@r.test>", "<ops@r.test>"]);
    assert_eq!(rcpts(&server).len(), 2);
}

#[test]
fn a_report_address_that_is_a_recipient_too_gets_one_copy() {
    let recorder = Recorder::start();
    let config = |allow: &str| {
        recorder.upstream("only") + &redirect(&format!("report_emails = [\"qa@r.test\"]\nallow = [{allow}]"))
    };
    let proxy = Proxy::start(&config(""));
    let id = mail(&proxy, "a@shop.test", &["qa@r.test", "b@b.test"]);
    gone(&proxy, &id);
    assert_eq!(recorder.messages().len(), 1);
    assert_eq!(recorder.messages()[0].rcpt, ["<qa@r.test>"]);
    assert!(events(&proxy, &id).iter().any(|(code, text)| code == "b@b.test" && text.contains("redirected")));
    // As an allowed recipient it gets its own mail, and the copy that stands for the other.
    reload(&proxy, &config("\"qa@r.test\""));
    let id = mail(&proxy, "a@shop.test", &["qa@r.test", "b@b.test"]);
    gone(&proxy, &id);
    let mails: Vec<String> = recorder.messages()[1..].iter().map(|one| one.mail.clone()).collect();
    assert_eq!(
        recorder.messages()[1..].iter().map(|one| one.rcpt.clone()).collect::<Vec<_>>(),
        [["<qa@r.test>"]; 2]
    );
    assert!(mails[0].starts_with("<a@shop.test>") && mails[1].starts_with("<qa@r.test>"), "{mails:?}");
}

#[test]
fn accepted_under_one_mode_attempted_under_a_second_and_retried_under_a_third() {
    let server = Scripted::start(|script| script.on("RCPT", "451 4.2.0 later"));
    let config = |more: &str| format!("{QUICK}{}{more}", only(&server));
    let proxy = Proxy::start(&config("[simulate]\nenabled = true\n[sending]\nenabled = false\n"));
    let id = mail(&proxy, "a@shop.test", &["b@b.test"]);
    reload(&proxy, &config(&redirect("report_emails = [\"qa@r.test\"]")));
    let message = when(&proxy, &id, |message| message["attempts"].as_u64() >= Some(1));
    assert_eq!(recipients(&message), ["original b@b.test deferred", "report_copy qa@r.test deferred"]);
    reload(&proxy, &config("[debug]\nenabled = true\nfailure_rate = 0.0\n"));
    gone(&proxy, &id);
    let told = events(&proxy, &id);
    assert!(told.iter().any(|(code, text)| code == "b@b.test" && text.contains("logged only")), "{told:?}");
    assert!(rcpts(&server).iter().all(|rcpt| rcpt == "<qa@r.test>"), "{:?}", rcpts(&server));
}

#[test]
fn the_null_reverse_path_belongs_to_the_site_of_its_from_and_stays_null() {
    let recorder = Recorder::start();
    let site = format!("{SHOP}[site.shop.redirect]\nenabled = true\nreport_emails = [\"shop-qa@r.test\"]\n");
    let proxy = Proxy::start(&(recorder.upstream("only") + &site));
    let id = mail(&proxy, "", &["b@b.test"]);
    gone(&proxy, &id);
    let copy = recorder.messages().remove(0);
    assert_eq!(copy.rcpt, ["<shop-qa@r.test>"]);
    assert!(copy.mail.starts_with("<>"), "{}", copy.mail);
}

#[test]
fn events_name_the_site_that_they_are_about() {
    let down = crate::support::free_address();
    let upstream = format!("[upstream.only]\nhost = \"{down}\"\ntls = \"none\"\n");
    let debug = "[site.store]\nsenders = [\"@store.test\"]\n[site.store.debug]\nenabled = true\n";
    let proxy = Proxy::start(&format!("{upstream}{SHOP}{debug}"));
    let (own, nobodys) =
        (mail(&proxy, "a@shop.test", &["b@b.test"]), mail(&proxy, "a@else.test", &["b@b.test"]));
    for verb in ["hold", "release", "retry"] {
        proxy.command(&["queue", verb, &own, &nobodys]);
    }
    proxy.command(&["queue", "delete", &own, &nobodys]);
    let all = proxy.cli(&["events", "--json", "--limit", "1000"]);
    let of = |id: &str| -> Vec<(String, Value)> {
        let own = all.as_array().unwrap().iter().filter(|event| event["queue_id"] == id);
        own.map(|event| (event["code"].as_str().unwrap().to_owned(), event["site"].clone())).collect()
    };
    let codes = ["QUEUED", "HELD", "RELEASED", "QUEUED", "DELETED"];
    assert_eq!(of(&own), codes.map(|code| (code.to_owned(), Value::from("shop"))));
    assert_eq!(of(&nobodys), codes.map(|code| (code.to_owned(), Value::Null)));
    let modes: Vec<&Value> = all.as_array().unwrap().iter().filter(|event| event["code"] == "MODE").collect();
    assert_eq!(modes.len(), 1, "{modes:?}");
    assert_eq!(modes[0]["site"], "store");
}

#[test]
fn mail_of_a_site_that_goes_away_is_told_of_where_it_was_handled_otherwise() {
    let recorder = Recorder::start();
    let debug = "[site.store]\nsenders = [\"@store.test\"]\n[site.store.debug]\nenabled = true\n";
    let proxy = Proxy::start(&(recorder.upstream("only") + SHOP + debug));
    reload(&proxy, &recorder.upstream("only"));
    // The one of the start, and that of the reload, which is recorded a moment later.
    let all = eventually("both events", || {
        let all = proxy.cli(&["events", "--json", "--code", "MODE"]);
        (all.as_array().unwrap().len() >= 2).then_some(all)
    });
    let last = all.as_array().unwrap().last().unwrap();
    assert_eq!(last["site"], "store");
    assert!(last["message"].as_str().unwrap().contains("the site is gone, so debug is off"), "{last}");
    // Of a site that was handled like all mail there is nothing to say.
    assert_eq!(all.as_array().unwrap().iter().filter(|event| event["site"] == "shop").count(), 0);
}
