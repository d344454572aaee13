//! The connection to a client: in clear text, or with TLS around it from some moment on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A connection that owns what it runs over.
#[derive(Debug)]
pub enum InboundStream<S> {
    /// As it is.
    Plain(S),
    /// Within TLS.
    Tls(Box<TlsStream<S>>),
    /// A handshake was begun and did not end.
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> InboundStream<S> {
    /// The handshake, of which the client has sent nothing that was read yet. After an error, or where this is dropped, nothing can be
    /// read or written any more.
    pub(super) async fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<()> {
        let InboundStream::Plain(stream) = std::mem::replace(self, InboundStream::Broken) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        *self = InboundStream::Tls(Box::new(stream));
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for InboundStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            InboundStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            InboundStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            InboundStream::Broken => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for InboundStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            InboundStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            InboundStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            InboundStream::Broken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            InboundStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            InboundStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            InboundStream::Broken => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            InboundStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            InboundStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            InboundStream::Broken => Poll::Ready(Ok(())),
        }
    }
}
