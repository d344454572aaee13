//! What upstreams were given, held against what could have been in force at that moment: a reading of rule 6 that shares no
//! code with the proxy's.

use super::settings::{House, Mode, SITES, Settings};
use super::upstream::Transaction;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// A configuration, from the moment when it was asked for to the moment when the next one was known to be in force.
pub struct Era {
    pub settings: Settings,
    pub from: Instant,
    pub to: Option<Instant>,
}

/// A message that a client has offered.
#[derive(Clone, Debug)]
pub struct Letter {
    pub number: usize,
    /// None for `<>`.
    pub reverse_path: Option<String>,
    pub recipients: Vec<String>,
    /// The queue id that the client was told.
    pub id: Option<String>,
    /// The sites that it may belong to; `""`: none.
    pub sites: Vec<&'static str>,
    /// When a mode certainly applied to it.
    pub under_mode: Vec<Instant>,
    /// When an operator released it.
    pub released: Vec<Instant>,
    /// Recipients that debug said were logged only.
    pub logged: Vec<String>,
}

/// All of a run.
pub struct Record {
    pub house: House,
    pub eras: Vec<Era>,
    /// When the process was ended.
    pub ends: Vec<Instant>,
    /// By number.
    pub letters: Vec<Letter>,
    /// Messages of which a reload has said that they had begun before it, and when.
    pub named: Vec<(String, Instant)>,
}

/// How long after a reload the MAIL of a transaction that it named may be read.
const LAG: Duration = Duration::from_secs(5);
/// A reply that was written later after the final dot may have found nobody waiting for it.
const LATE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Direct,
    Copy,
}

impl Record {
    fn by_id(&self, id: &str) -> Option<&Letter> {
        self.letters.iter().find(|letter| letter.id.as_deref() == Some(id))
    }

    /// Whose message it is, where enough of it was sent.
    pub fn letter(&self, transaction: &Transaction) -> Option<&Letter> {
        let (_, rest) = transaction.header.split_once("\r\nSubject: m")?;
        let number: usize = rest.split_once("\r\n")?.0.parse().ok()?;
        self.letters.get(number)
    }

    /// When its MAIL was sent at the latest: what a process sent before its end may be read after it.
    fn sent_by(&self, transaction: &Transaction) -> Instant {
        let end = self.ends.iter().find(|end| **end >= transaction.alive);
        end.map_or(transaction.at, |end| transaction.at.min(*end))
    }

    fn in_force(&self, at: Instant) -> impl Iterator<Item = &Settings> {
        let there = move |era: &&Era| era.from <= at && era.to.is_none_or(|to| at <= to);
        self.eras.iter().filter(there).map(|era| &era.settings)
    }

    /// What may have been in force when its MAIL was sent.
    fn settings_of(&self, transaction: &Transaction) -> Vec<&Settings> {
        let at = self.sent_by(transaction);
        let mut all: Vec<&Settings> = self.in_force(at).collect();
        let letter = self.letter(transaction).and_then(|letter| letter.id.as_deref());
        for (id, when) in &self.named {
            let is_it = letter.is_none_or(|letter| letter == id);
            if is_it && *when <= at && at < *when + LAG {
                all.extend(self.in_force(*when));
            }
        }
        all
    }

    /// The sites whose settings may hold for a message by then.
    fn sites(&self, letter: &Letter) -> Vec<&'static str> {
        let mut sites = letter.sites.clone();
        if !letter.released.is_empty() {
            // Released from a site that was gone it counts as mail of none.
            sites.push("");
        }
        sites
    }

    /// Of each recipient that the transaction named: whether somebody was allowed to give it to the upstream.
    pub fn check(&self, transaction: &Transaction) -> Result<(), String> {
        let settings = self.settings_of(transaction);
        let letter = self.letter(transaction);
        let has_originals = transaction.header.contains("\r\nX-Original-To: ");
        let mut kinds = vec![Kind::Direct, Kind::Copy];
        if letter.is_some() && transaction.dot.is_some() {
            kinds.retain(|kind| (*kind == Kind::Copy) == has_originals);
        }
        for (rcpt, _) in &transaction.rcpt {
            let path = rcpt.strip_prefix('<').unwrap_or(rcpt);
            let (address, parameters) = path.rsplit_once('>').unwrap_or((path, ""));
            kinds.retain(|kind| match kind {
                Kind::Direct => self.may_be_direct(transaction, address, letter, &settings),
                Kind::Copy => {
                    parameters.is_empty() && self.may_be_copy(transaction, address, letter, &settings)
                }
            });
            if kinds.is_empty() {
                let letter = letter
                    .or_else(|| self.letters.iter().find(|one| one.recipients.contains(&address.to_owned())));
                return Err(format!(
                    "LEAK: <{address}> {transaction:#?}\nof {letter:#?}\nin force {settings:#?}\nhouse {:#?}",
                    self.house
                ));
            }
        }
        let receipt = "\r\nDisposition-Notification-To:";
        if kinds == [Kind::Copy] && transaction.header.contains(receipt) {
            return Err(format!("a receipt is asked for in a report copy: {transaction:#?}"));
        }
        Ok(())
    }

    fn may_be_copy(
        &self,
        transaction: &Transaction,
        address: &str,
        letter: Option<&Letter>,
        settings: &[&Settings],
    ) -> bool {
        let sites = match letter {
            Some(letter) => self.sites(letter),
            None => SITES.into_iter().chain([""]).collect(),
        };
        settings.iter().any(|settings| {
            sites.iter().any(|site| {
                let Some(of) = settings.of(site) else { return false };
                let sender = self.house.upstreams[transaction.upstream].2.as_deref();
                let ours = sender.or_else(|| of.enabled().next());
                let (null, mail) = (transaction.mail.is_empty(), Some(transaction.mail.as_str()));
                let path_is_right = match letter.map(|letter| letter.reverse_path.is_none()) {
                    Some(true) => null,
                    Some(false) => mail == ours,
                    None => null || mail == ours,
                };
                of.mode() == Mode::Redirect
                    && of.enabled().any(|one| one == address)
                    && path_is_right
                    && self.house.takes(transaction.upstream, site)
            })
        })
    }

    fn may_be_direct(
        &self,
        transaction: &Transaction,
        address: &str,
        letter: Option<&Letter>,
        settings: &[&Settings],
    ) -> bool {
        let at = self.sent_by(transaction);
        let is_to = |letter: &&Letter| letter.recipients.iter().any(|one| one == address);
        let candidates: Vec<&Letter> = match letter {
            Some(letter) => [letter].into_iter().filter(is_to).collect(),
            None => self.letters.iter().filter(is_to).collect(),
        };
        candidates.iter().any(|letter| {
            let sites = self.sites(letter);
            settings.iter().any(|settings| {
                sites.iter().any(|site| {
                    let Some(of) = settings.of(site) else { return false };
                    let permitted = match of.mode() {
                        Mode::AsAddressed => !is_under_mode(letter, at),
                        Mode::Redirect => of.allows(address),
                        _ => false,
                    };
                    permitted && self.house.takes(transaction.upstream, site)
                })
            })
        })
    }

    /// Reads what the proxy's events say of modes and releases.
    pub fn read(&mut self, events: &[Value], instant: impl Fn(&str) -> Instant) {
        for event in events {
            let text = |key: &str| event[key].as_str().unwrap_or_default();
            let (at, message) = (instant(text("time")), text("message"));
            if text("code") == "RELOADED" {
                let named = message.split("message ").skip(1).filter(|rest| rest.contains(" had begun at "));
                let id = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
                self.named.extend(named.map(|rest| (id(rest), at)));
            }
            let id = text("queue_id");
            let Some(letter) = self.letters.iter_mut().find(|one| one.id.as_deref() == Some(id)) else {
                continue;
            };
            if message.contains("logged only") {
                letter.logged.push(text("recipient").to_owned());
            }
            let simulated = text("type") == "Error" && message.starts_with("Sending failed for ");
            let held = text("code") == "HELD"
                && (message.contains("redirect is on and no report address")
                    || message.contains("it was under redirect"));
            if simulated || held || message.contains("logged only") {
                letter.under_mode.push(at);
            }
            if message.ends_with("was released by an operator") {
                letter.released.push(at);
            }
        }
    }

    /// Notes which messages were attempted under redirect, as upstreams have seen it.
    pub fn note_copies(&mut self, transactions: &[Transaction]) {
        let copies: Vec<(usize, Instant)> = transactions
            .iter()
            .filter(|one| one.header.contains("\r\nX-Original-To: "))
            .filter_map(|one| Some((self.letter(one)?.number, self.sent_by(one))))
            .collect();
        for (number, at) in copies {
            self.letters[number].under_mode.push(at);
        }
    }

    /// No recipient got a message twice without a reason: the process was ended between, or a reply was not heard.
    pub fn doubles(&self, transactions: &[Transaction]) -> Vec<String> {
        let mut taken: BTreeMap<(usize, bool, &str), Vec<&Transaction>> = BTreeMap::new();
        for transaction in transactions.iter().filter(|one| one.is_taken()) {
            let Some(letter) = self.letter(transaction) else { continue };
            let is_copy = transaction.header.contains("\r\nX-Original-To: ");
            for (rcpt, _) in transaction.rcpt.iter().filter(|(_, code)| *code == 250) {
                taken.entry((letter.number, is_copy, rcpt)).or_default().push(transaction);
            }
        }
        let mut wrong = Vec::new();
        for (key, all) in &mut taken {
            all.sort_by_key(|one| one.at);
            for pair in all.windows(2) {
                let [first, again] = pair else { continue };
                let (Some(dot), Some((replied, _))) = (first.dot, first.replied) else { continue };
                let ended = self.ends.iter().any(|end| first.at <= *end && *end <= again.at);
                if !ended && replied - dot < LATE {
                    wrong.push(format!("DOUBLED without a reason: {key:?} {first:#?} {again:#?}"));
                }
            }
        }
        wrong
    }

    /// What the queue says of each accepted message, against what upstreams took and said.
    pub fn account(&self, listed: &[Value], transactions: &[Transaction]) -> Vec<String> {
        let listed: HashMap<&str, &Value> =
            listed.iter().filter_map(|message| Some((message["id"].as_str()?, message))).collect();
        let mut wrong = Vec::new();
        for letter in &self.letters {
            let Some(id) = letter.id.as_deref() else { continue };
            let own: Vec<&Transaction> = transactions
                .iter()
                .filter(|one| self.letter(one).is_some_and(|one| one.number == letter.number))
                .collect();
            let copied = own.iter().any(|one| one.is_taken() && one.header.contains("\r\nX-Original-To: "));
            let took = |address: &str| {
                let to = format!("<{address}>");
                own.iter().any(|one| {
                    one.is_taken()
                        && one.rcpt.iter().any(|(rcpt, code)| *code == 250 && rcpt.starts_with(&to))
                })
            };
            for address in &letter.recipients {
                let stated = listed.get(id).map(|message| {
                    let is_it =
                        |one: &&Value| one["role"] == "original" && one["address"] == address.as_str();
                    let recipient = message["recipients"].as_array().and_then(|all| all.iter().find(is_it));
                    recipient.and_then(|one| one["state"].as_str()).unwrap_or("missing")
                });
                let right = match stated {
                    None | Some("delivered") => took(address) || copied || letter.logged.contains(address),
                    Some("held") => true,
                    Some("failed") => transactions.iter().any(|one| one.refused),
                    Some(_) => false,
                };
                if !right {
                    wrong.push(format!("<{address}> of {letter:#?} is {stated:?}; transactions {own:#?}"));
                }
            }
        }
        wrong
    }

    /// Every id that is listed is one that a client was told.
    pub fn is_known(&self, id: &str) -> bool {
        self.by_id(id).is_some()
    }
}

/// A mode has applied to it by then, and nobody has released it since.
fn is_under_mode(letter: &Letter, at: Instant) -> bool {
    let marks = letter.under_mode.iter().filter(|mark| **mark < at);
    let released = letter.released.iter().filter(|release| **release <= at).max();
    marks.max().is_some_and(|mark| released.is_none_or(|release| release < mark))
}
