//! `-bs`: a session between standard input and output and the server. Nothing is read from it or changed in it.

use super::exit::{Failed, IOERR, OSERR, TEMPFAIL};
use crate::cli::small_runtime;
use crate::config::settings::Upstream;
use std::io::{self, Read, Write};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;

/// How long the server may take to answer.
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// Bytes that are copied at a time.
const PIECE: usize = 64 * 1024;

/// Runs until the server closes. Standard input that ends is the end of what the server hears, not of what it says.
pub(super) fn run(server: &Upstream) -> Result<u8, Failed> {
    let runtime = small_runtime().map_err(|_| Failed(OSERR, "no runtime can be started".to_owned()))?;
    let done = runtime.block_on(async {
        let stream = connect(server).await.map_err(|why| {
            let why = format!("{}:{}: {why}", server.host, server.port);
            // Who speaks SMTP is told in SMTP, too.
            let _ = write!(io::stdout(), "421 4.4.1 {why}\r\n");
            Failed(TEMPFAIL, why)
        })?;
        let (from_server, mut to_server) = stream.into_split();
        let mut input = standard_input();
        let say = async {
            while let Some(piece) = input.recv().await {
                to_server.write_all(&piece).await?;
            }
            to_server.shutdown().await
        };
        let listen = print(from_server);
        tokio::pin!(listen);
        tokio::select! {
            // Whether it was said or could not be: the server says when the session is over.
            _ = say => listen.await,
            heard = &mut listen => heard,
        }
        .map_err(|error| Failed(IOERR, format!("the session broke off: {error}")))
    });
    // The thread that reads standard input may wait for ever.
    runtime.shutdown_background();
    done.map(|()| 0)
}

async fn connect(server: &Upstream) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((server.host.as_str(), server.port));
    tokio::time::timeout(CONNECT_TIME, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Standard input piece by piece, from a thread of its own, because reading it cannot be given up.
fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = io::stdin().read(&mut piece) {
            if sender.blocking_send(piece[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the server says, at once, because the other side waits for it.
async fn print(mut from_server: OwnedReadHalf) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from_server.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(&piece[..read])?;
        out.flush()?;
    }
}
