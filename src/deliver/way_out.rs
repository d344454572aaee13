//! The way out: what an attempt hands a message to. The attempt knows its kinds by nothing but what is here.

use super::capabilities::Capabilities;
use super::connection::Connection;
use super::context::AttemptContext;
use super::envelope::OutboundEnvelope;
use super::outgoing::Outgoing;
use super::pickup_folder::PickupFolder;
use super::pool::Pool;
use super::session_error::{SessionError, SessionErrorKind};
use super::slot::Slot;
use super::transact::transact_until;
use super::transaction_result::TransactionResult;
use crate::config::settings::Upstream;
use crate::mail::attempt::TlsFacts;
use crate::mail::{QueueId, Role};
use std::sync::Arc;
use std::time::Duration;

/// Ready for a transaction. Belongs to one attempt at a time.
pub(super) enum WayOut {
    /// A session with a server.
    Connection(Box<Connection>),
    /// A folder that another program takes mail from.
    Pickup(Box<PickupFolder>),
}

impl WayOut {
    /// Takes a connection from the pool or opens one; opens the folder. `deadline`: when the attempt has to end, monotonic.
    pub(super) async fn open(
        context: &AttemptContext,
        upstream: &Arc<Upstream>,
        slot: &mut Slot,
        deadline: Duration,
    ) -> Result<WayOut, SessionError> {
        let pool = &context.services.pool;
        slot.connecting();
        if let Some(path) = &upstream.pickup_directory {
            let instance = context.services.queue.instance();
            let folder = PickupFolder::open(upstream, path, instance, &context.peer_cache).await?;
            slot.connected(true);
            return Ok(WayOut::Pickup(Box::new(folder)));
        }
        if slot.is_probe() {
            // A session from before says nothing about new ones, and may be the only one that the server allows.
            pool.discard(&upstream.name);
        } else if let Some(connection) = pool.take(upstream) {
            slot.connected(false);
            return Ok(WayOut::Connection(Box::new(connection)));
        }
        pool.all_closed(&upstream.name).await;
        let opening = Connection::open(upstream, &context.settings.hostname, &context.peer_cache);
        let opened = tokio::select! {
            opened = opening => opened?,
            () = context.services.clock.sleep_until(deadline) => {
                let text = format!("{}: no session before the attempt had to end", upstream.name);
                return Err(SessionError::new(SessionErrorKind::OutOfTime, text));
            }
        };
        slot.connected(true);
        Ok(WayOut::Connection(Box::new(opened)))
    }

    /// The upstream that it leads to.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        match self {
            WayOut::Connection(connection) => connection.upstream(),
            WayOut::Pickup(folder) => folder.upstream(),
        }
    }

    /// What can go through it.
    pub(super) fn capabilities(&self) -> &Capabilities {
        match self {
            WayOut::Connection(connection) => connection.capabilities(),
            WayOut::Pickup(folder) => folder.capabilities(),
        }
    }

    /// Hands over the message `id` to recipients of that role. Never fails: what went wrong is in the answers and in [`TransactionResult::lost`]. Given up when
    /// `out_of_time` is ready.
    pub(super) async fn transact(
        &mut self,
        id: QueueId,
        role: Role,
        envelope: &OutboundEnvelope,
        content: &mut Outgoing,
        out_of_time: impl Future<Output = ()>,
    ) -> TransactionResult {
        match self {
            WayOut::Connection(connection) => {
                transact_until(connection, envelope, content, out_of_time).await
            }
            WayOut::Pickup(folder) => folder.transact(id, role, envelope, content, out_of_time).await,
        }
    }

    /// It is not needed any more, or not now: a connection waits in the pool for the next message.
    pub(super) fn give_back(self, pool: &Pool) {
        match self {
            WayOut::Connection(connection) => pool.give_back(*connection),
            WayOut::Pickup(_) => {}
        }
    }

    /// What is known of its TLS.
    pub(super) fn tls_facts(&self) -> Option<TlsFacts> {
        match self {
            WayOut::Connection(connection) => connection.tls_facts(),
            WayOut::Pickup(_) => None,
        }
    }

    /// What was said and done on it since this was asked last.
    pub(super) fn take_dialogue(&mut self) -> String {
        match self {
            WayOut::Connection(connection) => connection.take_dialogue(),
            WayOut::Pickup(folder) => folder.take_dialogue(),
        }
    }

    /// What went wrong with it, with the server or folder in front.
    pub(super) fn session_error(&self, kind: SessionErrorKind, why: &dyn std::fmt::Display) -> SessionError {
        match self {
            WayOut::Connection(connection) => connection.session_error(kind, why),
            WayOut::Pickup(folder) => folder.session_error(kind, why),
        }
    }
}
