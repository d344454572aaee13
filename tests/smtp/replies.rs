//! How replies leave: those to pipelined commands in one write.

use super::memory::MemoryQueue;
use super::test_server::{settings, within};
use postroom::clock::SystemClock;
use postroom::smtp::{InboundStream, SessionContext, Shutdown, SmtpServer, session};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::{Semaphore, watch};

/// Counts writes.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn replies_to_pipelined_commands_leave_in_one_write() {
    let settings = Arc::new(settings());
    let (_sender, receiver) = watch::channel(settings.clone());
    let queue = Arc::new(MemoryQueue::default());
    let memory = Arc::new(Semaphore::new(1024));
    let server = SmtpServer::new(receiver, queue.clone(), Arc::new(SystemClock::default()), memory);
    let writes = Arc::new(AtomicUsize::new(0));
    let (ours, mut client) = tokio::io::duplex(64 * 1024);
    let mut stream = InboundStream::Plain(Counted(ours, writes.clone()));
    let listener = Arc::new(settings.listeners[0].clone());
    let context = SessionContext::new(settings, listener, "127.0.0.1".parse().unwrap());
    let served = tokio::spawn(async move {
        session::run(&server, &mut stream, context, false, &Shutdown::default()).await;
    });

    let mut buffer = vec![0; 64 * 1024];
    within(client.read(&mut buffer)).await.unwrap();
    client.write_all(b"EHLO c.test\r\n").await.unwrap();
    within(client.read(&mut buffer)).await.unwrap();
    assert_eq!(writes.load(Ordering::SeqCst), 2, "greeting and EHLO");

    let commands = format!("MAIL FROM:<a@x.test>\r\n{}DATA\r\n", "RCPT TO:<b@y.test>\r\n".repeat(50));
    client.write_all(commands.as_bytes()).await.unwrap();
    let heard = within(client.read(&mut buffer)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..heard]).lines().count(), 52);
    assert_eq!(writes.load(Ordering::SeqCst), 3, "MAIL, RCPT and DATA");

    client.write_all(b"x\r\n.\r\nMAIL FROM:<a@x.test>\r\nRSET\r\nQUIT\r\n").await.unwrap();
    let mut rest = String::new();
    within(client.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest.lines().count(), 4);
    assert_eq!(writes.load(Ordering::SeqCst), 4, "the end of data and what follows it");
    served.await.unwrap();
    assert_eq!(queue.taken().len(), 1);
}
