//! The log's writer: callers add lines to a buffer, and a thread writes them, many at a time.
//!
//! Promise: lines are written whole and in the order in which they were added. [`LogWriter::close`] returns when all of
//! them are written. When the reader stops reading (a full pipe), one caller waits for `WAIT_FOR_CAPACITY` and from then
//! on none does; lines that do not fit, or cannot be written, are counted, and the count is logged as soon as lines can be
//! written again. Lines in memory take at most `CAPACITY` twice: those that wait, and those that are being written.
//!
//! Limit: a SIGKILL loses the lines of the last `LINGER`.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of lines that may wait.
const CAPACITY: usize = 1 << 20;
/// How long the first line waits for others, so that many share a write.
const LINGER: Duration = Duration::from_millis(10);
/// How long a caller waits when the buffer is full.
const WAIT_FOR_CAPACITY: Duration = Duration::from_millis(100);
/// How long [`LogWriter::close`] waits for a reader that reads nothing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Written at a time: as much as a pipe holds.
const WRITE_SIZE: usize = 64 << 10;

/// Takes lines from any thread.
#[derive(Debug, Default)]
pub(super) struct LogWriter {
    state: Mutex<WriterState>,
    /// There is work for the thread.
    work: Condvar,
    /// Something was written or lost.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct WriterState {
    lines: Vec<u8>,
    /// Bytes added since the start.
    accepted: u64,
    /// How many of these are written or lost.
    finished: u64,
    /// A caller waits until so many are finished.
    wanted: u64,
    /// Lost lines whose count was not logged yet.
    lost: u64,
    /// A caller has waited for capacity in vain; no other one waits until a batch is finished.
    stalled: bool,
    /// The last write failed.
    write_failed: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `out` for the rest of the process. `on_lost` is called with a number of lines that
    /// were lost, when lines can be written again; it may add a line that says so.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        on_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Arc<LogWriter>> {
        let writer = Arc::<LogWriter>::default();
        let thread = std::thread::Builder::new().name("log".to_owned());
        let theirs = writer.clone();
        thread.spawn(move || theirs.run(out, on_lost))?;
        Ok(writer)
    }

    /// Adds a line, with its line end.
    pub(super) fn push(&self, line: &[u8]) {
        let full = |state: &WriterState| !state.lines.is_empty() && state.lines.len() + line.len() > CAPACITY;
        let mut state = self.lock();
        if full(&state) && !state.stalled {
            let waited = self.progress.wait_timeout_while(state, WAIT_FOR_CAPACITY, |state| full(state));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.stalled |= full(&state);
        }
        if full(&state) {
            state.lost += 1;
            return;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(line);
        state.accepted += line.len() as u64;
        // Waking is a system call: only where the thread waits for a line, or is to end its linger early.
        let wake = before == 0 || (before < CAPACITY / 2 && state.lines.len() >= CAPACITY / 2);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Waits until the lines added so far are written and lost ones are reported. Returns false when the reader reads nothing
    /// for `timeout`.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let target = state.accepted;
        state.wanted = state.wanted.max(target);
        self.work.notify_one();
        let done = |state: &WriterState| state.finished >= target && (state.lost == 0 || state.write_failed);
        while !done(&state) {
            let before = state.finished;
            let no_progress = |state: &mut WriterState| state.finished == before && !done(state);
            let waited = self.progress.wait_timeout_while(state, timeout, no_progress);
            let result;
            (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
            if result.timed_out() {
                return false;
            }
        }
        true
    }

    /// At the end of the process: as [`LogWriter::flush`], as long as the reader reads anything, with the line that reports
    /// how many were lost.
    pub(super) fn close(&self) -> bool {
        self.flush(CLOSE_TIMEOUT) && self.flush(CLOSE_TIMEOUT)
    }

    fn run(&self, mut out: impl Write, on_lost: impl Fn(u64)) {
        let mut batch = Vec::new();
        // The last line that was written has no end.
        let mut torn = false;
        loop {
            batch.clear();
            let lost = self.take(&mut batch);
            if lost > 0 {
                on_lost(lost);
                self.lock().lost -= lost;
                self.progress.notify_all();
            }
            if torn {
                torn = !self.write(&mut out, b"\n", 0).is_empty();
            }
            let rest = if torn { &batch[..] } else { self.write(&mut out, &batch, 1) };
            let written = &batch[..batch.len() - rest.len()];
            torn = written.last().map_or(torn, |last| *last != b'\n');
            self.finish(rest);
        }
    }

    /// Waits for lines and takes all; returns how many lost ones can be reported now.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let reportable = |state: &WriterState| if state.write_failed { 0 } else { state.lost };
        let nothing = |state: &mut WriterState| state.lines.is_empty() && reportable(state) == 0;
        let state = self.work.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        let no_hurry =
            |state: &mut WriterState| state.lines.len() < CAPACITY / 2 && state.wanted <= state.finished;
        let waited = self.work.wait_timeout_while(state, LINGER, no_hurry);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut state.lines, batch);
        self.progress.notify_all();
        reportable(&state)
    }

    /// Writes until all is written or a write fails; returns the rest. Each byte counts `weight` times as finished.
    fn write<'a>(&self, out: &mut impl Write, mut lines: &'a [u8], weight: u64) -> &'a [u8] {
        while !lines.is_empty() {
            match out.write(&lines[..lines.len().min(WRITE_SIZE)]) {
                Ok(0) => break,
                Ok(length) => {
                    lines = &lines[length..];
                    let mut state = self.lock();
                    state.finished += weight * length as u64;
                    // Under the same lock: a flush that waits for these bytes waits for the report of lost lines, too.
                    state.write_failed = false;
                    drop(state);
                    self.progress.notify_all();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another program that shares the terminal or pipe has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LINGER),
                Err(_) => break,
            }
        }
        lines
    }

    /// A batch is finished; the rest could not be written and is lost.
    fn finish(&self, rest: &[u8]) {
        let mut state = self.lock();
        state.stalled = false;
        state.write_failed = !rest.is_empty();
        state.finished += rest.len() as u64;
        state.lost += memchr::memchr_iter(b'\n', rest).count() as u64;
        drop(state);
        self.progress.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    /// A writer into a pipe; what is lost is told in a line.
    fn into_pipe() -> (Arc<LogWriter>, PipeReader) {
        let (reader, pipe) = io::pipe().unwrap();
        let lost = Arc::new(Mutex::new(None::<Arc<LogWriter>>));
        let theirs = lost.clone();
        let on_lost = move |count| {
            let writer = theirs.lock().unwrap().clone().unwrap();
            writer.push(format!("lost {count}\n").as_bytes());
        };
        let writer = LogWriter::start(pipe, on_lost).unwrap();
        *lost.lock().unwrap() = Some(writer.clone());
        (writer, reader)
    }

    /// Reads until that line.
    fn read_until(reader: &mut PipeReader, last: &str) -> String {
        let (mut text, mut buffer) = (String::new(), [0; 8192]);
        while !text.ends_with(last) {
            let length = reader.read(&mut buffer).unwrap();
            assert!(length > 0, "the pipe ended before {last:?}");
            text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        text
    }

    #[test]
    fn lines_come_out_whole_and_each_thread_s_in_its_order() {
        let (writer, mut reader) = into_pipe();
        let reading = std::thread::spawn(move || read_until(&mut reader, "the end\n"));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let writer = &writer;
                scope.spawn(move || {
                    (0..5000).for_each(|number| writer.push(format!("{thread} {number}\n").as_bytes()));
                });
            }
        });
        writer.push(b"the end\n");
        assert!(writer.close());
        let text = reading.join().unwrap();
        for thread in 0..4 {
            let of = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            let expected: Vec<String> = (0..5000).map(|number: u32| number.to_string()).collect();
            assert_eq!(of.collect::<Vec<_>>(), expected, "of thread {thread}");
        }
        assert_eq!(text.lines().count(), 4 * 5000 + 1, "nothing else, and nothing lost");
    }

    /// Before there was a writer, a pipe that nobody read stopped every session at its next line.
    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody_and_what_is_lost_is_counted() {
        let (writer, mut reader) = into_pipe();
        let count = 4 * CAPACITY as u64 / 100;
        for number in 0..count {
            writer.push(format!("{number:099}\n").as_bytes());
        }
        assert!(writer.lock().lines.len() <= CAPACITY);
        assert!(!writer.flush(Duration::from_millis(1)), "nobody has read");
        let reading = std::thread::spawn(move || read_until(&mut reader, "the end\n"));
        assert!(writer.close());
        writer.push(b"the end\n");
        assert!(writer.close());
        let text = reading.join().unwrap();
        let (numbers, told): (Vec<&str>, Vec<&str>) =
            text.lines().filter(|line| *line != "the end").partition(|line| line.len() == 99);
        let lost: u64 =
            told.iter().map(|line| line.strip_prefix("lost ").unwrap().parse::<u64>().unwrap()).sum();
        assert!(lost > 0);
        assert_eq!(numbers.len() as u64 + lost, count);
        let numbers: Vec<u64> = numbers.iter().map(|line| line.parse().unwrap()).collect();
        assert!(numbers.is_sorted());
        assert_eq!(numbers[0], 0, "the oldest stay: they say what came first");
    }

    #[test]
    fn a_reader_that_has_gone_delays_no_end() {
        let (writer, reader) = into_pipe();
        drop(reader);
        (0..10).for_each(|_| writer.push(b"to nobody\n"));
        assert!(writer.close());
        assert!(writer.lock().lost >= 10, "and the thread does not go round and round telling itself");
    }

    /// Takes half of the first line, then fails (as a full disk does) until it is told to work.
    struct Fails {
        works: Arc<AtomicU64>,
        out: mpsc::Sender<u8>,
    }

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = match self.works.load(Ordering::SeqCst) {
                0 => {
                    self.works.store(1, Ordering::SeqCst);
                    bytes.len() / 2
                }
                1 => return Err(ErrorKind::StorageFull.into()),
                _ => bytes.len(),
            };
            bytes[..length].iter().for_each(|byte| self.out.send(*byte).unwrap());
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_spoils_no_other_one() {
        let (works, (out, written)) = (Arc::new(AtomicU64::new(0)), mpsc::channel());
        let (lost_sender, lost) = mpsc::channel();
        let on_lost = move |count| lost_sender.send(count).unwrap();
        let writer = LogWriter::start(Fails { works: works.clone(), out }, on_lost).unwrap();
        writer.push(b"abcdef\n");
        assert!(writer.close());
        writer.push(b"lost\n");
        assert!(writer.close());
        works.store(2, Ordering::SeqCst);
        writer.push(b"whole\n");
        assert!(writer.close());
        assert_eq!(written.try_iter().collect::<Vec<_>>(), b"abc\nwhole\n");
        assert_eq!(lost.try_iter().sum::<u64>(), 2);
    }
}
