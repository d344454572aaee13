//! A disk in memory whose power can be cut, which can be full, and which can fail.

use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

const SECTOR: usize = 512;
const BLOCK: usize = 4096;
pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;

#[derive(Default, Debug)]
pub struct Disk {
    state: Mutex<State>,
    gate: Condvar,
}

#[derive(Default, Debug)]
struct State {
    /// What the process sees.
    live: Vec<u8>,
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    /// In their order, since the last sync.
    unsynced: Vec<Change>,
    syncs: u64,
    /// The power goes at the start of this sync.
    cut_at: Option<u64>,
    faults: Faults,
    /// While set, syncs wait.
    closed_gate: bool,
    waiting: usize,
    /// Blocks that were ever written: a full disk still takes those.
    allocated: std::collections::HashSet<usize>,
}

/// Errors (by number) that the disk answers with from now on.
#[derive(Default, Debug, Clone, Copy)]
pub struct Faults {
    pub write: Option<i32>,
    /// No block that has no place yet gets one.
    pub full: bool,
    pub set_len: Option<i32>,
    pub sync: Option<i32>,
    /// This many syncs still succeed.
    pub good_syncs: u64,
    pub read: Option<i32>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// What is left after a power cut of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Lost,
    Kept,
    /// Each sector of each write by chance.
    Some(u64),
}

impl Disk {
    pub fn new() -> Arc<Disk> {
        Arc::default()
    }

    pub fn with(image: Vec<u8>) -> Arc<Disk> {
        let state = State { live: image.clone(), durable: image, ..State::default() };
        Arc::new(Disk { state: Mutex::new(state), gate: Condvar::new() })
    }

    pub fn cut_at(&self, sync: u64) {
        self.lock().cut_at = Some(sync);
    }

    pub fn has_power(&self) -> bool {
        self.lock().has_power().is_ok()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Holds syncs up, or lets them go on.
    pub fn hold_syncs(&self, hold: bool) {
        self.lock().closed_gate = hold;
        self.gate.notify_all();
    }

    pub fn has_a_waiting_sync(&self) -> bool {
        self.lock().waiting > 0
    }

    /// The disk as the next start finds it.
    pub fn image(&self, fate: Fate) -> Vec<u8> {
        let state = self.lock();
        let mut image = state.durable.clone();
        let mut random = match fate {
            Fate::Lost => return image,
            Fate::Kept => None,
            Fate::Some(seed) => Some(fastrand::Rng::with_seed(seed)),
        };
        let mut kept = || random.as_mut().is_none_or(|random| random.bool());
        for change in &state.unsynced {
            match change {
                Change::SetLen(length) if kept() => image.resize(*length, 0),
                Change::SetLen(_) => {}
                Change::Write(offset, data) => {
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if kept() {
                            write(&mut image, offset + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        image
    }

    pub fn flip(&self, find: &[u8]) -> bool {
        self.flip_behind(&[], find)
    }

    /// As [`Disk::flip`], of `find` where it stands behind `before`.
    pub fn flip_behind(&self, before: &[u8], find: &[u8]) -> bool {
        let mut state = self.lock();
        let mut found = false;
        let whole = [before, find].concat();
        for start in 0..state.live.len().saturating_sub(whole.len()) {
            if state.live[start..].starts_with(&whole) {
                state.live[start + before.len()] ^= 1;
                found = true;
            }
        }
        state.durable = state.live.clone();
        found
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn has_power(&self) -> io::Result<()> {
        match self.cut_at {
            Some(sync) if self.syncs >= sync => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }
}

fn write(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

fn fault(number: Option<i32>) -> io::Result<()> {
    number.map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
}

/// The disk as redb sees it.
#[derive(Debug, Clone)]
pub struct Mounted(pub Arc<Disk>);

impl StorageBackend for Mounted {
    fn len(&self) -> io::Result<u64> {
        let state = self.0.lock();
        state.has_power()?;
        Ok(state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        state.has_power()?;
        fault(state.faults.read)?;
        let offset = offset as usize;
        let data = state.live.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.has_power()?;
        fault(state.faults.set_len)?;
        state.live.resize(length as usize, 0);
        state.unsynced.push(Change::SetLen(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.waiting += 1;
        let mut state = self.0.gate.wait_while(state, |state| state.closed_gate).unwrap();
        state.waiting -= 1;
        state.has_power()?;
        state.syncs += 1;
        state.has_power()?;
        if state.faults.sync.is_some() {
            match state.faults.good_syncs.checked_sub(1) {
                Some(left) => state.faults.good_syncs = left,
                None => fault(state.faults.sync)?,
            }
        }
        for change in std::mem::take(&mut state.unsynced) {
            match change {
                Change::Write(offset, data) => write(&mut state.durable, offset, &data),
                Change::SetLen(length) => state.durable.resize(length, 0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.has_power()?;
        fault(state.faults.write)?;
        let blocks = offset as usize / BLOCK..(offset as usize + data.len()).div_ceil(BLOCK);
        if state.faults.full && !blocks.clone().all(|block| state.allocated.contains(&block)) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.allocated.extend(blocks);
        write(&mut state.live, offset as usize, data);
        state.unsynced.push(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}
