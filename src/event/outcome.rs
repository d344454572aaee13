//! What an attempt decided about a recipient: the log line and the event.
//!
//! Only this file logs outcomes. One line for each recipient and attempt, target
//! [`TARGET`], level info, fields as Postfix names them:
//!
//! ```text
//! queue_id="01J…" from="a@x.test" to="b@y.test" upstream="primary" delay="1.3"
//! delays="0.02/1/0.1/0.2" dsn="2.0.0" status="delivered" reply="250 2.0.0 ok"
//! ```
//!
//! Every value that a client or an upstream may choose is free of control characters and is recorded as a string, which the text
//! format quotes and the JSON format escapes: no address and no reply can forge a field or a line.

use super::{EventType, Fact};
use crate::config::Topic;
use crate::mail::{Address, Mode, Outcome, QueueId, ReversePath, Role, Verdict, printable};
use crate::metrics::{CountedOutcome, Metrics};
use jiff::Timestamp;
use std::time::Duration;

/// The tracing target of the line.
pub const TARGET: &str = "postroom::outcome";

/// One recipient's outcome with everything that the line and the event say.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeRecord<'a> {
    /// Wall clock when it was decided.
    pub time: Timestamp,
    pub queue_id: QueueId,
    /// Its sender, as accepted.
    pub reverse_path: &'a ReversePath,
    /// Whether the recipient is one of its own or a report address.
    pub role: Role,
    /// The recipient, as accepted.
    pub recipient: &'a Address,
    /// The message's site; empty for mail of none.
    pub site: &'a str,
    /// The mode that decided it; none where an upstream was asked for this very address.
    pub mode: Option<Mode>,
    /// What was decided, by whom, and what was said.
    pub verdict: &'a Verdict,
    /// How long it took.
    pub delays: Delays,
}

/// Postfix's four delays. Together they are the age of the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delays {
    /// From MAIL to the commit that made the message exist.
    pub before_queue: Duration,
    /// Waiting for this attempt, earlier attempts included.
    pub in_queue: Duration,
    /// Getting a usable session with the upstream; zero where an idle one was at hand.
    pub connect: Duration,
    /// From MAIL to the upstream's last reply.
    pub transmit: Duration,
}

impl OutcomeRecord<'_> {
    /// The event.
    pub fn fact(&self) -> Fact {
        let OutcomeRecord { time, queue_id, recipient, site, verdict, delays, .. } = *self;
        let (kind, message) = self.text();
        let took = (delays.connect + delays.transmit).as_millis();
        Fact {
            queue_id: Some(queue_id),
            recipient: Some(recipient.to_string()),
            upstream: verdict.upstream.clone(),
            site: super::named_site(site),
            reply: Some(printable(&verdict.reply)).filter(|reply| !reply.is_empty() && !self.is_simulated()),
            duration_ms: Some(u64::try_from(took).unwrap_or(u64::MAX)),
            topic: Some(topic(verdict.outcome)),
            ..Fact::new(time, kind, "Mail", recipient.as_str(), message)
        }
    }

    /// Writes the log line. The caller has committed the outcome before.
    pub fn log(&self) {
        let OutcomeRecord { queue_id, reverse_path, recipient, site, verdict, delays, .. } = *self;
        tracing::info!(
            target: TARGET,
            queue_id = queue_id.to_string(),
            from = printable(reverse_path.as_str()),
            to = printable(recipient.as_str()),
            site = (!site.is_empty()).then_some(site),
            mode = self.mode.map(Mode::word),
            upstream = verdict.upstream.as_deref().unwrap_or("none"),
            delay = Seconds(delays.total()).to_string(),
            delays = delays.to_string(),
            dsn = verdict.enhanced.to_string(),
            status = status(verdict.outcome),
            reply = printable(&verdict.reply),
        );
    }
}

impl OutcomeRecord<'_> {
    /// Counts it. Under redirect the copies count, and not whom they stand for.
    pub fn count(&self, metrics: &Metrics) {
        if self.mode == Some(Mode::Redirect) && self.role == Role::Original {
            return;
        }
        metrics.outcome(CountedOutcome {
            upstream: self.verdict.upstream.as_deref().unwrap_or_default(),
            site: self.site,
            result: status(self.verdict.outcome),
            mode: self.mode.map(Mode::word).unwrap_or_default(),
            age: self.delays.total(),
        });
    }
}

fn topic(outcome: Outcome) -> Topic {
    match outcome {
        Outcome::Delivered => Topic::Delivered,
        Outcome::Deferred => Topic::Deferred,
        Outcome::Failed => Topic::Failed,
        Outcome::Expired => Topic::Expired,
    }
}

fn status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Deferred => "deferred",
        Outcome::Failed => "failed",
        Outcome::Expired => "expired",
    }
}

impl OutcomeRecord<'_> {
    /// Debug or simulate decided: the words are ours, and nobody replied.
    fn is_simulated(&self) -> bool {
        matches!(self.mode, Some(Mode::Debug | Mode::Simulate))
    }

    /// What a mode decided is said in words of its own (rules 6 and 7).
    fn text(&self) -> (EventType, String) {
        match (self.mode, self.role, self.verdict.outcome) {
            (Some(Mode::Debug | Mode::Simulate), _, Outcome::Delivered) => {
                (EventType::Information, printable(&self.verdict.reply))
            }
            (Some(Mode::Debug | Mode::Simulate), _, _) => (EventType::Error, printable(&self.verdict.reply)),
            (Some(Mode::Redirect), Role::Original, outcome) => {
                let (kind, words) = upstreams_text(self.verdict);
                let redirected = match outcome {
                    Outcome::Delivered => "redirected: a report address took it",
                    Outcome::Deferred => "redirected: no report address has taken it yet",
                    Outcome::Failed | Outcome::Expired => "redirected: no report address took it",
                };
                (kind, format!("{redirected}; {words}"))
            }
            (Some(Mode::Redirect), Role::ReportCopy, _) => {
                let (kind, words) = upstreams_text(self.verdict);
                (kind, format!("report copy {words}"))
            }
            (None, _, _) => upstreams_text(self.verdict),
        }
    }
}

fn upstreams_text(verdict: &Verdict) -> (EventType, String) {
    let upstream = verdict.upstream.as_deref();
    match (verdict.outcome, upstream) {
        (Outcome::Delivered, Some(name)) => (EventType::Information, format!("delivered through {name}")),
        (Outcome::Delivered, None) => (EventType::Information, "delivered".to_owned()),
        (Outcome::Deferred, Some(name)) => (EventType::Warning, format!("deferred, last asked was {name}")),
        (Outcome::Deferred, None) => (EventType::Warning, "deferred, no upstream could be asked".to_owned()),
        (Outcome::Failed, Some(name)) => (EventType::Error, format!("refused for good by {name}")),
        (Outcome::Failed, None) => (EventType::Error, "failed for good".to_owned()),
        (Outcome::Expired, Some(name)) => {
            (EventType::Error, format!("not delivered within its life time, last asked was {name}"))
        }
        (Outcome::Expired, None) => {
            (EventType::Error, "not delivered within its life time, no upstream could be asked".to_owned())
        }
    }
}

impl Delays {
    /// The age of the message when its outcome was known.
    pub fn total(&self) -> Duration {
        self.before_queue + self.in_queue + self.connect + self.transmit
    }
}

/// `before queue/in queue/connect/transmit`, in seconds.
impl std::fmt::Display for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d] = [self.before_queue, self.in_queue, self.connect, self.transmit].map(Seconds);
        write!(f, "{a}/{b}/{c}/{d}")
    }
}

/// Seconds as Postfix writes them: two significant digits, nothing finer than a hundredth.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = (self.0.as_millis() + 5) / 10;
        let (whole, tenths, rest) = (hundredths / 100, hundredths / 10 % 10, hundredths % 10);
        match (whole, tenths, rest) {
            (0, tenths, 1..) => write!(f, "0.{tenths}{rest}"),
            (0..10, 1.., _) => write!(f, "{whole}.{tenths}"),
            _ => write!(f, "{whole}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::EnhancedCode;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `record` logs and returns.
    fn recorded(from: &str, to: &str, verdict: &Verdict, delays: Delays) -> (String, Fact) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .finish();
        let reverse_path =
            if from.is_empty() { ReversePath::Null } else { ReversePath::Address(from.parse().unwrap()) };
        let outcome = OutcomeRecord {
            time: "2026-11-20T13:03:22Z".parse().unwrap(),
            queue_id: QueueId::from_number(7),
            reverse_path: &reverse_path,
            role: Role::Original,
            recipient: &to.parse().unwrap(),
            site: "",
            mode: None,
            verdict,
            delays,
        };
        let fact = tracing::subscriber::with_default(subscriber, || {
            outcome.log();
            outcome.fact()
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        (text, fact)
    }

    fn verdict(outcome: Outcome, upstream: Option<&str>, reply: &str, enhanced: EnhancedCode) -> Verdict {
        Verdict {
            outcome,
            upstream: upstream.map(str::to_owned),
            reply: reply.to_owned(),
            grounds: crate::mail::Grounds::Content,
            enhanced,
            refused_by: Vec::new(),
        }
    }

    #[test]
    fn a_delivery_is_one_line_and_one_fact() {
        let verdict = verdict(Outcome::Delivered, Some("primary"), "250 2.0.0 ok", EnhancedCode(2, 0, 0));
        let delays = Delays {
            before_queue: Duration::from_millis(21),
            in_queue: Duration::from_secs(1),
            connect: Duration::from_millis(104),
            transmit: Duration::from_millis(200),
        };
        let (line, fact) = recorded("a@x.test", "b@y.test", &verdict, delays);
        assert_eq!(
            line,
            " INFO postroom::outcome: queue_id=\"00000000000000000000000007\" from=\"a@x.test\" \
             to=\"b@y.test\" upstream=\"primary\" delay=\"1.3\" \
             delays=\"0.02/1/0.1/0.2\" dsn=\"2.0.0\" status=\"delivered\" reply=\"250 2.0.0 ok\"\n"
        );
        assert_eq!(
            fact,
            Fact {
                time: "2026-11-20T13:03:22Z".parse().unwrap(),
                kind: EventType::Information,
                source: "Mail".to_owned(),
                code: "b@y.test".to_owned(),
                message: "delivered through primary".to_owned(),
                queue_id: Some(QueueId::from_number(7)),
                recipient: Some("b@y.test".to_owned()),
                upstream: Some("primary".to_owned()),
                site: None,
                reply: Some("250 2.0.0 ok".to_owned()),
                duration_ms: Some(304),
                topic: Some(Topic::Delivered),
            }
        );
    }

    #[test]
    fn what_matters_more_has_a_graver_type() {
        for (outcome, upstream, kind, status) in [
            (Outcome::Deferred, Some("b"), EventType::Warning, "deferred"),
            (Outcome::Deferred, None, EventType::Warning, "deferred"),
            (Outcome::Failed, Some("b"), EventType::Error, "failed"),
            (Outcome::Expired, None, EventType::Error, "expired"),
        ] {
            let verdict = verdict(outcome, upstream, "", EnhancedCode(4, 4, 7));
            let (line, fact) = recorded("", "b@y.test", &verdict, Delays::default());
            assert_eq!(fact.kind, kind);
            assert_eq!(fact.reply, None);
            assert!(line.contains(&format!("status=\"{status}\"")), "{line}");
            assert!(line.contains("from=\"\" "), "{line}");
            assert!(line.contains(upstream.unwrap_or("upstream=\"none\"")), "{line}");
        }
    }

    #[test]
    fn neither_an_address_nor_a_reply_forges_a_line_or_a_field() {
        let reply = "451 no\r\n INFO postroom::outcome: status=\"delivered\" \u{1b}[2J";
        let verdict = verdict(Outcome::Deferred, Some("b"), reply, EnhancedCode(4, 0, 0));
        let (line, fact) = recorded("a@x", "\"x\\\" status=\\\"delivered\"@y", &verdict, Delays::default());
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\u{1b}'));
        // Quoted strings apart, the only status is ours.
        let unescaped = line.replace("\\\"", "");
        assert_eq!(
            unescaped.split('"').step_by(2).filter(|text| text.contains("status")).count(),
            1,
            "{line}"
        );
        assert_eq!(fact.reply.unwrap().chars().filter(|c| c.is_control()).count(), 0);
    }

    #[test]
    fn seconds_have_two_digits_that_mean_something() {
        for (ms, text) in [
            (0, "0"),
            (4, "0"),
            (5, "0.01"),
            (100, "0.1"),
            (990, "0.99"),
            (996, "1"),
            (1040, "1"),
            (1340, "1.3"),
        ] {
            assert_eq!(Seconds(Duration::from_millis(ms)).to_string(), text);
        }
        assert_eq!(Seconds(Duration::from_secs(10)).to_string(), "10");
        assert_eq!(Seconds(Duration::from_secs(432_000)).to_string(), "432000");
    }
}
