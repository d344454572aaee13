//! Where a message comes from, and which site it belongs to (rule 2).

use super::dialogue::{Dialogue, InboundEnvelope};
use super::session_context::SessionContext;
use crate::config::Settings;
use crate::mail::{Origin, ReversePath, SenderFacts};
use crate::reception::accepted::site_of;

/// What `Received:` tells of the client.
pub(super) fn origin(dialogue: &Dialogue, envelope: &InboundEnvelope) -> Origin {
    let context = dialogue.context();
    let (helo, extended) = dialogue
        .client_name()
        .map_or((String::new(), false), |client| (client.name.clone(), client.extended));
    Origin {
        listener: context.listener.name.clone(),
        client: Some(context.client),
        user: context.user.clone(),
        helo,
        protocol: protocol(context, extended, envelope),
    }
}

/// The site of the user or the listener, else the one that the sender belongs to.
pub(super) fn site(
    context: &SessionContext,
    now: &Settings,
    reverse_path: &ReversePath,
    sender: Option<&SenderFacts>,
) -> String {
    site_of(now, context.site(now), reverse_path, sender)
}

/// The transmission type (RFC 3848, RFC 6531): S with TLS, A with AUTH.
fn protocol(context: &SessionContext, extended: bool, envelope: &InboundEnvelope) -> String {
    if !extended {
        return "SMTP".to_owned();
    }
    let name = if envelope.mail.parameters.smtp_utf8 { "UTF8SMTP" } else { "ESMTP" };
    let tls = if context.is_tls { "S" } else { "" };
    let auth = if context.user.is_some() { "A" } else { "" };
    format!("{name}{tls}{auth}")
}
