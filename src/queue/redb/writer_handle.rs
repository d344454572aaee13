//! The queue's end of the channel to the writer thread.

use super::super::{Pending, QueueError};
use super::op::{Op, Responder};
use super::writer::Writer;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Sends operations to the writer. Dropped, it waits until the writer has finished what was asked.
pub(super) struct WriterHandle {
    /// None only while the handle is being dropped.
    inbox: Option<Sender<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterHandle {
    /// Starts the thread; `writer` is given its inbox.
    pub(super) fn start(writer: impl FnOnce(Receiver<Op>) -> Writer) -> io::Result<WriterHandle> {
        let (inbox, operations) = channel();
        let writer = writer(operations);
        let thread = std::thread::Builder::new().name("queue-writer".to_owned());
        let thread = thread.spawn(move || writer.run())?;
        Ok(WriterHandle { inbox: Some(inbox), thread: Some(thread) })
    }

    /// Sends an operation to the writer, at once and in the order of the calls; the result comes with its commit.
    pub(super) fn request<T: Send + 'static>(
        &self,
        op: impl FnOnce(Responder<T>) -> Op,
    ) -> Pending<'static, T> {
        let (responder, response) = oneshot::channel();
        self.send(op(responder));
        Box::pin(async move { response.await.unwrap_or(Err(QueueError::Closed)) })
    }

    /// Sends an operation that no caller waits for.
    pub(super) fn send(&self, op: Op) {
        let unsent = match &self.inbox {
            Some(inbox) => inbox.send(op).err().map(|unsent| unsent.0),
            None => Some(op),
        };
        if let Some(op) = unsent {
            op.refuse(&QueueError::Closed);
        }
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been reported where it happened.
            let _ = thread.join();
        }
    }
}
