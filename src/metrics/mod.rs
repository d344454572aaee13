//! What is counted, for `GET /metrics` (docs/monitoring.md) and the totals of `GET /api/v1/stats`.
//!
//! Whoever does something counts it: one atomic addition behind a read lock that nobody writes to but for the first of a
//! series; nothing is allocated then. What can be read as it is now (the queue's figures, the upstreams' health) is not
//! counted but read when somebody asks, see [`MetricsPage`].
//!
//! # Promises
//! - Counters begin at zero with the process, as Prometheus expects, and a reload resets none.
//! - Labels are names of the configuration, or words of a closed set, never what a client or a server says.

mod history;
mod labels;
mod page;

pub use history::{Bucket, HistoryError, TrafficHistory, Window};
pub use page::{MetricsPage, NamesInForce, PageCounters, PageFamily};

use labels::LabelValues;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// From a message that leaves at once to one that has waited for five days.
const DELIVERY_BUCKETS: &[f64] =
    &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 432_000.0];
/// From an idle connection to a server that takes minutes for the final dot.
const ATTEMPT_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// From a fast disk to one that is in trouble.
const COMMIT_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What became of recipients, in the order of [`Totals`].
pub const RESULTS: [&str; 4] = ["delivered", "deferred", "failed", "expired"];

/// All counters of a process. Parts that were given none count for themselves.
pub struct Metrics {
    registry: Registry,
    accepted_messages: IntCounterVec,
    accepted_recipients: IntCounterVec,
    accepted_bytes: IntCounterVec,
    refusals: IntCounterVec,
    sessions: IntCounterVec,
    open_sessions: IntGaugeVec,
    handshakes: IntCounterVec,
    logins: IntCounterVec,
    recipients: IntCounterVec,
    delivery: HistogramVec,
    attempts: HistogramVec,
    transactions: IntCounterVec,
    failures: IntCounterVec,
    last_success: IntGaugeVec,
    notices: IntCounterVec,
    events: IntCounterVec,
    reloads: IntCounterVec,
    commits: Histogram,
    operations: IntCounter,
}

/// What has come and gone since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Messages.
    pub accepted: u64,
    /// Recipients; so are the others.
    pub delivered: u64,
    pub deferred: u64,
    pub failed: u64,
    pub expired: u64,
}

impl Totals {
    /// What was counted since then.
    pub fn since(self, earlier: Totals) -> Totals {
        Totals {
            accepted: self.accepted.saturating_sub(earlier.accepted),
            delivered: self.delivered.saturating_sub(earlier.delivered),
            deferred: self.deferred.saturating_sub(earlier.deferred),
            failed: self.failed.saturating_sub(earlier.failed),
            expired: self.expired.saturating_sub(earlier.expired),
        }
    }
}

/// One recipient's outcome.
#[derive(Clone, Copy, Debug)]
pub struct CountedOutcome<'a> {
    /// Empty where none was asked.
    pub upstream: &'a str,
    /// Empty: none.
    pub site: &'a str,
    /// One of [`RESULTS`].
    pub result: &'a str,
    /// The mode that decided it; empty for none.
    pub mode: &'a str,
    /// The age of the message.
    pub age: Duration,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let registry = Registry::new();
        let counters = |name, help, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), &labels::names(labels)))
        };
        let gauges = |name, help, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), &labels::names(labels)))
        };
        let histograms = |name, help, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, &labels::names(labels)))
        };
        let from = &["listener", "site"];
        Metrics {
            accepted_messages: counters(
                "postroom_accepted_messages_total",
                "Messages that were answered 250, or taken from a pickup folder.",
                from,
            ),
            accepted_recipients: counters(
                "postroom_accepted_recipients_total",
                "Recipients of accepted messages.",
                from,
            ),
            accepted_bytes: counters(
                "postroom_accepted_bytes_total",
                "Bytes of content of accepted messages.",
                from,
            ),
            refusals: counters(
                "postroom_refusals_total",
                "Replies of 4xx and 5xx to clients, connections that were turned away and files of pickup folders that were \
                 refused, by reason.",
                &["listener", "reason"],
            ),
            sessions: counters(
                "postroom_sessions_total",
                "Connections of clients that were let in.",
                &["listener"],
            ),
            open_sessions: gauges(
                "postroom_open_sessions",
                "Connections of clients that are open now.",
                &["listener"],
            ),
            handshakes: counters(
                "postroom_tls_handshakes_total",
                "TLS handshakes of clients, by result.",
                &["listener", "result"],
            ),
            logins: counters(
                "postroom_logins_total",
                "AUTH of clients with a name and a password, by result.",
                &["listener", "result"],
            ),
            recipients: counters(
                "postroom_recipients_total",
                "Outcomes of recipients, one for each attempt: delivered, deferred, failed or expired.",
                &["upstream", "site", "mode", "result"],
            ),
            delivery: histograms(
                "postroom_delivery_seconds",
                "Age of the message when a recipient of it was delivered, from MAIL on.",
                &["site"],
                DELIVERY_BUCKETS,
            ),
            attempts: histograms(
                "postroom_attempt_seconds",
                "Time from the first command to the last reply of a transaction, and of connecting for it.",
                &["upstream"],
                ATTEMPT_BUCKETS,
            ),
            transactions: counters(
                "postroom_upstream_transactions_total",
                "Transactions that the upstream answered to their end, whatever it said.",
                &["upstream"],
            ),
            failures: counters(
                "postroom_upstream_failures_total",
                "Sessions that could not be had or were lost, by reason.",
                &["upstream", "reason"],
            ),
            last_success: gauges(
                "postroom_upstream_last_success_timestamp_seconds",
                "When the upstream last answered a transaction to its end.",
                &["upstream"],
            ),
            notices: counters(
                "postroom_notices_total",
                "Notices of our own to senders: bounces, other notices (late, delivered), and those that could not be stored.",
                &["result"],
            ),
            events: counters("postroom_events_total", "Events that were recorded, by type.", &["type"]),
            reloads: counters(
                "postroom_reloads_total",
                "Reloads and changes of the configuration: done, or refused because of an error.",
                &["result"],
            ),
            commits: registered(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "postroom_queue_commit_seconds",
                        "Time of one commit of the queue file, its flush to the disk included.",
                    )
                    .buckets(COMMIT_BUCKETS.to_vec()),
                ),
            ),
            operations: registered(
                &registry,
                IntCounter::new(
                    "postroom_queue_operations_total",
                    "Operations that were committed; many share a commit.",
                ),
            ),
            registry,
        }
    }
}

/// # Panics
/// On a name that no metric may have or that two have: they stand above, and every start makes all of them.
#[expect(clippy::expect_used, reason = "names and labels are constants of this module")]
fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let made = made.expect("a sound name");
    registry.register(Box::new(made.clone())).expect("a name of its own");
    made
}

fn add(family: &IntCounterVec, labels: &[&str], by: u64) {
    if let Ok(counter) = family.get_metric_with_label_values(LabelValues::new(labels).as_slice()) {
        counter.inc_by(by);
    }
}

impl Metrics {
    /// Begins series at zero that matter from their first count on: Prometheus sees no increase where there was nothing
    /// before.
    pub fn begin(&self, names: &NamesInForce) {
        // Nobody connects to folders and routes, whose names have a dot.
        for listener in names.listeners.iter().filter(|name| !name.contains('.')) {
            for family in [&self.accepted_messages, &self.accepted_recipients, &self.accepted_bytes] {
                add(family, &[listener, ""], 0);
            }
            add(&self.sessions, &[listener], 0);
        }
        for upstream in names.upstreams.iter().map(String::as_str).chain([""]) {
            RESULTS.iter().for_each(|result| add(&self.recipients, &[upstream, "", "", result], 0));
        }
        for upstream in &names.upstreams {
            add(&self.transactions, &[upstream], 0);
            ["connect", "tls", "auth", "lost"]
                .iter()
                .for_each(|reason| add(&self.failures, &[upstream, reason], 0));
        }
        ["bounced", "notified", "lost"].iter().for_each(|result| add(&self.notices, &[result], 0));
        ["information", "warning", "error"].iter().for_each(|kind| add(&self.events, &[kind], 0));
        ["done", "refused"].iter().for_each(|result| add(&self.reloads, &[result], 0));
    }

    /// A message exists, or in pass-through an upstream has it.
    pub fn accepted(&self, listener: &str, site: &str, recipients: usize, bytes: u64) {
        let from = &[listener, site];
        add(&self.accepted_messages, from, 1);
        add(&self.accepted_recipients, from, recipients as u64);
        add(&self.accepted_bytes, from, bytes);
    }

    /// A client, or a file, was refused.
    pub fn refused(&self, listener: &str, reason: &str) {
        add(&self.refusals, &[listener, reason], 1);
    }

    /// A client was let in; it is there until what is returned is dropped.
    pub fn session(&self, listener: &str) -> OpenSession {
        add(&self.sessions, &[listener], 1);
        let open =
            self.open_sessions.get_metric_with_label_values(LabelValues::new(&[listener]).as_slice()).ok();
        if let Some(open) = &open {
            open.inc();
        }
        OpenSession(open)
    }

    /// A TLS handshake of a client has ended.
    pub fn handshake(&self, listener: &str, result: &str) {
        add(&self.handshakes, &[listener, result], 1);
    }

    /// A name and a password of a client were looked at.
    pub fn login(&self, listener: &str, result: &str) {
        add(&self.logins, &[listener, result], 1);
    }

    /// What became of a recipient is on disk.
    pub fn outcome(&self, outcome: CountedOutcome<'_>) {
        let CountedOutcome { upstream, site, result, mode, age } = outcome;
        add(&self.recipients, &[upstream, site, mode, result], 1);
        if result == "delivered"
            && let Ok(delivery) =
                self.delivery.get_metric_with_label_values(LabelValues::new(&[site]).as_slice())
        {
            delivery.observe(age.as_secs_f64());
        }
    }

    /// An upstream has taken so long for a transaction.
    pub fn attempt(&self, upstream: &str, took: Duration) {
        if let Ok(attempts) =
            self.attempts.get_metric_with_label_values(LabelValues::new(&[upstream]).as_slice())
        {
            attempts.observe(took.as_secs_f64());
        }
    }

    /// An upstream has answered a transaction, at that time of the wall clock in seconds.
    pub fn upstream_answered(&self, upstream: &str, at: i64) {
        add(&self.transactions, &[upstream], 1);
        if let Ok(last) =
            self.last_success.get_metric_with_label_values(LabelValues::new(&[upstream]).as_slice())
        {
            last.set(at);
        }
    }

    /// A session with an upstream failed.
    pub fn upstream_failed(&self, upstream: &str, reason: &str) {
        add(&self.failures, &[upstream, reason], 1);
    }

    /// A notice was queued, or lost.
    pub fn notice(&self, result: &str) {
        add(&self.notices, &[result], 1);
    }

    /// An event was recorded.
    pub fn event(&self, kind: &str) {
        add(&self.events, &[kind], 1);
    }

    /// The configuration was loaded again or changed, or was not.
    pub fn reload(&self, result: &str) {
        add(&self.reloads, &[result], 1);
    }

    /// The queue has committed so many operations together.
    pub fn commit(&self, operations: usize, took: Duration) {
        self.operations.inc_by(operations as u64);
        self.commits.observe(took.as_secs_f64());
    }

    /// What has become of recipients since the start, by the upstream that was asked.
    pub fn totals_by_upstream(&self) -> BTreeMap<String, Totals> {
        let mut all: BTreeMap<String, Totals> = BTreeMap::new();
        for family in self.recipients.collect() {
            for metric in family.get_metric() {
                let label = |name| metric.get_label().iter().find(|label| label.name() == name);
                let [Some(upstream), Some(result)] = ["upstream", "result"].map(label) else { continue };
                let totals = all.entry(upstream.value().to_owned()).or_default();
                let count = match result.value() {
                    "delivered" => &mut totals.delivered,
                    "deferred" => &mut totals.deferred,
                    "failed" => &mut totals.failed,
                    "expired" => &mut totals.expired,
                    _ => continue,
                };
                *count += metric.get_counter().get_value() as u64;
            }
        }
        all
    }

    /// What has come and gone since the start.
    pub fn totals(&self) -> Totals {
        let sum = |family: &IntCounterVec, result: Option<&str>| -> u64 {
            let families = family.collect();
            let all = families.iter().flat_map(|family| family.get_metric());
            let wanted = all.filter(|metric| {
                result.is_none_or(|result| metric.get_label().iter().any(|label| label.value() == result))
            });
            // What is counted in whole numbers comes as a float.
            wanted.map(|metric| metric.get_counter().get_value() as u64).sum()
        };
        let [delivered, deferred, failed, expired] =
            RESULTS.map(|result| sum(&self.recipients, Some(result)));
        Totals { accepted: sum(&self.accepted_messages, None), delivered, deferred, failed, expired }
    }
}

/// A session that counts as open.
pub struct OpenSession(Option<prometheus::IntGauge>);

impl Drop for OpenSession {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_whose_values_are_the_same_letters_in_a_row_are_two() {
        let metrics = Metrics::default();
        metrics.accepted("a", "bc", 1, 10);
        metrics.accepted("ab", "c", 2, 20);
        let outcome = |upstream, site, mode| CountedOutcome {
            upstream,
            site,
            result: "delivered",
            mode,
            age: Duration::from_secs(1),
        };
        metrics.outcome(outcome("shop", "", ""));
        metrics.outcome(outcome("", "shop", ""));
        metrics.outcome(outcome("", "", "redirect"));
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = NamesInForce {
            listeners: set(&["a", "ab"]),
            sites: set(&["bc", "c", "shop"]),
            upstreams: set(&["shop"]),
        };
        let page = MetricsPage::default();
        page.gauges("g", "Two labels.", &["site", "mode"]).set(&["s", "m"], 1.0);
        let text = page.text(&metrics, &names);
        for line in [
            "postroom_accepted_recipients_total{listener=\"a\",site=\"bc\"} 1",
            "postroom_accepted_recipients_total{listener=\"ab\",site=\"c\"} 2",
            "postroom_recipients_total{mode=\"\",result=\"delivered\",site=\"\",upstream=\"shop\"} 1",
            "postroom_recipients_total{mode=\"\",result=\"delivered\",site=\"shop\",upstream=\"\"} 1",
            "postroom_recipients_total{mode=\"redirect\",result=\"delivered\",site=\"\",upstream=\"\"} 1",
            "g{mode=\"m\",site=\"s\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
        assert_eq!(metrics.totals(), Totals { accepted: 2, delivered: 3, ..Totals::default() });
    }
}
