//! Which messages a listing shows and a bulk action means: terms that all have to hold, and what of them an index can answer.
//! How a filter is written is in `filter_parser.rs` and docs/rules.md#filters.

use crate::event::encoded_words::decoded_line;
use crate::mail::{Class, Message, MessageState, QueueId};
use jiff::Timestamp;
use std::ops::RangeInclusive;

/// The states that messages in the queue have: those that are sent have left it.
const QUEUE_STATES: [MessageState; 4] =
    [MessageState::Queued, MessageState::Deferred, MessageState::Held, MessageState::Failed];

/// Which messages are meant. The default, without a term, means all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub(super) terms: Vec<Term>,
    /// Actions leave alone what has changed since.
    unchanged_since: Option<Timestamp>,
}

/// One test, or its contrary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Term {
    pub(super) negated: bool,
    pub(super) test: Test,
}

/// What a term asks of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Test {
    /// One of these.
    State(Vec<MessageState>),
    Class(Vec<Class>),
    /// One of these names; an empty one is mail of no site.
    Site(Vec<String>),
    /// One of these has taken or refused a recipient; an empty name: nobody was asked.
    Upstream(Vec<String>),
    /// One of these is in the reverse-path; an empty one is the null reverse-path.
    From(Vec<Needle>),
    /// One of these is in the address of a recipient.
    To(Vec<Needle>),
    Subject(Needle),
    /// In the id, an address, the subject or a reply.
    Anywhere(Needle),
    /// Its reception began before that.
    Older(Timestamp),
    /// Its reception began then or later.
    Newer(Timestamp),
    /// It has more bytes of content.
    Larger(u64),
}

impl Filter {
    /// Messages in one of these states; all where none is named.
    pub fn of_states(states: Vec<MessageState>) -> Filter {
        let terms = if states.is_empty() { Vec::new() } else { vec![Test::State(states)] };
        Filter::of_terms(terms.into_iter().map(|test| Term { negated: false, test }).collect())
    }

    pub(super) fn of_terms(terms: Vec<Term>) -> Filter {
        Filter { terms, unchanged_since: None }
    }

    /// For an action on what was counted then: a message that has changed since may not have been among it, and is left alone.
    #[must_use]
    pub fn as_counted_at(mut self, time: Timestamp) -> Filter {
        self.unchanged_since = Some(time);
        self
    }

    /// Whether a message that changed last at that time may be acted on.
    pub(super) fn allows_change_at(&self, changed: Timestamp) -> bool {
        self.unchanged_since.is_none_or(|time| changed.as_millisecond() <= time.as_millisecond())
    }

    /// What both mean.
    #[must_use]
    pub fn and(mut self, other: Filter) -> Filter {
        self.terms.extend(other.terms);
        self
    }

    /// Whether it means a message or not for good: it asks for nothing that changes while a message is in the queue.
    pub fn is_constant(&self) -> bool {
        self.terms.iter().all(|term| {
            matches!(
                term.test,
                Test::Class(_)
                    | Test::From(_)
                    | Test::Subject(_)
                    | Test::Older(_)
                    | Test::Newer(_)
                    | Test::Larger(_)
            )
        })
    }

    /// The upstreams that it names.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let named = self.terms.iter().flat_map(|term| match &term.test {
            Test::Upstream(names) => &names[..],
            _ => &[],
        });
        named.map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The sites that it names.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        let named = self.terms.iter().flat_map(|term| match &term.test {
            Test::Site(names) => &names[..],
            _ => &[],
        });
        named.map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Whether it means every message.
    pub fn is_all(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it means this message.
    pub fn matches(&self, message: &Message) -> bool {
        self.terms.iter().all(|term| term.test.holds(message) != term.negated)
    }

    /// Whether it means a message of which nothing can be read but its id: only where the id is all that is asked for.
    pub fn matches_unreadable(&self, id: QueueId) -> bool {
        self.terms.iter().all(|term| match &term.test {
            Test::Anywhere(needle) => needle.is_in(&id.to_string()) != term.negated,
            Test::Older(_) | Test::Newer(_) => {
                let ids = term.ids();
                ids.contains(&id.number())
            }
            _ => false,
        })
    }

    /// The states of the messages that it can mean, where those are not all.
    pub fn states(&self) -> Option<Vec<MessageState>> {
        let allowed = |state: &MessageState| {
            self.terms.iter().all(|term| match &term.test {
                Test::State(states) => states.contains(state) != term.negated,
                _ => true,
            })
        };
        let states: Vec<_> = QUEUE_STATES.into_iter().filter(allowed).collect();
        (states.len() < QUEUE_STATES.len()).then_some(states)
    }

    /// Whether the index of states alone says what it means.
    pub fn is_of_states_only(&self) -> bool {
        self.terms.iter().all(|term| matches!(term.test, Test::State(_)))
    }

    /// Numbers of ids outside of which it means no message.
    pub fn ids(&self) -> RangeInclusive<u128> {
        let ranges = self.terms.iter().map(Term::ids);
        ranges.fold(0..=u128::MAX, |all, one| *all.start().max(one.start())..=*all.end().min(one.end()))
    }
}

impl Term {
    /// See [`Filter::ids`]. Each id begins with the milliseconds at which the reception of its message began.
    fn ids(&self) -> RangeInclusive<u128> {
        let first = |time: Timestamp| u128::try_from(time.as_millisecond()).unwrap_or(0) << 80;
        match (&self.test, self.negated) {
            (Test::Older(time), false) | (Test::Newer(time), true) => match first(*time) {
                0 => RangeInclusive::new(1, 0),
                first => 0..=first - 1,
            },
            (Test::Newer(time), false) | (Test::Older(time), true) => first(*time)..=u128::MAX,
            _ => 0..=u128::MAX,
        }
    }
}

impl Test {
    fn holds(&self, message: &Message) -> bool {
        let began = || message.id.unix_ms();
        let is_before = |time: &Timestamp| i128::from(began()) < i128::from(time.as_millisecond());
        match self {
            Test::State(states) => states.contains(&message.state()),
            Test::Class(classes) => classes.contains(&message.class),
            Test::Site(names) => names.iter().any(|name| name.eq_ignore_ascii_case(&message.site)),
            Test::Upstream(names) => names.iter().any(|name| was_asked(message, name)),
            Test::From(needles) => needles.iter().any(|needle| is_from(message, needle)),
            Test::To(needles) => {
                let is_to =
                    |needle: &Needle| message.recipients.iter().any(|one| needle.is_in(one.address.as_str()));
                needles.iter().any(is_to)
            }
            Test::Subject(needle) if needle.is_empty() => subject(message).trim().is_empty(),
            Test::Subject(needle) => needle.is_in(&subject(message)),
            Test::Anywhere(needle) => is_anywhere(message, needle),
            Test::Older(time) => is_before(time),
            Test::Newer(time) => !is_before(time),
            Test::Larger(bytes) => message.size > *bytes,
        }
    }
}

fn is_from(message: &Message, needle: &Needle) -> bool {
    match needle.is_empty() {
        true => message.reverse_path.address().is_none(),
        false => needle.is_in(message.reverse_path.as_str()),
    }
}

fn was_asked(message: &Message, name: &str) -> bool {
    let is_it = |asked: &String| asked.eq_ignore_ascii_case(name);
    if name.is_empty() {
        return message.recipients.iter().all(|one| one.upstream.is_none());
    }
    message.recipients.iter().any(|one| {
        one.upstream.as_ref().is_some_and(is_it) || one.refused_by.iter().any(|one| is_it(&one.upstream))
    })
}

/// As listings show it, and not cut.
fn subject(message: &Message) -> String {
    message.header.subject.as_deref().map(decoded_line).unwrap_or_default()
}

fn is_anywhere(message: &Message, needle: &Needle) -> bool {
    needle.is_in(&message.id.to_string())
        || needle.is_in(message.reverse_path.as_str())
        || message.recipients.iter().any(|one| {
            needle.is_in(one.address.as_str()) || one.reply.as_ref().is_some_and(|reply| needle.is_in(reply))
        })
        || needle.is_in(&subject(message))
}

/// A text to look for, ASCII case ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Needle(String);

impl Needle {
    /// Looks for this text.
    pub fn new(text: &str) -> Needle {
        Needle(text.to_ascii_lowercase())
    }

    /// Whether it is somewhere in `text`.
    pub fn is_in(&self, text: &str) -> bool {
        self.is_in_bytes(text.as_bytes())
    }

    /// Whether it is somewhere in bytes.
    pub fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        let needle = self.0.as_bytes();
        let Some(first) = needle.first() else { return true };
        let found = |at: usize| {
            bytes.get(at..at + needle.len()).is_some_and(|part| part.eq_ignore_ascii_case(needle))
        };
        memchr::memchr2_iter(*first, first.to_ascii_uppercase(), bytes).any(found)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
