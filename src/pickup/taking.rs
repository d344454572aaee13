//! One file, read whole: its envelope, its content staged in the queue, and the message that it becomes.

use super::file_envelope::{Completion, FileEnvelope};
use super::file_list::{FoundFile, identity};
use super::services::PickupServices;
use crate::config::settings::{BareNewline, Pickup};
use crate::mail::{Address, Message, Origin, QueueId, Recipient, ReversePath};
use crate::queue::{FileIdentity, Pending};
use crate::reception::accepted::{queued_fact, site_of};
use crate::reception::content::ContentReader;
use crate::reception::not_accepted::NotAccepted;
use crate::reception::staged_content::StagedContent;
use crate::unix::folder::{FileFacts, FileKind, Folder};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The longest header that is read: with a thousand long recipients it has a third of that.
const LONGEST_HEADER: usize = 1024 * 1024;
/// Bytes that are read in one go.
const READ_SIZE: usize = 64 * 1024;

/// Why a file is not a message now.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// Somebody has removed it.
    Gone,
    /// It is being written.
    NotComplete,
    /// It never will be one: it is moved aside.
    Bad(String),
    /// It stays where it is until somebody changes something about it.
    Stays(String),
    /// No file can be taken now.
    Later(String),
}

impl From<NotAccepted> for NotTaken {
    fn from(why: NotAccepted) -> NotTaken {
        match why.is_temporary() {
            true => NotTaken::Later(format!("files stay there: {why}")),
            false => NotTaken::Bad(why.to_string()),
        }
    }
}

/// A file that was read.
pub(super) struct ReadFile<'a> {
    services: &'a PickupServices,
    content: StagedContent<'a>,
    pub(super) message: Message,
    identity: FileIdentity,
}

impl<'a> ReadFile<'a> {
    /// Puts it into the queue. `folder` is what its file is remembered by.
    pub(super) fn put(self, folder: String) -> Pending<'a, ()> {
        let ReadFile { services, content, message, identity } = self;
        let fact = queued_fact(&message);
        let (site, recipients, size) = (message.site.clone(), message.recipients.len(), message.size);
        let listener = message.origin.listener.clone();
        let put = move |tail| services.files.put_file(message, tail, vec![fact], &folder, identity);
        Box::pin(async move {
            content.put_with(put).await?;
            services.metrics.accepted(&listener, &site, recipients, size);
            Ok(())
        })
    }
}

/// Reads a file. `settled`: it has not changed for a while. `last`: the id of the message before. `permit` is for its content.
pub(super) async fn read<'a>(
    services: &'a PickupServices,
    pickup: &Pickup,
    folder: &Arc<Folder>,
    found: &FoundFile,
    settled: bool,
    last: Option<QueueId>,
    permit: OwnedSemaphorePermit,
) -> Result<ReadFile<'a>, NotTaken> {
    let settings = services.settings.borrow().clone();
    let began = services.clock.monotonic();
    let (of, wanted) = (folder.clone(), found.clone());
    let longest = settings.limits.message_size.saturating_add(LONGEST_HEADER as u64);
    let opened = blocking(move || Ok(open(&of, &wanted, settled, longest)));
    let (mut file, header) = opened.await.map_err(|error| NotTaken::Stays(error.to_string()))??;
    let completion = Completion { domain: &settings.default_domain, aliases: &settings.aliases };
    let envelope =
        FileEnvelope::read(&header, settings.limits.recipients, completion).map_err(NotTaken::Bad)?;
    drop(header);

    let needs_author = envelope.reverse_path == ReversePath::Null;
    // On Unix every line of a text ends with a bare LF: that says nothing against it.
    let reader = ContentReader::bdat(BareNewline::Normalize, settings.limits.message_size);
    let space = services.disk_space.reserve(&settings, found.facts.size)?;
    let id = QueueId::fresh_after(services.clock.wall(), last);
    let mut content = StagedContent::new(&*services.files, id, reader, needs_author, permit, space);
    let mut from = Some(envelope.length as u64);
    let mut piece = Vec::new();
    loop {
        let seek = from.take();
        let read = blocking(move || {
            if let Some(start) = seek {
                file.seek(SeekFrom::Start(start))?;
            }
            piece.resize(READ_SIZE, 0);
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            let facts = if length == 0 { Some(FileFacts::of(&file)?) } else { None };
            Ok((file, piece, facts))
        });
        let facts;
        (file, piece, facts) = read.await.map_err(|error| cannot_be_read(&error))?;
        if let Some(facts) = facts {
            if facts != found.facts {
                return Err(NotTaken::NotComplete);
            }
            break;
        }
        content.read(&piece).await;
        if let Some(why) = content.refusal(&settings) {
            return Err(why.into());
        }
    }
    content.finish(&settings, &services.disk_space).await?;
    let mut message = message(services, pickup, envelope, &content);
    let taken = services.clock.monotonic().saturating_sub(began);
    message.reception_ms = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
    Ok(ReadFile { services, content, message, identity: identity(&found.facts) })
}

/// Opens it, and reads its header.
fn open(
    folder: &Folder,
    found: &FoundFile,
    settled: bool,
    longest: u64,
) -> Result<(File, Vec<u8>), NotTaken> {
    let no_file = |kind| match kind {
        FileKind::Regular => None,
        FileKind::Link => Some("it is a link, and links are not followed"),
        FileKind::Folder | FileKind::Other => Some("it is no regular file"),
    };
    if let Some(why) = no_file(found.facts.kind) {
        return Err(NotTaken::Bad(why.to_owned()));
    }
    let mut file = folder.open_file(&found.name).map_err(|error| match error.kind() {
        ErrorKind::NotFound => NotTaken::Gone,
        // It has become a link, a socket or the like since it was looked at.
        _ if folder.facts(&found.name).is_ok_and(|facts| facts.kind != FileKind::Regular) => {
            NotTaken::NotComplete
        }
        _ => cannot_be_read(&error),
    })?;
    let facts = FileFacts::of(&file).map_err(|error| cannot_be_read(&error))?;
    if facts != found.facts {
        return Err(NotTaken::NotComplete);
    }
    // While a file is brought by link and unlink it has two names for a moment.
    let wrong = if facts.links != 1 {
        "it has several names (hard links), so that it may be anybody's file"
    } else if facts.size == 0 {
        "it is empty"
    } else if facts.size > longest {
        return Err(NotTaken::Bad("it is larger than limits.message_size allows".to_owned()));
    } else {
        ""
    };
    match (wrong, settled) {
        ("", _) => {}
        (_, false) => return Err(NotTaken::NotComplete),
        (why, true) => return Err(NotTaken::Bad(why.to_owned())),
    }
    let header = header(&mut file).map_err(|error| cannot_be_read(&error))?;
    if header.len() > LONGEST_HEADER {
        return Err(NotTaken::Bad("its header is longer than 1 MiB".to_owned()));
    }
    Ok((file, header))
}

fn cannot_be_read(error: &io::Error) -> NotTaken {
    NotTaken::Stays(format!("cannot be read: {error}; let Postroom's user read it, or remove it"))
}

/// The start of a file, to the end of its header or a little further.
fn header(file: &mut File) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    loop {
        let before = header.len();
        file.by_ref().take(16 * 1024).read_to_end(&mut header)?;
        let fresh = &header[before.saturating_sub(3)..];
        let is_over =
            memchr::memmem::find(fresh, b"\n\n").or(memchr::memmem::find(fresh, b"\n\r\n")).is_some();
        if header.len() == before || is_over || header.len() > LONGEST_HEADER {
            return Ok(header);
        }
    }
}

fn message(
    services: &PickupServices,
    pickup: &Pickup,
    envelope: FileEnvelope,
    content: &StagedContent<'_>,
) -> Message {
    let FileEnvelope { reverse_path, recipients, .. } = envelope;
    // Of this moment: mail must not escape a mode that was switched on while its file was read.
    let now_in_force = services.settings.borrow().clone();
    let site = site_of(&now_in_force, pickup.site.as_deref(), &reverse_path, content.author());
    let handling = now_in_force.handling_of(&site);
    let now = services.files.now_of(&site);
    Message {
        smtp_utf8: !recipients.iter().chain(reverse_path.address()).all(Address::is_ascii),
        recipients: recipients.into_iter().map(Recipient::pending).collect(),
        size: content.size(),
        chunks: content.chunk_count(),
        header: content.header(),
        origin: Origin { listener: format!("pickup.{}", pickup.name), ..Origin::default() },
        under_mode: handling.is_some_and(|handling| handling.mode().is_some()),
        site,
        class: pickup.class.unwrap_or_else(|| content.class()),
        received_at: services.clock.wall(),
        due: Some(now),
        life_start: now,
        ..Message::new(content.id(), reverse_path)
    }
}

/// Runs what may wait for a disk away from the other tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panicked| Err(panicked.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::config::{Settings, Sources, load};
    use crate::pickup::status::PickupStatus;
    use crate::queue::redb::{Options, RedbQueue};
    use crate::reception::disk_space::DiskSpace;
    use std::pin::Pin;
    use std::time::Duration;
    use tokio::sync::{Semaphore, watch};

    /// Whoever asks it for the time finds other settings in force afterwards.
    struct SwitchingClock(SystemClock, watch::Sender<Arc<Settings>>, Arc<Settings>);

    impl Clock for SwitchingClock {
        fn wall(&self) -> jiff::Timestamp {
            self.1.send_replace(self.2.clone());
            self.0.wall()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }

        fn sleep_until(&self, until: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            self.0.sleep_until(until)
        }
    }

    #[tokio::test]
    async fn a_mode_that_is_switched_on_while_a_file_is_read_holds_for_its_mail() {
        let place = tempfile::tempdir().unwrap();
        let settings = |more: &str| {
            let file = place.path().join("postroom.toml");
            let data_dir = place.path().join("data");
            let folder = place.path().display();
            let text = format!(
                "hostname = \"h.test\"\ndata_dir = {data_dir:?}\n[pickup.web1]\ndirectory = \"{folder}\"\n{more}"
            );
            std::fs::write(&file, text).unwrap();
            Arc::new(load(&Sources { file: Some(file), ..Sources::default() }).unwrap().settings)
        };
        let (before, then) = (settings(""), settings("[debug]\nenabled = true\n"));
        let pickup = before.pickups[0].clone();
        let options = Options::new(Arc::new(SystemClock::default()));
        let files = Arc::new(RedbQueue::open(&place.path().join("queue.redb"), options).unwrap());
        let (in_force, watched) = watch::channel(before);
        let clock = Arc::new(SwitchingClock(SystemClock::default(), in_force, then));
        let services = PickupServices {
            settings: watched,
            disk_space: Arc::new(DiskSpace::new(files.clone(), clock.clone())),
            files,
            clock,
            content_memory: Arc::new(Semaphore::new(1)),
            status: Arc::new(PickupStatus::default()),
            metrics: Arc::default(),
        };
        std::fs::write(place.path().join("a.eml"), "From: a@x.test\nTo: b@y.test\n\nhello\n").unwrap();
        let folder = Arc::new(Folder::open(place.path()).unwrap());
        let facts = folder.facts("a.eml".as_ref()).unwrap();
        let found = FoundFile { name: "a.eml".into(), facts };
        let permit = services.content_memory.clone().try_acquire_owned().unwrap();
        let read = read(&services, &pickup, &folder, &found, true, None, permit).await.ok().unwrap();
        assert!(read.message.under_mode);
    }
}
