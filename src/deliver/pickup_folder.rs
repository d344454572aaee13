//! A pickup folder as a way out: each transaction makes one file in it, for another program to pick up.
//!
//! Promises: the file appears under its name whole and synced, readable by the folder's group alone; its head has the envelope
//! (`x-sender:`, one `x-receiver:` for each recipient), as IIS and .NET write it. Its name is made of the queue id and the
//! recipients, so that names sort by time and a transaction that is repeated after a crash replaces its own file, unless that was
//! picked up in between (rule 5). Whatever goes wrong before the file has its name is the upstream's fault.

use super::capabilities::Capabilities;
use super::envelope::OutboundEnvelope;
use super::outgoing::Outgoing;
use super::peer_cache::PeerCache;
use super::session_error::{SessionError, SessionErrorKind};
use super::transact::OUT_OF_TIME;
use super::transaction_result::{RecipientAnswer, TransactionResult};
use super::transcript::Transcript;
use crate::config::settings::Upstream;
use crate::mail::attempt::StepTimes;
use crate::mail::{EnhancedCode, QueueId, Reply, ReversePath, Role, printable};
use crate::queue::QueueError;
use crate::unix::folder::Folder;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are written in one go.
const WRITE_SIZE: usize = 64 * 1024;

/// An open folder that files may be made in.
pub(super) struct PickupFolder {
    upstream: Arc<Upstream>,
    path: PathBuf,
    folder: Arc<Folder>,
    /// What the names of our temporary files begin with.
    temporary: String,
    capabilities: Capabilities,
    transcript: Transcript,
}

impl PickupFolder {
    /// Opens the folder `path` of an upstream. `instance`: this installation's own name; temporary files that an earlier process of
    /// it left behind are removed, once for each configuration.
    pub(super) async fn open(
        upstream: &Arc<Upstream>,
        path: &Path,
        instance: &str,
        peer_cache: &PeerCache,
    ) -> Result<PickupFolder, SessionError> {
        let temporary = format!(".postroom-{instance}-");
        let (of_process, cleans) = (temporary.clone() + process(), peer_cache.first_use_of(&upstream.name));
        let folder_path = path.to_owned();
        let (ours, kept) = (temporary, of_process.clone());
        let open = move || {
            let folder = Folder::open(&folder_path)?;
            folder.may_write()?;
            if cleans {
                remove_leftovers(&folder, &ours, &kept)?;
            }
            Ok(folder)
        };
        let folder = blocking(upstream.connect_timeout, open).await;
        let folder = folder.map_err(|error| not_usable(path, &error))?;
        // Whoever picks the file up sees to what its mail needs.
        let capabilities = Capabilities { eight_bit_mime: true, smtp_utf8: true, ..Capabilities::default() };
        Ok(PickupFolder {
            upstream: upstream.clone(),
            path: path.to_owned(),
            folder: Arc::new(folder),
            temporary: of_process,
            capabilities,
            transcript: Transcript::default(),
        })
    }

    /// The upstream that it is the folder of.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// What a file in it can carry.
    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What was done since this was asked last.
    pub(super) fn take_dialogue(&mut self) -> String {
        self.transcript.take()
    }

    pub(super) fn session_error(&self, kind: SessionErrorKind, why: &dyn std::fmt::Display) -> SessionError {
        SessionError::new(kind, printable(&format!("{}: {why}", self.path.display())))
    }

    /// Makes one file. Given up when `out_of_time` is ready, but not once the file gets its name.
    pub(super) async fn transact(
        &mut self,
        id: QueueId,
        role: Role,
        envelope: &OutboundEnvelope,
        content: &mut Outgoing,
        out_of_time: impl Future<Output = ()>,
    ) -> TransactionResult {
        let (start, recipients) = (Instant::now(), envelope.recipients.len());
        let name = file_name(id, role, envelope);
        let written = tokio::select! {
            biased;
            written = self.write(envelope, content) => written,
            () = out_of_time => Err(self.session_error(SessionErrorKind::OutOfTime, &OUT_OF_TIME)),
        };
        let named = match written {
            Ok(file) => self.name(file, &name).await,
            Err(error) => Err(error),
        };
        let answer = match named {
            Ok(answer) => answer,
            Err(error) => return TransactionResult::not_begun(recipients, error),
        };
        self.transcript.note(&answer.describe());
        let final_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        TransactionResult {
            answers: vec![answer; recipients],
            lost: None,
            began: true,
            answered: true,
            transmit_ms: final_ms,
            times: StepTimes { final_ms, ..StepTimes::default() },
        }
    }

    /// Makes a file as a delivery does, but for its name, and removes it.
    pub(super) async fn try_to_write(&self) -> Result<(), SessionError> {
        let failed = |error: io::Error| not_usable(&self.path, &error);
        let file = self.create().await.map_err(failed)?;
        let tried = blocking(self.upstream.data_timeout, move || {
            (&*file.file).write_all(b"A test: this file may be removed.\r\n")?;
            file.file.sync_all()?;
            file.remove()
        });
        tried.await.map_err(failed)
    }

    /// A file under a temporary name, for who is to read it.
    async fn create(&self) -> io::Result<TemporaryFile> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}.tmp", self.temporary, NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = self.folder.clone();
        let create = move || {
            let file = Arc::new(folder.create(name.as_ref())?);
            let temporary = TemporaryFile { folder, name: name.into(), file, has_left: false };
            temporary.folder.share_with_group(&temporary.file)?;
            Ok(temporary)
        };
        blocking(self.upstream.data_timeout, create).await
    }

    /// Writes and syncs a file under a temporary name.
    async fn write(
        &self,
        envelope: &OutboundEnvelope,
        content: &mut Outgoing,
    ) -> Result<TemporaryFile, SessionError> {
        let within = self.upstream.data_timeout;
        let failed = |error: &io::Error| not_usable(&self.path, error);
        let no_content = |error: QueueError| self.session_error(SessionErrorKind::Content, &error);
        let file = self.create().await.map_err(|error| failed(&error))?;
        let mut buffer = head(envelope);
        content.rewind_for_file();
        loop {
            let end = content.fill(&mut buffer, WRITE_SIZE).await.map_err(no_content)?;
            let to = file.file.clone();
            let written = blocking(within, move || {
                (&*to).write_all(&buffer)?;
                if end {
                    to.sync_all()?;
                }
                buffer.clear();
                Ok(buffer)
            });
            buffer = written.await.map_err(|error| failed(&error))?;
            if end {
                return Ok(file);
            }
        }
    }

    /// Gives the file its name. Only what certainly has not happened is an error.
    async fn name(&self, file: TemporaryFile, name: &str) -> Result<RecipientAnswer, SessionError> {
        let to = name.to_owned();
        let naming = blocking(self.upstream.final_timeout, move || Ok(file.rename(&to)));
        let unknown = |error: io::Error| {
            RecipientAnswer::Unknown(printable(&format!("{}: {name}: {error}", self.path.display())))
        };
        match naming.await {
            Ok(Named::Durably) => Ok(RecipientAnswer::Accepted(Reply {
                code: 250,
                enhanced: Some(EnhancedCode(2, 0, 0)),
                lines: vec![printable(&format!("written as {}", self.path.join(name).display()))],
            })),
            Ok(Named::Not(error)) if is_certain(&error) => Err(not_usable(&self.path, &error)),
            Ok(Named::Not(error) | Named::Perhaps(error)) | Err(error) => Ok(unknown(error)),
        }
    }
}

/// A file that nobody picks up yet. Dropped, it is removed.
struct TemporaryFile {
    folder: Arc<Folder>,
    name: OsString,
    file: Arc<File>,
    /// It has its real name, or is removed.
    has_left: bool,
}

/// How giving a file its name ended.
enum Named {
    Durably,
    /// It has the name, which a power cut may take away again.
    Perhaps(io::Error),
    Not(io::Error),
}

impl TemporaryFile {
    fn remove(mut self) -> io::Result<()> {
        self.has_left = true;
        self.folder.remove(&self.name)
    }

    fn rename(mut self, name: &str) -> Named {
        if let Err(error) = self.folder.rename(&self.name.to_string_lossy(), name) {
            return Named::Not(error);
        }
        self.has_left = true;
        match self.folder.sync() {
            Ok(()) => Named::Durably,
            Err(error) => Named::Perhaps(error),
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let (folder, name) = (self.folder.clone(), std::mem::take(&mut self.name));
        // What stays for all that is removed by the next process.
        let remove = move || drop(folder.remove(&name));
        match tokio::runtime::Handle::try_current() {
            // A disk that does not answer must not stop the other tasks of this thread.
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// The envelope, as IIS and .NET write it. The null reverse-path is `<>`: without a value whoever reads it would take the message
/// for one without `x-sender:`, and answer failures to its From.
fn head(envelope: &OutboundEnvelope) -> Vec<u8> {
    let sender = match &envelope.reverse_path {
        ReversePath::Null => "<>",
        ReversePath::Address(address) => address.as_str(),
    };
    let mut head = format!("x-sender: {sender}\r\n");
    for recipient in &envelope.recipients {
        head.push_str(&format!("x-receiver: {}\r\n", recipient.address));
    }
    head.into_bytes()
}

/// The same for the same message and recipients, whenever it is asked for. `role`: what the recipients are; under redirect an
/// address may get its own mail and a report copy.
fn file_name(id: QueueId, role: Role, envelope: &OutboundEnvelope) -> String {
    let mut recipients: Vec<&str> = envelope.recipients.iter().map(|one| one.address.as_str()).collect();
    recipients.sort_unstable();
    let mut hash = Xxh3::new();
    hash.update(match role {
        Role::Original => b"own\n",
        Role::ReportCopy => b"copy\n",
    });
    for recipient in recipients {
        hash.update(recipient.as_bytes());
        hash.update(b"\n");
    }
    format!("{id}-{:016x}.eml", hash.digest())
}

/// A word that tells this process from those before it.
fn process() -> &'static str {
    static WORD: OnceLock<String> = OnceLock::new();
    WORD.get_or_init(|| format!("{:016x}", fastrand::u64(..)))
}

/// Removes the files whose names begin with `ours`, but for those that begin with `kept`.
fn remove_leftovers(folder: &Folder, ours: &str, kept: &str) -> io::Result<()> {
    let starts = |name: &OsString, with: &str| name.as_encoded_bytes().starts_with(with.as_bytes());
    for name in folder.names()? {
        let name = name?;
        if starts(&name, ours) && !starts(&name, kept) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

/// Errors that a folder gives without having done anything.
fn is_certain(error: &io::Error) -> bool {
    use ErrorKind::{
        IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull,
    };
    let kinds = [
        IsADirectory,
        NotADirectory,
        NotFound,
        PermissionDenied,
        QuotaExceeded,
        ReadOnlyFilesystem,
        StorageFull,
    ];
    kinds.contains(&error.kind())
}

/// Why no file can be made there, and what would help.
fn not_usable(path: &Path, error: &io::Error) -> SessionError {
    let remedy = match error.kind() {
        ErrorKind::NotFound => "create the folder, or give another pickup_directory",
        ErrorKind::NotADirectory => "give a folder as pickup_directory",
        ErrorKind::PermissionDenied => {
            "let Postroom's user read and write the folder, and be in its group (or set the folder's setgid bit)"
        }
        ErrorKind::ReadOnlyFilesystem => "mount it for writing; under systemd, name it in ReadWritePaths=",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room; perhaps nobody picks up mail there any more"
        }
        _ => "see to the disk, or give another pickup_directory",
    };
    let text = printable(&format!("pickup folder {}: {error}; {remedy}", path.display()));
    SessionError::new(SessionErrorKind::Folder, text)
}

/// Runs what may wait for a disk away from the other tasks. What takes too long goes on, and nobody waits for it.
async fn blocking<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::time::timeout(within, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => Err(panicked.into()),
        Err(_) => {
            let within = humantime::format_duration(within);
            Err(io::Error::new(ErrorKind::TimedOut, format!("the disk did not answer within {within}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{BodyType, DsnRequest};

    fn envelope(reverse_path: ReversePath, recipients: &[&str]) -> OutboundEnvelope {
        let address = |text: &&str| text.parse::<crate::mail::Address>().unwrap().into();
        OutboundEnvelope {
            reverse_path,
            recipients: recipients.iter().map(address).collect(),
            body: BodyType::SevenBit,
            smtp_utf8: false,
            size: 0,
            dsn: DsnRequest::default(),
        }
    }

    #[test]
    fn names_sort_by_time_and_tell_envelopes_apart() {
        let (first, second): (QueueId, QueueId) =
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(), "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap());
        let of =
            |id, role, recipients: &[&str]| file_name(id, role, &envelope(ReversePath::Null, recipients));
        let name = |id, recipients: &[&str]| of(id, Role::Original, recipients);
        assert_ne!(of(first, Role::Original, &["a@x.test"]), of(first, Role::ReportCopy, &["a@x.test"]));
        assert!(name(first, &["z@x.test"]) < name(second, &["a@x.test"]));
        assert_eq!(name(first, &["a@x.test", "b@x.test"]), name(first, &["b@x.test", "a@x.test"]));
        assert_ne!(name(first, &["a@x.test", "b@x.test"]), name(first, &["a@x.test"]));
        assert!(name(first, &["a@x.test"]).ends_with(".eml"));
    }

    #[test]
    fn the_head_has_the_envelope() {
        let some = ReversePath::Address("\u{fc}@x.test".parse().unwrap());
        let said = head(&envelope(some, &["b@y.test", "\"a b\"@z.test"]));
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said, "x-sender: \u{fc}@x.test\r\nx-receiver: b@y.test\r\nx-receiver: \"a b\"@z.test\r\n");
        assert!(head(&envelope(ReversePath::Null, &["b@y.test"])).starts_with(b"x-sender: <>\r\n"));
    }
}
