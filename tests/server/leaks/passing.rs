//! The same without a queue (rule 15): clients wait for upstreams while modes are switched under them, and the process is killed.
//! What an upstream is asked has to be right when MAIL leaves, and what it gets when the final dot does.

use super::judgement::{Era, Letter, Record};
use super::settings::{House, SITES, Settings};
use super::upstream::{self, Book, Step, Transaction};
use super::{SOON, draw_recipients, for_each_seed};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the runs of the suite take together, about.
const SUITE: Duration = Duration::from_secs(15);

#[derive(Default, Debug)]
struct Figures {
    runs: usize,
    messages: usize,
    accepted: usize,
    reloads: usize,
    in_transaction: usize,
    named: usize,
    kills: usize,
    rcpts: usize,
    taken: usize,
    copies: usize,
}

#[test]
fn redirect_leaks_to_nobody_without_a_queue() {
    let mut figures = Figures::default();
    for_each_seed(SUITE, |seed| {
        PassingRun::start(seed).play(&mut figures);
        figures.runs += 1;
    });
    println!("{figures:#?}");
    assert!(figures.taken > 0, "nobody took anything");
}

struct PassingRun {
    dice: fastrand::Rng,
    seed: u64,
    book: Arc<Book>,
    proxy: Proxy,
    record: Record,
}

/// What a client has to say.
#[derive(Clone)]
struct Offer {
    number: usize,
    reverse_path: String,
    recipients: Vec<String>,
    from: String,
    site: Option<&'static str>,
    began: Instant,
}

impl PassingRun {
    fn start(seed: u64) -> PassingRun {
        let mut dice = fastrand::Rng::with_seed(seed);
        let book = Arc::new(Book::default());
        let addresses: Vec<_> =
            (0..dice.usize(1..=3)).map(|number| upstream::start(number, &book, dice.fork())).collect();
        let house = House::draw(&addresses, &mut dice);
        let settings = Settings::draw(&house, &mut dice);
        let from = Instant::now();
        let proxy = Proxy::start(&written(&settings, &house));
        book.fail([0, 30, 80][dice.usize(0..3)]);
        let eras = vec![Era { settings, from, to: None }];
        let record = Record { house, eras, ends: Vec::new(), letters: Vec::new(), named: Vec::new() };
        PassingRun { dice, seed, book, proxy, record }
    }

    fn play(mut self, figures: &mut Figures) {
        for _ in 0..self.dice.usize(10..25) {
            let offers: Vec<Offer> = (0..self.dice.usize(1..4)).map(|_| self.draw()).collect();
            figures.messages += offers.len();
            let address = self.proxy.address();
            let clients: Vec<_> = offers
                .iter()
                .cloned()
                .map(|offer| std::thread::spawn(move || offer_to(address, &offer).unwrap_or(false)))
                .collect();
            match self.dice.u8(0..10) {
                0..6 => self.switch(figures),
                6 => self.kill(figures),
                _ => {}
            }
            let accepted: Vec<bool> =
                clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect();
            figures.accepted += accepted.iter().filter(|accepted| **accepted).count();
            for (offer, accepted) in offers.into_iter().zip(accepted) {
                self.note(offer, accepted);
            }
        }
        let transactions = self.book.transactions();
        figures.rcpts += transactions.iter().map(|one| one.rcpt.len()).sum::<usize>();
        figures.taken += transactions.iter().filter(|one| one.is_taken()).count();
        let is_copy = |one: &&Transaction| one.header.contains("\r\nX-Original-To: ");
        figures.copies += transactions.iter().filter(is_copy).count();
        figures.named += self.record.named.len();
    }

    fn draw(&mut self) -> Offer {
        let number = self.record.letters.len();
        // Its place; what is known of it later is noted when it is over.
        let recipients = draw_recipients(&mut self.dice, number);
        let letter = Letter {
            number,
            reverse_path: None,
            recipients: recipients.clone(),
            id: None,
            sites: SITES.into_iter().chain([""]).collect(),
            under_mode: Vec::new(),
            released: Vec::new(),
            logged: Vec::new(),
        };
        let name = ["one", "two", "three", "none"][self.dice.usize(0..4)];
        let author = format!("s.m{number}@{name}.test");
        let null = self.dice.u8(0..4) == 0;
        let reverse_path = if null { String::new() } else { author.clone() };
        self.record.letters.push(Letter { reverse_path: (!null).then(|| author.clone()), ..letter });
        let site = SITES.into_iter().find(|site| *site == name);
        Offer { number, reverse_path, recipients, from: author, site, began: Instant::now() }
    }

    /// A transaction is over: its site is known, and whatever was asked and given is judged.
    fn note(&mut self, offer: Offer, accepted: bool) {
        let now = Instant::now();
        let overlapping = |era: &&Era| era.from <= now && era.to.is_none_or(|end| offer.began <= end);
        let mut sites: Vec<&'static str> = self
            .record
            .eras
            .iter()
            .filter(overlapping)
            .map(|era| offer.site.filter(|site| era.settings.of(site).is_some()).unwrap_or_default())
            .collect();
        sites.dedup();
        let null = offer.reverse_path.is_empty();
        let transactions = self.book.transactions();
        let own: Vec<&Transaction> = transactions.iter().filter(|one| self.is_of(one, &offer)).collect();
        for transaction in &own {
            let mut asked = sites.clone();
            if null {
                // Its From was not known when the recipients were.
                asked.push("");
            }
            self.record.letters[offer.number].sites = asked;
            self.judge(transaction);
            self.record.letters[offer.number].sites = sites.clone();
            if let Some(dot) = transaction.dot {
                self.judge(transaction);
                self.judge(&Transaction { at: dot, alive: dot, ..Transaction::clone(transaction) });
            }
        }
        if accepted {
            // The upstream notes a reply when it has left.
            let what = format!("somebody to have taken m{}, LEAK_SEED={}", offer.number, self.seed);
            let took = |one: &Transaction| self.is_of(one, &offer) && one.is_taken();
            eventually(&what, || self.book.transactions().iter().any(took).then_some(()));
        }
    }

    /// The addresses of a message are its own, but for a few.
    fn is_of(&self, transaction: &Transaction, offer: &Offer) -> bool {
        let mark = format!("m{}@", offer.number);
        let subject = format!("\r\nSubject: m{}\r\n", offer.number);
        let named = transaction.rcpt.iter().any(|(rcpt, _)| rcpt.to_ascii_lowercase().contains(&mark));
        named || transaction.header.contains(&subject)
    }

    fn judge(&self, transaction: &Transaction) {
        if let Err(wrong) = self.record.check(transaction) {
            panic!("LEAK_SEED={}: {wrong}", self.seed);
        }
    }

    fn switch(&mut self, figures: &mut Figures) {
        let last = &self.record.eras.last().expect("the first one").settings;
        let new = match self.dice.bool() {
            true => last.switched(&mut self.dice),
            false => Settings::draw(&self.record.house, &mut self.dice),
        };
        let step = [Step::Mail, Step::Rcpt, Step::Data, Step::Dot][self.dice.usize(0..4)];
        figures.in_transaction += usize::from(self.dice.u8(0..4) > 0 && self.book.close(step, SOON));
        self.proxy.configure(&written(&new, &self.record.house));
        let asked = Instant::now();
        self.record.eras.push(Era { settings: new, from: asked, to: None });
        let output = self.proxy.command(&["reload"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let named = said.split("message ").skip(1).filter(|rest| rest.contains(" had begun at "));
        let id = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
        self.record.named.extend(named.map(|rest| (id(rest), asked)));
        self.in_force();
        self.book.open();
        figures.reloads += 1;
    }

    fn in_force(&mut self) {
        let now = Instant::now();
        let (_, earlier) = self.record.eras.split_last_mut().expect("the first one");
        earlier.iter_mut().for_each(|era| era.to = Some(era.to.unwrap_or(now)));
    }

    fn kill(&mut self, figures: &mut Figures) {
        self.proxy.kill();
        self.record.ends.push(Instant::now());
        self.book.open();
        self.proxy.start_again();
        figures.kills += 1;
    }
}

fn written(settings: &Settings, house: &House) -> String {
    settings.write(house).replacen("[queue]\n", "[queue]\nenabled = false\n", 1)
}

/// True where an upstream took it, as the client was told; false where it was refused, or the connection ended.
fn offer_to(address: SocketAddr, offer: &Offer) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut code = || -> std::io::Result<(u16, String)> {
        loop {
            let mut line = String::new();
            if replies.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok((line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0), line));
            }
        }
    };
    code()?;
    let mut say = |text: String| -> std::io::Result<(u16, String)> {
        stream.write_all(text.as_bytes())?;
        code()
    };
    say("EHLO c.test\r\n".to_owned())?;
    say(format!("MAIL FROM:<{}>\r\n", offer.reverse_path))?;
    let mut accepted = 0;
    for recipient in &offer.recipients {
        accepted += usize::from(say(format!("RCPT TO:<{recipient}>\r\n"))?.0 == 250);
    }
    if accepted == 0 || say("DATA\r\n".to_owned())?.0 != 354 {
        return Ok(false);
    }
    let (number, author) = (offer.number, &offer.from);
    let (code, text) = say(format!(
        "From: Shop <{author}>\r\nTo: everybody\r\nSubject: m{number}\r\nDisposition-Notification-To: <{author}>\r\n\r\n\
         hello\r\nagain\r\n.\r\n"
    ))?;
    Ok(code == 250 && !text.contains("logged only"))
}
