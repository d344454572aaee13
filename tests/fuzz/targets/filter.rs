//! Filters: any text is read or refused, and the indexes exclude nothing that a filter means.
//!
//! An input: the expression. What is not UTF-8 is replaced.

use postroom::mail::printable::is_printable;
use postroom::mail::*;
use postroom::queue::Filter;

pub fn run(data: &[u8]) {
    let expression = String::from_utf8_lossy(data);
    let now: jiff::Zoned = "2026-11-21T14:00:00+00:00[UTC]".parse().unwrap();
    match Filter::parse(&expression, &now) {
        Ok(filter) => messages().iter().for_each(|message| agrees(&filter, message)),
        Err(error) => {
            assert!((1..=expression.chars().count() + 1).contains(&error.column()), "{error:?}");
            assert!(
                error.pointed().chars().all(|one| one == '\n' || is_printable(one))
                    || !printable(&expression)
            );
        }
    }
}

/// Whether it has nothing that is not to be shown: then the error has nothing of it either.
fn printable(text: &str) -> bool {
    text.chars().all(is_printable)
}

fn agrees(filter: &Filter, message: &Message) {
    if filter.matches(message) {
        assert!(filter.states().is_none_or(|states| states.contains(&message.state())), "{filter:?}");
        assert!(filter.ids().contains(&message.id.number()), "{filter:?}");
    }
    // What both mean is what each of them means.
    let twice = filter.clone().and(filter.clone());
    assert_eq!(twice.matches(message), filter.matches(message));
    if filter.is_all() {
        assert!(filter.matches(message) && filter.matches_unreadable(message.id));
    }
}

/// Of each state and of several ages.
fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    for (age, state) in
        [RecipientState::Pending, RecipientState::Deferred, RecipientState::Failed].iter().enumerate()
    {
        for held in [None, Some(postroom::clock::Moment(5))] {
            let time = 1_795_000_000_000_u128 - (age as u128) * 40_000_000_000;
            let from = ReversePath::Address("shop@a.test".parse().unwrap());
            let mut message = Message::new(QueueId::from_number(time << 80), from);
            let mut recipient = Recipient::pending("ann@b.test".parse().unwrap());
            recipient.state = *state;
            message.recipients.push(recipient);
            message.attempts = age as u32;
            message.held_since = held;
            message.size = 1_000_000;
            message.header.subject = Some("Order 4711".to_owned());
            messages.push(message);
        }
    }
    messages
}
