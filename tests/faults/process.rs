#![allow(dead_code)]
//! What the system says of a process, and faults put into its system calls.

use crate::support::spawn;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Highest resident size so far, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Resident size, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The highest resident size counts from here on.
pub fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
}

fn status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field of every process");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Time that it has spent on processors.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // Behind the name in brackets, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a bracket").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    // A tick is 10 ms in every Linux's /proc, whatever its kernel's own clock does.
    Duration::from_millis(ticks * 10)
}

/// Open file descriptors.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count()
}

/// System calls of a running process on one file fail, until this is dropped.
pub struct Failing(Child);

impl Failing {
    /// `what` as strace's `-e inject` has it, such as `fdatasync:error=EIO:when=2`.
    #[track_caller]
    pub fn on(pid: u32, file: &Path, what: &[&str]) -> Failing {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-P"]).arg(file);
        for what in what {
            command.arg("-e").arg(format!("inject={what}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = spawn(&mut command);
        let stderr = strace.stderr.take().expect("it was piped");
        let strace = Failing(strace);
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        // It names the threads first; from then on it watches. Its reports are read on, so that it never waits.
        let attached = lines.by_ref().find(|line| line.contains("attached"));
        assert!(attached.is_some(), "strace cannot attach to the proxy: is ptrace allowed?");
        std::thread::spawn(move || lines.for_each(drop));
        strace
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // Asked to end it lets go of the process between two calls; killed it might do so within one.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}
