//! What only Unix has: signals, the control socket in the file system with its mode, sockets handed over by systemd, the
//! limit on open files, the space on a file system, the names of users, terminals without echo, what systemd is told, folders by
//! their descriptor.
//! A port to another system has to replace this module alone.

pub(crate) mod folder;
pub(crate) mod folder_watch;
pub(crate) mod process_figures;
pub(crate) mod staged_file;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the proxy reacts to.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// SIGHUP: load the configuration again, open log files again.
    Reload,
    Stop,
}

impl Signals {
    /// From now on signals no longer end the process.
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }
}

/// Bytes free for this process on the file system of a file, and bytes that the file occupies there (holes count as none).
pub(crate) fn disk_space(file: &Path) -> io::Result<(u64, u64)> {
    let system = rustix::fs::statvfs(file)?;
    let blocks = std::fs::metadata(file)?.blocks();
    Ok((system.f_bavail.saturating_mul(system.f_frsize), blocks.saturating_mul(512)))
}

/// Bytes free for this process on the file system of a file or folder.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Opens a file that only its owner may read, for writing from its beginning. What is no file, such as a named pipe that
/// nobody reads, is an error and is not waited for.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    regular_file(&mut options, path)
}

/// Opens a file for reading; as [`create_private_file`] where it is no file.
pub(crate) fn open_regular_file(path: &Path) -> io::Result<File> {
    regular_file(File::options().read(true), path)
}

fn regular_file(options: &mut std::fs::OpenOptions, path: &Path) -> io::Result<File> {
    // These flags fit into what the system calls an int.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file")),
    }
}

/// Locks a folder against others that lock it, for as long as what is returned lives. None: somebody else has it.
pub(crate) fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = File::open(path)?;
    match rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What root makes in a folder of somebody else is theirs, so that they can read it.
pub(crate) fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    if nix::unistd::Uid::effective().is_root() && owner.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// The login name of a user, or their number where the system knows none.
pub(crate) fn name_of_user(id: u32) -> String {
    let user = nix::unistd::User::from_uid(id.into()).ok().flatten();
    user.map_or_else(|| format!("number {id}"), |user| user.name)
}

/// Whoever runs this process.
pub(crate) fn own_user() -> u32 {
    nix::unistd::Uid::effective().as_raw()
}

/// The id of the process that answers on the control socket, if one does; 0 where the system does not say.
pub(crate) async fn process_behind(socket: &Path) -> Option<i32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    Some(stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or(0))
}

/// Binds the control socket, for its owner alone. A socket file on which no process answers was left by a crash; it is replaced.
pub(crate) async fn bind_control(socket: &Path) -> io::Result<UnixListener> {
    if process_behind(socket).await.is_some() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on it"));
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Set before bind, so that no other user can connect before the mode is changed.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(socket);
    rustix::process::umask(before);
    bound
}

/// Makes a folder that only its owner may enter, with its parents.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Whether this process may write in that folder and what it writes there belongs to the folder's owner.
pub(crate) fn is_our_own(folder: &Path) -> bool {
    let owner = std::fs::metadata(folder).map(|metadata| metadata.is_dir().then_some(metadata.uid()));
    owner.is_ok_and(|owner| owner == Some(rustix::process::geteuid().as_raw()))
}

/// Raises the soft limit on open files, which is low for the sake of programs that use select, to the hard limit. Returns the
/// limit from here on; none where there is none.
pub(crate) fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return current;
    }
    maximum
}

/// Listening sockets that systemd opened for us (`LISTEN_FDS`), so that port 25 needs no right of our own.
pub(crate) fn inherited_listeners() -> Vec<(SocketAddr, TcpListener)> {
    let mut inherited = listenfd::ListenFd::from_env();
    (0..inherited.len())
        .filter_map(|place| inherited.take_tcp_listener(place).ok().flatten())
        .filter_map(|listener| Some((listener.local_addr().ok()?, listener)))
        .collect()
}

/// Asks for a line from the terminal on standard input, which does not show it.
pub(crate) fn read_hidden_line(prompt: &str) -> io::Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // Hidden before anybody is asked, so that a quick answer is neither shown nor lost.
    tcsetattr(&stdin, OptionalActions::Now, &hidden)?;
    eprint!("{prompt}");
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    eprintln!();
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    read.map(|_| line)
}

/// Whether systemd waits to be told of our state (`Type=notify`).
pub(crate) fn is_watched_by_systemd() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// How often systemd wants to hear of us (`WatchdogSec=`), if it does.
pub(crate) fn watchdog_interval() -> Option<std::time::Duration> {
    sd_notify::watchdog_enabled()
}

/// What systemd is told.
pub(crate) enum ServiceState {
    /// Started, or loaded the configuration again.
    Ready,
    /// Loading the configuration again.
    Reloading,
    /// Stopping.
    Stopping,
    /// Still working.
    Alive,
}

/// Tells systemd the state, and a line for people. Nothing where nobody waits for it.
pub(crate) fn tell_systemd(state: ServiceState, status: &str) -> io::Result<()> {
    use sd_notify::NotifyState;
    let state = match state {
        ServiceState::Ready => vec![NotifyState::Ready],
        ServiceState::Reloading => vec![NotifyState::Reloading, NotifyState::monotonic_usec_now()?],
        ServiceState::Stopping => vec![NotifyState::Stopping],
        ServiceState::Alive => vec![NotifyState::Watchdog],
    };
    sd_notify::notify(&[state, vec![NotifyState::Status(status)]].concat())
}

/// The login name of whoever runs this process, by the system's users; none where they do not know the user id, as in many
/// containers.
pub(crate) fn login_name() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok()??;
    Some(user.name)
}
