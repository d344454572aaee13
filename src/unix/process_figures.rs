//! What the system says of this process, as Linux tells it in `/proc`. Elsewhere nothing is known.

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What the system says of this process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ProcessFigures {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: f64,
    pub(crate) threads: f64,
    pub(crate) open_files: f64,
    /// None: as many as one likes.
    pub(crate) most_open_files: Option<f64>,
    /// When it started, in seconds since 1970.
    pub(crate) started: f64,
}

/// As of now; blocks for a moment.
pub(crate) fn process_figures() -> Option<ProcessFigures> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    let most = getrlimit(Resource::Nofile).current;
    let ProcessTimes { cpu_ticks, started_ticks, threads, resident_pages } = read(&stat)?;
    let per_second = clock_ticks_per_second() as f64;
    Some(ProcessFigures {
        cpu_seconds: cpu_ticks / per_second,
        resident_bytes: resident_pages * page_size() as f64,
        threads,
        // One is open for the listing itself.
        open_files: open_files.saturating_sub(1) as f64,
        most_open_files: most.map(|most| most as f64),
        started: booted + started_ticks / per_second,
    })
}

struct ProcessTimes {
    cpu_ticks: f64,
    started_ticks: f64,
    threads: f64,
    resident_pages: f64,
}

/// proc_pid_stat(5). The name of the program, in brackets, may hold anything.
fn read(stat: &str) -> Option<ProcessTimes> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = behind_name.split(' ').collect();
    // The first is number 3 of the manual page.
    let field = |number: usize| fields.get(number - 3)?.trim().parse::<f64>().ok();
    Some(ProcessTimes {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        started_ticks: field(22)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 12345 999 321 184467 0\n";
        let read = read(stat).unwrap();
        assert_eq!(
            (read.cpu_ticks, read.threads, read.started_ticks, read.resident_pages),
            (200.0, 9.0, 12345.0, 321.0)
        );
    }
}
