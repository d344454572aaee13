//! Delivery against scripted upstreams.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounces;
mod bounces_of_ways;
mod bounces_rendered;
mod bounces_returned;
mod broken;
mod connection_limit;
mod deadline;
mod dsn;
mod engine;
mod fairness;
mod faults;
mod header_changes;
mod modes;
mod needs;
mod own_certificate;
pub mod pickup_folder;
mod refusals;
mod replies;
mod stage;
mod waiting;
mod wire;
mod wire_bytes;
mod wire_open;
mod wire_pool;
mod wire_tls;
mod words;

use crate::support::scripted::Scripted;
use postroom::config::default_upstream;
use postroom::config::settings::{TlsMode, Upstream};
use postroom::deliver::connection::Connection;
use postroom::deliver::envelope::OutboundEnvelope;
use postroom::deliver::outgoing::Outgoing;
use postroom::deliver::peer_cache::PeerCache;
use postroom::deliver::session_error::SessionError;
use postroom::deliver::transact::transact;
use postroom::deliver::transaction_result::{Missing, RecipientAnswer, TransactionResult};
use postroom::mail::{Address, BodyType, DsnRequest, ReversePath};
use std::sync::Arc;
use std::time::Duration;

/// Long enough for anything that is to come.
const LONG: Duration = Duration::from_secs(30);

/// For a step that does not come while others before it must, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(2);

/// For what is not to come.
const SHORT: Duration = Duration::from_millis(200);

fn upstream_at(port: u16, change: impl FnOnce(&mut Upstream)) -> Arc<Upstream> {
    let mut upstream = Upstream {
        tls: TlsMode::None,
        connect_timeout: LONG,
        command_timeout: LONG,
        data_timeout: LONG,
        final_timeout: LONG,
        max_idle_time: LONG,
        ..default_upstream("primary", "127.0.0.1", port)
    };
    change(&mut upstream);
    Arc::new(upstream)
}

fn upstream(server: &Scripted) -> Arc<Upstream> {
    upstream_at(server.port(), |_| {})
}

async fn open(upstream: &Arc<Upstream>) -> Result<Connection, SessionError> {
    Connection::open(upstream, "mail.test", &Arc::new(PeerCache::default())).await
}

async fn connected(server: &Scripted) -> Connection {
    open(&upstream(server)).await.unwrap()
}

fn envelope(recipients: &[&str]) -> OutboundEnvelope {
    OutboundEnvelope {
        reverse_path: ReversePath::Address("a@x.test".parse().unwrap()),
        recipients: recipients.iter().map(|address| address.parse::<Address>().unwrap().into()).collect(),
        body: BodyType::SevenBit,
        smtp_utf8: false,
        size: 100,
        dsn: DsnRequest::default(),
    }
}

/// Sends a small message to these recipients.
async fn send(connection: &mut Connection, recipients: &[&str]) -> TransactionResult {
    transact(connection, &envelope(recipients), &mut small()).await
}

fn small() -> Outgoing {
    Outgoing::memory("", "Subject: t\r\n\r\nhello\r\n", false)
}

/// What was answered for each recipient, in short: `ok`, `Rcpt 550`, `unknown`, …
fn short(transaction: &TransactionResult) -> Vec<String> {
    let short = |answer: &RecipientAnswer| match answer {
        RecipientAnswer::Accepted(_) => "ok".to_owned(),
        RecipientAnswer::Refused { step, reply, .. } => format!("{step:?} {}", reply.code),
        RecipientAnswer::Unable(Missing::Size { .. }) => "Size".to_owned(),
        RecipientAnswer::Unable(missing) => format!("{missing:?}"),
        RecipientAnswer::Unknown(_) => "unknown".to_owned(),
        RecipientAnswer::Undecided => "undecided".to_owned(),
    };
    transaction.answers.iter().map(short).collect()
}
