//! Redirect leaks to nobody (rule 6): random messages, sites and settings through the running binary; modes are switched by
//! reload in the middle of transactions, the process is killed and stopped, upstreams fail, operators hold, release and retry.
//! Upstreams note every MAIL and RCPT with its time; the judgement holds each against what may have been in force then.
//!
//! In the suite as many runs as fit into [`SUITE`]; `LEAK_RUNS` sets their number, `LEAK_SEED` the first seed.

mod judgement;
mod passing;
mod patched;
mod settings;
mod upstream;

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use jiff::Timestamp;
use judgement::{Era, Letter, Record};
use postroom::clock::{Clock, SystemClock};
use serde_json::Value;
use settings::{House, Mode, SITES, Settings, both};
use std::sync::Arc;
use std::time::{Duration, Instant};
use upstream::{Book, Step};

/// How long the runs of the suite take together, about.
const SUITE: Duration = Duration::from_secs(20);
/// How long a transaction is waited for that may never come.
const SOON: Duration = Duration::from_millis(300);

/// What runs have seen.
#[derive(Default, Debug)]
struct Figures {
    runs: usize,
    messages: usize,
    reloads: usize,
    in_transaction: usize,
    kills: usize,
    stops: usize,
    verbs: usize,
    patches: usize,
    mails: usize,
    rcpts: usize,
    copies: usize,
    held_at_the_end: usize,
}

#[test]
fn redirect_leaks_to_nobody() {
    let mut figures = Figures::default();
    for_each_seed(SUITE, |seed| {
        Run::start(seed).play(&mut figures);
        figures.runs += 1;
    });
    println!("{figures:#?}");
    assert!(figures.rcpts > 0, "nothing was sent to anybody");
}

/// As many runs as `LEAK_RUNS` says, or as there is time for; their seeds begin with `LEAK_SEED`, or anywhere.
fn for_each_seed(time: Duration, mut run: impl FnMut(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("LEAK_SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let runs = number("LEAK_RUNS");
    let start = Instant::now();
    for number in 0..runs.unwrap_or(u64::MAX) {
        if runs.is_none() && number > 0 && start.elapsed() > time {
            break;
        }
        println!("run with LEAK_SEED={}", seed + number);
        run(seed + number);
    }
}

/// Those of a message: redirected ones, allowed ones, and such as look like them.
fn draw_recipients(dice: &mut fastrand::Rng, number: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for place in 0..dice.usize(1..=8) {
        let one = match dice.u8(0..12) {
            0..3 => format!("cust{place}.m{number}@customer.test"),
            3 => format!("dev{place}.m{number}@allowed.test"),
            4 => format!("DEV{place}.M{number}@Allowed.TEST"),
            5 => format!("dev{place}.m{number}@sub.allowed.test"),
            6 => format!("\"x{place}.m{number}@allowed.test\"@evil.test"),
            7 => format!("x{place}.m{number}@notallowed.test"),
            8 => format!("allowed.test.{place}.m{number}@evil.test"),
            9 => ["boss@customer.test", "BOSS@CUSTOMER.test"][dice.usize(0..2)].to_owned(),
            10 => both(["all", "one", "two"][dice.usize(0..3)]),
            _ => ["qa-all@report.test", "qa-one@REPORT.test"][dice.usize(0..2)].to_owned(),
        };
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

struct Run {
    dice: fastrand::Rng,
    seed: u64,
    book: Arc<Book>,
    proxy: Proxy,
    record: Record,
    clock: (Instant, Timestamp),
    /// A SIGHUP that nobody has waited for: how many reloads there had been before.
    asked: Option<usize>,
    /// A session that outlives reloads, and when it began.
    pooled: Option<(Talk, Instant)>,
    events: Vec<Value>,
    next_event: u64,
    numbers: Figures,
}

impl Run {
    fn start(seed: u64) -> Run {
        let mut dice = fastrand::Rng::with_seed(seed);
        let book = Arc::new(Book::default());
        let addresses: Vec<_> =
            (0..dice.usize(1..=3)).map(|number| upstream::start(number, &book, dice.fork())).collect();
        let house = House::draw(&addresses, &mut dice);
        let settings = Settings::draw(&house, &mut dice);
        let from = Instant::now();
        let proxy = Proxy::start(&settings.write(&house));
        book.fail([0, 30, 80, 150][dice.usize(0..4)]);
        let eras = vec![Era { settings, from, to: None }];
        let record = Record { house, eras, ends: Vec::new(), letters: Vec::new(), named: Vec::new() };
        let clock = (Instant::now(), SystemClock::default().wall());
        Run {
            dice,
            seed,
            book,
            proxy,
            record,
            clock,
            asked: None,
            pooled: None,
            events: Vec::new(),
            next_event: 0,
            numbers: Figures::default(),
        }
    }

    fn play(mut self, figures: &mut Figures) {
        for _ in 0..self.dice.usize(15..35) {
            match self.dice.u32(0..100) {
                0..45 => self.send_some(),
                45..72 => self.switch(),
                72..80 => self.kill(),
                80..83 => self.stop(),
                83..91 => self.operate(),
                91..96 => self.patch(),
                _ => self.reload_nonsense(),
            }
        }
        self.end();
        let Figures {
            messages,
            reloads,
            in_transaction,
            kills,
            stops,
            verbs,
            patches,
            mails,
            rcpts,
            copies,
            ..
        } = self.numbers;
        figures.messages += messages;
        figures.reloads += reloads;
        figures.in_transaction += in_transaction;
        figures.kills += kills;
        figures.stops += stops;
        figures.verbs += verbs;
        figures.patches += patches;
        figures.mails += mails;
        figures.rcpts += rcpts;
        figures.copies += copies;
        figures.held_at_the_end += self.numbers.held_at_the_end;
    }

    fn send_some(&mut self) {
        for _ in 0..self.dice.u32(1..5) {
            self.send();
        }
        if self.dice.bool() {
            self.book.wait_for_another(SOON);
        }
    }

    fn send(&mut self) {
        let number = self.record.letters.len();
        let site = ["one", "two", "three", "none", "sub.one"][self.dice.usize(0..5)];
        let domain = if self.dice.bool() { format!("{site}.test") } else { format!("{site}.TEST") };
        let author = format!("s.m{number}@{domain}");
        let null = self.dice.u8(0..5) == 0;
        let names_author = self.dice.u8(0..6) > 0;
        let reverse_path = (!null).then(|| author.clone());
        let recipients = draw_recipients(&mut self.dice, number);
        let (mut talk, opened, pooled) = match self.pooled.take() {
            Some((talk, opened)) if self.dice.bool() => (talk, opened, true),
            kept => {
                self.pooled = kept;
                let opened = Instant::now();
                (Talk::hello(self.proxy.address()), opened, self.pooled.is_none() && self.dice.bool())
            }
        };
        let paths: Vec<String> = recipients.iter().map(|one| format!("<{one}>")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        talk.begin_data(&format!("<{}>", reverse_path.as_deref().unwrap_or_default()), &paths);
        let from = if names_author { format!("From: Shop <{author}>\r\n") } else { String::new() };
        let before = Instant::now();
        talk.send(format!(
            "{from}To: everybody\r\nSubject: m{number}\r\nDisposition-Notification-To: <{author}>\r\n\r\nhello\r\nagain\r\n.\r\n"
        ));
        let reply = talk.hear("250");
        let accepted = Instant::now();
        let id = reply.rsplit(' ').next().map(str::to_owned);
        // The settings in force when the content ends decide about the site, whenever the session began.
        let named = SITES.into_iter().find(|name| *name == site).filter(|_| !null || names_author);
        let eras = |from: Instant, to: Instant| {
            self.record.eras.iter().filter(move |era| era.from <= to && era.to.is_none_or(|end| from <= end))
        };
        let mut sites: Vec<&'static str> = eras(before, accepted)
            .map(|era| named.filter(|name| era.settings.of(name).is_some()).unwrap_or_default())
            .collect();
        sites.dedup();
        let certain = eras(before, accepted).all(|era| {
            let applies =
                |site: &&str| era.settings.of(site).is_some_and(|of| of.leading_mode() != Mode::AsAddressed);
            sites.iter().all(applies)
        });
        let letter = Letter {
            number,
            reverse_path,
            recipients,
            id,
            sites,
            under_mode: certain.then_some(accepted).into_iter().collect(),
            released: Vec::new(),
            logged: Vec::new(),
        };
        self.record.letters.push(letter);
        self.numbers.messages += 1;
        if pooled {
            self.pooled = Some((talk, opened));
        }
    }

    /// Another configuration, often while a transaction is at some step.
    fn switch(&mut self) {
        self.wait_for_reload();
        let last = &self.record.eras.last().expect("the first one").settings;
        let new = match self.dice.bool() {
            true => last.switched(&mut self.dice),
            false => Settings::draw(&self.record.house, &mut self.dice),
        };
        let gate = self.gate();
        self.numbers.in_transaction += usize::from(gate);
        self.reload(new);
        if gate && self.dice.u8(0..3) == 0 {
            self.operate();
        }
        self.book.open();
    }

    /// Sometimes: a transaction is kept at some step. True where one has come there.
    fn gate(&mut self) -> bool {
        if self.dice.u8(0..4) == 0 {
            return false;
        }
        let step = [Step::Mail, Step::Rcpt, Step::Data, Step::Dot][self.dice.usize(0..4)];
        self.book.close(step, SOON)
    }

    fn reload(&mut self, settings: Settings) {
        self.proxy.configure(&settings.write(&self.record.house));
        self.numbers.reloads += 1;
        let before = self.reloads();
        self.record.eras.push(Era { settings, from: Instant::now(), to: None });
        if self.dice.bool() {
            self.proxy.command(&["reload"]);
            self.in_force();
            return;
        }
        self.proxy.hang_up();
        self.asked = Some(before);
        if self.dice.bool() {
            self.wait_for_reload();
        }
    }

    fn wait_for_reload(&mut self) {
        if let Some(before) = self.asked.take() {
            eventually("the reload", || (self.reloads() > before).then_some(()));
            self.in_force();
        }
    }

    /// The newest configuration is in force, and no other.
    fn in_force(&mut self) {
        let now = Instant::now();
        let (_, earlier) = self.record.eras.split_last_mut().expect("the first one");
        earlier.iter_mut().for_each(|era| era.to = Some(era.to.unwrap_or(now)));
    }

    fn reloads(&mut self) -> usize {
        self.read_events();
        self.events.iter().filter(|event| event["code"] == "RELOADED").count()
    }

    /// All events that there are by now.
    fn read_events(&mut self) {
        loop {
            let path = format!("/api/v1/events?from={}&limit=10000", self.next_event);
            let mut answer = self.proxy.get(&path).expect("the events");
            let next = answer["next"].as_u64();
            let all = answer["events"].as_array_mut().expect("a list");
            if all.is_empty() {
                return;
            }
            self.events.append(all);
            self.next_event = next.expect("where to go on");
        }
    }

    fn reload_nonsense(&mut self) {
        self.wait_for_reload();
        self.proxy.configure("[redirect]\nenabled = false\nreport_emails = [\"nobody\"]\n");
        let refused = self.proxy.try_command(&["reload"]);
        assert_eq!(refused.status.code(), Some(78));
        let last = &self.record.eras.last().expect("the first one").settings;
        self.proxy.configure(&last.write(&self.record.house));
    }

    fn kill(&mut self) {
        self.gate();
        self.proxy.kill();
        self.numbers.kills += 1;
        self.after_the_end();
    }

    fn stop(&mut self) {
        self.proxy.terminate();
        self.numbers.stops += 1;
        self.after_the_end();
    }

    /// The process has ended.
    fn note_the_end(&mut self) {
        let now = Instant::now();
        self.asked = None;
        self.pooled = None;
        self.book.open();
        self.record.ends.push(now);
        self.record.eras.iter_mut().for_each(|era| era.to = Some(era.to.unwrap_or(now)));
    }

    /// Started again, sometimes with another configuration.
    fn after_the_end(&mut self) {
        self.note_the_end();
        let last = &self.record.eras.last().expect("the first one").settings;
        let settings = if self.dice.bool() { last.clone() } else { last.switched(&mut self.dice) };
        self.proxy.configure(&settings.write(&self.record.house));
        self.record.eras.push(Era { settings, from: Instant::now(), to: None });
        self.proxy.start_again();
    }

    /// An operator holds, releases or retries some messages.
    fn operate(&mut self) {
        let verb = ["hold", "release", "retry", "retry"][self.dice.usize(0..4)];
        let known: Vec<&str> = self.record.letters.iter().filter_map(|one| one.id.as_deref()).collect();
        let some: Vec<&str> = known.into_iter().filter(|_| self.dice.u8(0..3) == 0).collect();
        if !some.is_empty() {
            self.numbers.verbs += 1;
            self.verb(verb, &some);
        }
    }

    fn verb(&self, verb: &str, ids: &[&str]) {
        // Messages that are gone are no mistake here.
        let arguments = [&["queue", verb], ids].concat();
        let confirmed = [&arguments[..], &["--yes"]].concat();
        if self.proxy.try_command(&confirmed).status.code() == Some(2) {
            self.proxy.try_command(&arguments);
        }
    }

    /// Everything is well, nothing is switched: what is left is held or failed. Then it is released.
    fn end(&mut self) {
        self.book.fail(0);
        self.wait_for_reload();
        let calm = Settings::calm(&self.record.house);
        self.proxy.configure(&calm.write(&self.record.house));
        self.record.eras.push(Era { settings: calm, from: Instant::now(), to: None });
        self.proxy.command(&["reload"]);
        self.in_force();
        let listed = self.settled();
        self.judge(&listed);
        let held: Vec<&str> =
            listed.iter().filter(|one| one["state"] == "held").filter_map(|one| one["id"].as_str()).collect();
        self.numbers.held_at_the_end = held.len();
        if !held.is_empty() {
            self.verb("release", &held);
        }
        let listed = eventually("everything released to be decided", || {
            let listed = self.settled();
            listed.iter().all(|one| one["state"] == "failed").then_some(listed)
        });
        self.judge(&listed);
        let transactions = self.book.transactions();
        self.numbers.mails = transactions.len();
        self.numbers.rcpts = transactions.iter().map(|one| one.rcpt.len()).sum();
        let is_copy = |one: &&upstream::Transaction| one.header.contains("\r\nX-Original-To: ");
        self.numbers.copies = transactions.iter().filter(is_copy).count();
    }

    /// All messages, once each is decided or waits for an operator alone.
    fn settled(&self) -> Vec<Value> {
        eventually("the queue to be settled", || {
            let listed = self.proxy.get("/api/v1/messages?limit=1000")?["messages"].as_array()?.clone();
            let waits_for_operator = |one: &Value| {
                let reasons = one["held_because"].as_array();
                let by_itself = |reason: &Value| reason == "site_gone" || reason == "nobody_to_report_to";
                one["state"] == "held" && !reasons.is_some_and(|all| all.iter().any(by_itself))
            };
            let is_settled = |one: &Value| one["state"] == "failed" || waits_for_operator(one);
            listed.iter().all(is_settled).then_some(listed)
        })
    }

    fn judge(&mut self, listed: &[Value]) {
        assert_eq!(self.proxy.get("/api/v1/stats").expect("figures")["damaged"], 0);
        let (start, wall) = self.clock;
        let instant = |time: &str| {
            let since = time.parse::<Timestamp>().expect("a time").duration_since(wall);
            match since.is_negative() {
                true => start - since.unsigned_abs(),
                false => start + since.unsigned_abs(),
            }
        };
        self.read_events();
        let transactions = self.book.transactions();
        self.record.read(&std::mem::take(&mut self.events), instant);
        self.record.note_copies(&transactions);
        let mut wrong: Vec<String> =
            transactions.iter().filter_map(|one| self.record.check(one).err()).collect();
        wrong.extend(self.record.doubles(&transactions));
        wrong.extend(self.record.account(listed, &transactions));
        for id in listed.iter().filter_map(|one| one["id"].as_str()).filter(|id| !self.record.is_known(id)) {
            println!("nobody was told of {id}");
        }
        assert!(
            wrong.is_empty(),
            "LEAK_SEED={}: {} wrong\n{}",
            self.seed,
            wrong.len(),
            wrong[..wrong.len().min(3)].join("\n")
        );
    }
}
