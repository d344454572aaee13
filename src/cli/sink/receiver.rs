//! What a session of the sink does with the mail that mailin's state machine hands it.

use super::command::NULL_PATH;
use super::options::SinkOptions;
use crate::event::encoded_words::decode_words;
use crate::event::header_fields::{fields, readable};
use crate::mail::printable;
use mailin::{Action, Handler, Response};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a message in which its subject is looked for.
const HEADER_KEPT: usize = 16 * 1024;

/// What all sessions of a sink have in common.
pub(super) struct Shared {
    pub(super) options: SinkOptions,
    random: Mutex<fastrand::Rng>,
    /// Messages answered 250.
    taken: AtomicU64,
    /// Messages dumped, or the number of the last file that was in the way.
    dumped: AtomicU64,
}

impl Shared {
    pub(super) fn new(options: SinkOptions, random: fastrand::Rng) -> Shared {
        Shared { options, random: Mutex::new(random), taken: AtomicU64::new(0), dumped: AtomicU64::new(0) }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// What one session receives.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    from: String,
    to: Vec<String>,
    /// Bytes of content so far.
    size: u64,
    head: Vec<u8>,
    dump: io::Result<Option<Dump>>,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>) -> Receiver {
        Receiver { shared, from: String::new(), to: Vec::new(), size: 0, head: Vec::new(), dump: Ok(None) }
    }

    fn say(&self, line: &str) {
        (self.shared.options.say)(&printable(line));
    }
}

impl Handler for Receiver {
    fn mail(&mut self, _client: IpAddr, _helo: &str, from: &str) -> Response {
        self.from = from.replace(NULL_PATH, "");
        self.to.clear();
        mailin::response::OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        let SinkOptions { refuse, reject, refuse_to, reject_to, .. } = &self.shared.options;
        let local_part = to.rsplit_once('@').map_or(to, |(local_part, _)| local_part);
        let is_one_of = |local_parts: &[String]| local_parts.iter().any(|one| one == local_part);
        let dice = self.shared.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
        let (code, text) = match dice {
            _ if is_one_of(reject_to) => (550, "5.1.1 No such mailbox"),
            _ if is_one_of(refuse_to) => (452, "4.2.2 The mailbox is full"),
            _ if dice < *reject => (550, "5.1.1 This sink rejects some recipients, and this is one"),
            _ if dice < reject + refuse => {
                (451, "4.3.0 This sink refuses some recipients for now, and this is one")
            }
            _ => {
                self.to.push(to.to_owned());
                return mailin::response::OK;
            }
        };
        self.say(&format!("refused: from=<{}> to=<{to}> with {code}", self.from));
        Response::custom(code, text.to_owned())
    }

    fn data_start(&mut self, _helo: &str, _from: &str, _eight_bit: bool, _to: &[String]) -> Response {
        self.size = 0;
        self.head.clear();
        self.dump = self.shared.options.dump.as_deref().map(Dump::start).transpose();
        mailin::response::OK
    }

    fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.size += piece.len() as u64;
        if self.head.len() < HEADER_KEPT {
            self.head.extend_from_slice(piece);
        }
        if let Ok(Some(dump)) = &mut self.dump
            && let Err(error) = dump.file.write_all(piece)
        {
            self.dump = Err(error);
        }
        // Told of an error now, mailin would answer it in the middle of the content.
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let kept = std::mem::replace(&mut self.dump, Ok(None))
            .and_then(|dump| dump.map_or(Ok(()), |dump| dump.finish(&self.shared.dumped)));
        if let Err(error) = kept {
            self.say(&format!("not kept: {error}"));
            let text = "4.3.1 The message could not be written to the folder for dumps".to_owned();
            let mut answer = Response::custom(452, text);
            answer.action = Action::Close;
            return answer;
        }
        let number = self.shared.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let header = readable(&self.head);
        let subject =
            fields(&header).find(|field| field.is("Subject")).map(|field| decode_words(field.value));
        self.say(&format!(
            "taken {number}: from=<{}> to=<{}> size={} subject={}",
            self.from,
            self.to.join(">,<"),
            self.size,
            subject.unwrap_or_default()
        ));
        Response::custom(250, format!("2.0.0 taken, number {number}"))
    }
}

/// A message on its way into a file of its own. Dropped before its end it leaves nothing behind.
struct Dump {
    part: PathBuf,
    folder: PathBuf,
    file: BufWriter<File>,
}

impl Dump {
    fn start(folder: &Path) -> io::Result<Dump> {
        let part = folder.join(format!(".{:016x}.part", fastrand::u64(..)));
        let file = BufWriter::with_capacity(64 * 1024, File::create_new(&part)?);
        Ok(Dump { part, folder: folder.to_owned(), file })
    }

    /// Gives it the next free number as its name.
    fn finish(mut self, dumped: &AtomicU64) -> io::Result<()> {
        self.file.flush()?;
        loop {
            let number = dumped.fetch_add(1, Ordering::Relaxed) + 1;
            // A link, unlike a renaming, fails where the name is taken: an earlier run's messages are not overwritten.
            match std::fs::hard_link(&self.part, self.folder.join(format!("{number:06}.eml"))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
    }
}
