//! Replies that speak of the number of connections.
//!
//! At the greeting and at EHLO every refusal means the connection itself. Later only its text tells: Office 365 says
//! `432 4.3.2 Concurrent connections limit exceeded` at the final dot, Exchange `421 4.3.2 The maximum number of
//! concurrent connections has exceeded a limit`, SES `421 Too many concurrent SMTP connections`, outlook.com `451 4.7.652
//! The mail server has exceeded the maximum number of connections`.

use super::session_error::SessionErrorKind;
use super::transaction_result::RecipientAnswer;
use super::wire::WireError;
use crate::mail::Reply;

/// Words for the number of something; one of them must stand beside `connections` or `sessions`.
const NUMBER: [&str; 6] = ["concurrent", "simultaneous", "too many", "maximum", "limit", "exceed"];

/// Whether it is a 4xx that refuses this connection because there are others.
pub(super) fn is_too_many_connections(reply: &Reply) -> bool {
    let text = reply.lines.join(" ").to_ascii_lowercase();
    let has = |word: &str| text.contains(word);
    let counted = (has("connections") || has("sessions")) && NUMBER.iter().any(|word| has(word));
    reply.is_transient() && (counted || has("sender thread limit"))
}

/// What was said of too many connections in a transaction that was answered.
pub(super) fn find_in(answers: &[RecipientAnswer]) -> Option<Reply> {
    answers.iter().find_map(|answer| match answer {
        RecipientAnswer::Refused { reply, .. } if is_too_many_connections(reply) => Some(reply.clone()),
        _ => None,
    })
}

/// The kind of error when a session ends by `fault`.
pub(super) fn kind_of_loss(fault: &WireError) -> SessionErrorKind {
    match fault {
        WireError::ServiceClosing(reply) if is_too_many_connections(reply) => {
            SessionErrorKind::TooManyConnections
        }
        _ => SessionErrorKind::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_of_too_many_connections_and_what_they_say_of_other_things() {
        let says = |text: &str| {
            let (code, text) = text.split_once(' ').unwrap();
            let lines = vec![text.to_owned()];
            is_too_many_connections(&Reply { code: code.parse().unwrap(), enhanced: None, lines })
        };
        for text in [
            "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
            "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
            "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing",
            "421 4.7.0 mx.test Error: too many connections from 192.0.2.1",
            "421 mx.test: Too many concurrent SMTP connections; please try again later.",
            "451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections.",
        ] {
            assert!(says(text), "{text}");
        }
        for text in [
            "421 4.3.2 Service shutting down",
            "454 4.7.0 Too many login attempts, please try again later",
            "452 4.5.3 Too many recipients",
            "421 4.4.2 Message submission rate for this client has exceeded the configured limit",
            "550 5.7.1 Connections limit exceeded",
        ] {
            assert!(!says(text), "{text}");
        }
    }
}
