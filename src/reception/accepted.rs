//! What is decided and told of every message that comes in: which site it belongs to, and that it is queued.

use crate::config::Settings;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::address_list::mailboxes;
use crate::mail::{Address, Message, ReversePath, SenderFacts};

/// The site of a message (rule 2): the `given` one of its user, its listener or its pickup, else the one that the reverse-path
/// belongs to, or From for `<>`, as far as that is known yet.
pub(crate) fn site_of(
    settings: &Settings,
    given: Option<&str>,
    reverse_path: &ReversePath,
    sender: Option<&SenderFacts>,
) -> String {
    if let Some(site) = given {
        return site.to_owned();
    }
    let of_sender = |address: &Address| settings.site_of_sender(address);
    let of_author = || {
        let from = &sender?.from;
        let mailboxes = from.iter().flat_map(|value| mailboxes(&String::from_utf8_lossy(value)));
        mailboxes.filter_map(|mailbox| mailbox.parse().ok()).find_map(|address| of_sender(&address))
    };
    let site = match reverse_path {
        ReversePath::Address(address) => of_sender(address),
        ReversePath::Null => of_author(),
    };
    site.map(|site| site.name.clone()).unwrap_or_default()
}

/// The event that it is queued.
pub(crate) fn queued_fact(message: &Message) -> Fact {
    let (from, count, size) = (message.reverse_path.as_str(), message.recipients.len(), message.size);
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("from <{from}> for {count} recipient{plural}, {size} bytes");
    // Where no client has brought it, the way in is told.
    if message.origin.client.is_none() {
        text += &format!(", by {}", message.origin.listener);
    }
    let mut fact = Fact::new(message.received_at, EventType::Information, "Mail", code::QUEUED, text);
    fact.queue_id = Some(message.id);
    fact.site = named_site(&message.site);
    fact
}
