//! `statistics.json`: what came and went over the last week, over restarts. It is worth a chart and no trouble: what cannot be read or
//! written is told in the log.

use crate::clock::Clock;
use crate::metrics::{Metrics, TrafficHistory};
use crate::unix::staged_file::StagedFile;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const MINUTE_MS: u64 = 60_000;

/// Puts what is counted into the history, and that into the file.
pub(super) struct Statistics {
    file: PathBuf,
    history: Arc<TrafficHistory>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Something has changed since the last write that did not fail.
    unsaved: bool,
    /// The last write failed: the next one that does says nothing new.
    failed: bool,
}

impl Statistics {
    /// With what is in the file, if it can be used.
    pub(super) fn open(data_dir: &Path, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Statistics {
        let file = data_dir.join("statistics.json");
        let now = clock.wall();
        let history = restored(&file, now).unwrap_or_else(|error| {
            tracing::warn!("{} cannot be used, charts begin anew: {error}", file.display());
            TrafficHistory::new(now)
        });
        Statistics { file, history: Arc::new(history), metrics, clock, unsaved: false, failed: false }
    }

    pub(super) fn history(&self) -> Arc<TrafficHistory> {
        self.history.clone()
    }

    /// At the end of each minute, and at the stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let into_minute = self.clock.wall().as_millisecond().rem_euclid(MINUTE_MS as i64) as u64;
            let end = self.clock.monotonic() + Duration::from_millis(MINUTE_MS - into_minute);
            let stops = tokio::select! {
                () = self.clock.sleep_until(end) => false,
                () = stop.cancelled() => true,
            };
            self.record().await;
            if stops {
                return;
            }
        }
    }

    /// Writes the file where something has changed since it was written.
    async fn record(&mut self) {
        self.unsaved |= self.history.record(self.clock.wall(), self.metrics.totals());
        if !self.unsaved {
            return;
        }
        let (file, text) = (self.file.clone(), self.history.to_json());
        let written = tokio::task::spawn_blocking(move || StagedFile::write(&file, &text)?.commit()).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = &written
            && !self.failed
        {
            tracing::warn!("{} cannot be written, charts are kept in memory: {error}", self.file.display());
        }
        self.failed = written.is_err();
        self.unsaved = self.failed;
    }
}

fn restored(file: &Path, now: jiff::Timestamp) -> anyhow::Result<TrafficHistory> {
    match std::fs::read(file) {
        Ok(kept) => Ok(TrafficHistory::restored(&kept, now)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(TrafficHistory::new(now)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::metrics::{Totals, Window};
    use jiff::Timestamp;

    struct Stage {
        folder: tempfile::TempDir,
        clock: Arc<ManualClock>,
        metrics: Arc<Metrics>,
    }

    impl Stage {
        fn new() -> Stage {
            Stage {
                folder: tempfile::tempdir().unwrap(),
                clock: Arc::new(ManualClock::at(Timestamp::from_second(1_790_000_080).unwrap())),
                metrics: Arc::default(),
            }
        }

        fn data_dir(&self) -> PathBuf {
            self.folder.path().join("data")
        }

        fn open(&self) -> Statistics {
            Statistics::open(&self.data_dir(), self.metrics.clone(), self.clock.clone())
        }

        /// What the next process shows of the last minutes, the newest first.
        fn kept(&self) -> Vec<u64> {
            let series = self.open().history.series(Window::Hour, self.clock.wall(), Totals::default());
            series.iter().rev().map(|bucket| bucket.accepted).take(5).collect()
        }
    }

    #[tokio::test]
    async fn it_is_written_where_something_has_changed_and_again_where_that_failed() {
        let stage = Stage::new();
        let (data_dir, mut statistics) = (stage.data_dir(), stage.open());
        std::fs::create_dir(&data_dir).unwrap();
        let mut minute = async |accepted| {
            (0..accepted).for_each(|_| stage.metrics.accepted("l", "", 1, 10));
            stage.clock.advance(Duration::from_secs(60));
            statistics.record().await;
        };
        minute(0).await;
        assert!(!data_dir.join("statistics.json").exists());
        minute(1).await;
        assert_eq!(stage.kept(), [0, 1, 0, 0, 0]);
        std::fs::remove_dir_all(&data_dir).unwrap();
        minute(2).await;
        assert!(!data_dir.exists());
        std::fs::create_dir(&data_dir).unwrap();
        minute(0).await;
        assert_eq!(stage.kept(), [0, 0, 2, 1, 0]);
    }

    #[tokio::test]
    async fn it_is_written_at_the_end_of_a_minute_and_at_the_stop() {
        for stops in [false, true] {
            let stage = Stage::new();
            std::fs::create_dir(stage.data_dir()).unwrap();
            let stop = CancellationToken::new();
            tokio::spawn(stage.open().run(stop.clone()));
            stage.metrics.accepted("l", "", 1, 10);
            // One thread: the task runs until it waits.
            tokio::task::yield_now().await;
            if stops {
                stop.cancel();
            } else {
                stage.clock.advance(Duration::from_secs(20));
            }
            // What is written goes by a thread of its own.
            while !stage.data_dir().join("statistics.json").exists() {
                tokio::task::yield_now().await;
            }
            assert_eq!(stage.kept().iter().sum::<u64>(), 1);
        }
    }
}
