//! What webhooks can be told of: the words of `on` in `[webhook.*]`. Whoever makes a fact says which it is, if any.

use super::error::{ValueError, quoted};

/// A kind of events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// A recipient is delivered.
    Delivered,
    /// A recipient is deferred.
    Deferred,
    /// A recipient has failed.
    Failed,
    /// A recipient was tried for longer than `expire_after`.
    Expired,
    /// A notice was queued.
    Bounced,
    /// A message is held.
    Held,
    /// A circuit opened or closed.
    Circuit,
    /// Sending, redirect, debug, simulate or sender was switched.
    Mode,
    /// A token could not be had, or can be had again.
    Token,
}

impl Topic {
    /// All of them, in the order in which documents name them.
    pub const ALL: [Topic; 9] = [
        Topic::Delivered,
        Topic::Deferred,
        Topic::Failed,
        Topic::Expired,
        Topic::Bounced,
        Topic::Held,
        Topic::Circuit,
        Topic::Mode,
        Topic::Token,
    ];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Topic::Delivered => "delivered",
            Topic::Deferred => "deferred",
            Topic::Failed => "failed",
            Topic::Expired => "expired",
            Topic::Bounced => "bounced",
            Topic::Held => "held",
            Topic::Circuit => "circuit",
            Topic::Mode => "mode",
            Topic::Token => "token",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Topic, ValueError> {
        let distance = |topic: &Topic| strsim::damerau_levenshtein(&word.to_lowercase(), topic.word());
        let wrong = || format!("{} is unknown here", quoted(word));
        match Topic::ALL.into_iter().min_by_key(distance) {
            Some(nearest) if nearest.word() == word => Ok(nearest),
            Some(nearest) if distance(&nearest) <= 3.min(nearest.word().len() / 2) => {
                Err(ValueError::with_hint(wrong(), format!("did you mean {:?}?", nearest.word())))
            }
            _ => Err(wrong().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.word()), Ok(topic));
        }
        for (word, near) in
            [("faild", "failed"), ("Held", "held"), ("bounce", "bounced"), ("defered", "deferred")]
        {
            let error = Topic::parse(word).unwrap_err();
            assert_eq!(error.right.unwrap(), format!("did you mean {near:?}?"));
        }
        for word in ["", "everything", "*"] {
            assert_eq!(Topic::parse(word).unwrap_err().right, None, "{word}");
        }
    }
}
