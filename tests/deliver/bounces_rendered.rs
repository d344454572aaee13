//! What stands in a notice, from the verdicts alone: bounds, forms, words (rule 9).

use super::bounces::parsed;
use super::stage::load;
use jiff::Timestamp;
use postroom::config::Settings;
use postroom::mail::{
    EnhancedCode, Grounds, Message, Notify, Outcome, QueueId, Recipient, ReversePath, Role, Verdict,
};
use postroom::policy::bounce::report::{NoticeContext, RenderedNotice, Returned, notice};
use postroom::policy::bounce::told;
use postroom::queue::RecipientVerdict;
use serde_json::Value;
use std::sync::Arc;

struct About {
    settings: Arc<Settings>,
    message: Message,
    verdicts: Vec<RecipientVerdict>,
}

const UPSTREAM: &str = "[upstream.only]\nhost = \"mx.test\"\n";

/// A message whose recipients all had this reply to RCPT.
fn about(config: &str, recipients: &[&str], reply: &str) -> About {
    let settings = load(&tempfile::tempdir().unwrap(), config);
    let mut message = Message::new(QueueId::fresh(1_000), ReversePath::Address("a@x.test".parse().unwrap()));
    message.recipients = recipients.iter().map(|one| Recipient::pending(one.parse().unwrap())).collect();
    let verdict = Verdict {
        outcome: Outcome::Failed,
        upstream: Some("only".to_owned()),
        reply: reply.to_owned(),
        grounds: Grounds::Rcpt,
        enhanced: EnhancedCode(5, 0, 0),
        refused_by: Vec::new(),
    };
    let of = |recipient: &Recipient| RecipientVerdict {
        role: Role::Original,
        address: recipient.address.clone(),
        verdict: verdict.clone(),
        mode: None,
    };
    let verdicts = message.recipients.iter().map(of).collect();
    About { settings, message, verdicts }
}

impl About {
    fn rendered(&self, returned: Returned<'_>, named: usize) -> RenderedNotice {
        let due = told::due(&self.settings, &self.message, &self.verdicts, true, |_| false).unwrap();
        let context = NoticeContext {
            settings: &self.settings,
            hostname: "mail.test",
            now: Timestamp::UNIX_EPOCH,
            tried_until: Timestamp::UNIX_EPOCH,
        };
        notice(&context, QueueId::fresh(2_000), &self.message, &due, returned, named)
    }

    /// As Python reads it, with a header returned.
    fn read(&self) -> (String, Value) {
        let returned = Returned { header: b"From: a@x.test\r\n", ..Returned::default() };
        let bytes = self.rendered(returned, usize::MAX).bytes;
        (String::from_utf8(bytes.clone()).unwrap(), parsed(&bytes))
    }

    fn text(&self) -> String {
        self.read().1["text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn change(mut self, change: impl Fn(&mut Verdict)) -> About {
        self.verdicts.iter_mut().for_each(|one| change(&mut one.verdict));
        self
    }
}

/// Once 118 MB.
#[test]
fn a_thousand_recipients_with_endless_replies_are_at_most_4_kib_each() {
    let addresses: Vec<String> = (0..1_000).map(|number| format!("r{number}@y.test")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let one = about(UPSTREAM, &addresses, &format!("550 {}", "a line of many; ".repeat(3_500)));
    let all = one.rendered(Returned::default(), usize::MAX).bytes;
    assert!(all.len() < 1_000 * 4 * 1024, "{} bytes", all.len());
    let text = String::from_utf8(all).unwrap();
    assert_eq!(text.matches("\r\nFinal-Recipient: ").count(), 1_000);
    assert!(text.contains("and 900 more"));
    assert!(text.split("\r\n").all(|line| line.len() <= 998));
    let least = one.rendered(Returned::default(), 20).bytes;
    assert!(least.len() < postroom::queue::CHUNK_SIZE, "{} bytes", least.len());
}

#[test]
fn what_clients_gave_comes_back_letter_by_letter() {
    let mut one = about(UPSTREAM, &["\"b  c\"@y.test"], "550 no   such  user");
    let id = format!("two++blanks++{}", "x".repeat(80)).replace("++", "+20+20");
    one.message.envelope_id = Some(id.clone());
    let original = format!("rfc822;\"b+20+20{}\"@y.test", "x".repeat(400));
    one.message.recipients[0].original_recipient = Some(original.clone());
    let (text, _) = one.read();
    for line in [
        format!("Original-Envelope-Id: {}", id.replace("+20", " ")),
        format!("Original-Recipient: {}", original.replace("+20", " ").replace("rfc822;", "rfc822; ")),
        "Final-Recipient: rfc822; \"b  c\"@y.test".to_owned(),
        "Diagnostic-Code: smtp; 550 no such user".to_owned(),
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
}

#[test]
fn only_what_is_not_ascii_makes_it_utf8() {
    let plain = "message/delivery-status";
    let mut one = about(UPSTREAM, &["b@y.test"], "550 no");
    one.message.smtp_utf8 = true;
    let (text, report) = one.read();
    assert!(text.is_ascii() && report["status_type"] == plain && report["kind"] == "text/rfc822-headers");
    let header = "Subject: \u{fc}ber\r\n".as_bytes();
    let returned = Returned { header, ..Returned::default() };
    let utf8 = one.rendered(returned, 9);
    assert!(utf8.is_utf8 && parsed(&utf8.bytes)["kind"] == "message/global-headers");
    // Who has not said SMTPUTF8 gets what every server takes.
    one.message.smtp_utf8 = false;
    let seven_bit = one.rendered(returned, 9);
    let report = parsed(&seven_bit.bytes);
    assert!(seven_bit.bytes.is_ascii() && !seven_bit.is_utf8 && report["status_type"] == plain);
    assert_eq!(report["returned"], "Subject: \u{fc}ber\r\n");
    let both =
        "[queue]\nbounce = \"report\"\n[redirect]\nreport_emails = [\"q\u{e4}@own.test\", \"qa@own.test\"]\n";
    let one = about(&format!("{UPSTREAM}{both}"), &["b@y.test"], "550 no");
    let (text, report) = one.read();
    assert!(text.is_ascii() && report["header"]["To"] == "qa@own.test", "{text}");
}

#[test]
fn the_words_are_those_of_who_says_so() {
    let of = |reply: &str| about(UPSTREAM, &["b@y.test"], reply);
    let text = of("550 Invalid recipient").text();
    assert!(text.contains("The mail server mx.test (only) said: 550 Invalid recipient"), "{text}");
    assert!(text.contains("check the address") && !text.contains("of yours"), "{text}");
    let letters = of("the upstream does not offer SMTPUTF8, which an address that is not ASCII needs");
    let letters = letters.change(|one| {
        (one.grounds, one.enhanced) = (Grounds::Capabilities, EnhancedCode(5, 6, 7));
    });
    let text = letters.text();
    assert!(text.contains("What happened: the mail server mx.test takes no address with letters"), "{text}");
    assert!(text.contains("Ask the recipient for an address in ASCII letters"), "{text}");
    let silent = of("no valid reply to the final dot: closed: may be sent twice").change(|one| {
        (one.outcome, one.grounds, one.enhanced) =
            (Outcome::Expired, Grounds::NoReply, EnhancedCode(4, 4, 7));
    });
    let text = silent.text();
    assert!(text.contains("may have arrived all the same") && !text.contains(") said:"), "{text}");
}

#[test]
fn a_date_is_that_of_an_attempt_and_only_who_asked_will_hear() {
    for (grounds, failure) in [(Grounds::Rcpt, true), (Grounds::NotAsked, false)] {
        let mut one = about(UPSTREAM, &["b@y.test"], "451 later").change(|one| {
            (one.outcome, one.grounds) = (Outcome::Deferred, grounds);
        });
        one.message.recipients[0].notify = Notify::Of { success: false, failure, delay: true };
        let (text, _) = one.read();
        assert_eq!(text.contains("\r\nLast-Attempt-Date: "), grounds == Grounds::Rcpt);
        assert_eq!(one.text().contains("you will hear"), failure);
    }
}

#[test]
fn a_notice_to_a_name_of_this_machine_goes_where_its_mail_goes() {
    let config = format!("{UPSTREAM}default_domain = \"x.test\"\n[aliases]\na = \"ops@own.test\"\n");
    let config = config.replace(UPSTREAM, "") + UPSTREAM;
    let one = about(&config, &["b@y.test"], "550 no");
    assert_eq!(one.read().1["header"]["To"], "ops@own.test");
    let other = about(&config.replace("x.test", "other.test"), &["b@y.test"], "550 no");
    assert_eq!(other.read().1["header"]["To"], "a@x.test");
}
