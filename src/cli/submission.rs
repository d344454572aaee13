//! Handing one message to the proxy, as `postroom send`, `postroom sendmail` and `postroom demo` do.

use crate::config::default_upstream;
use crate::config::settings::{TlsMode, Upstream};
use crate::deliver::connection::Connection;
use crate::deliver::envelope::OutboundEnvelope;
use crate::deliver::outgoing::Outgoing;
use crate::deliver::session_error::SessionError;
use crate::deliver::transact::transact;
use crate::deliver::transaction_result::{Disposition, RecipientAnswer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What the proxy said.
#[derive(Debug)]
pub(super) struct Submission {
    /// One for each recipient, in their order.
    pub(super) answers: Vec<RecipientAnswer>,
    /// Why the session was lost, where it was.
    pub(super) lost: Option<SessionError>,
}

/// Sends the message. Recipients beyond what the server takes in one transaction follow in another.
///
/// # Errors
/// There was no session, so that nothing was sent.
pub(super) async fn submit(
    server: &Arc<Upstream>,
    hostname: &str,
    envelope: &OutboundEnvelope,
    content: &mut Outgoing,
) -> Result<Submission, SessionError> {
    let mut connection = Connection::open(server, hostname, &Arc::default()).await?;
    let mut answers = vec![RecipientAnswer::Undecided; envelope.recipients.len()];
    let mut open: Vec<usize> = (0..answers.len()).collect();
    loop {
        let recipients = open.iter().map(|place| envelope.recipients[*place].clone()).collect();
        let part = OutboundEnvelope { recipients, ..envelope.clone() };
        let transaction = transact(&mut connection, &part, content).await;
        for (place, answer) in open.iter().zip(transaction.answers) {
            answers[*place] = answer;
        }
        let is_beyond = |place: &usize| {
            matches!(answers[*place], RecipientAnswer::Refused { means: Disposition::NextTransaction, .. })
        };
        open.retain(is_beyond);
        if open.is_empty() || transaction.lost.is_some() || !connection.is_reusable() {
            let lost = transaction.lost;
            connection.quit().await;
            return Ok(Submission { answers, lost });
        }
    }
}

/// Our own listener, seen as an upstream: what is listened to everywhere is reached on loopback.
pub(super) fn proxy(address: SocketAddr) -> Arc<Upstream> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let tls = TlsMode::None;
    Arc::new(Upstream { tls, ..default_upstream("proxy", &ip.to_string(), address.port()) })
}
