//! What the system says of a process, and faults put into its system calls.

use crate::support::Ended;
use crate::support::not_proved_here;
use crate::support::proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Highest resident size so far, in KiB.
fn peak_kib(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Resident size, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// A MiB, in KiB.
pub const MIB: u64 = 1024;

/// The peak of the process is said in any case, and must be below the bound, in KiB.
#[track_caller]
pub fn assert_within(proxy: &Proxy, bound: u64, what: &str) {
    let peak = peak_kib(proxy.pid());
    println!("{what}: peak {:.1} MiB, bound {} MiB", peak as f64 / 1024.0, bound / MIB);
    assert!(peak < bound, "{what}: peak {peak} KiB, more than {bound} KiB");
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
    /// `what` as strace's `-e inject` has it, such as `fdatasync:error=EIO:when=2`. Whoever uses it has asked
    /// [`can_trace`] before.
    #[track_caller]
    pub fn on(pid: u32, file: &Path, what: &[&str]) -> Failing {
        let mut command = Command::new("strace");
        command.arg("-P").arg(file);
        for what in what {
            command.arg("-e").arg(format!("inject={what}"));
        }
        Failing::attach(&mut command, pid).expect("it could be asked a moment ago")
    }

    /// The same, whatever the calls are about.
    #[track_caller]
    pub fn everywhere(pid: u32, what: &[&str]) -> Failing {
        let mut command = Command::new("strace");
        for what in what {
            command.arg("-e").arg(format!("inject={what}"));
        }
        Failing::attach(&mut command, pid).expect("it could be asked a moment ago")
    }

    /// Strace attached to a process with all its threads; or what it says instead.
    fn attach(strace: &mut Command, pid: u32) -> Result<Failing, String> {
        strace.args(["-f", "-p", &pid.to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = strace.spawn().map_err(|error| format!("strace: {error}"))?;
        let stderr = strace.stderr.take().expect("it was piped");
        let strace = Failing(strace);
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut said = String::new();
        // It names the threads first; from then on it watches. Its reports are read on, so that it never waits.
        for line in lines.by_ref() {
            if line.contains("attached") {
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(strace);
            }
            said.push_str(&line);
        }
        Err(said)
    }
}

/// Whether strace is there and may attach to a process; says so for that test where it may not.
pub fn can_trace(test: &str) -> bool {
    let other = Ended(Command::new("sleep").arg("60").spawn().expect("a program of every Linux"));
    match Failing::attach(&mut Command::new("strace"), other.0.id()) {
        Ok(_) => true,
        Err(why) => {
            not_proved_here(test, &why);
            false
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // Asked to end it lets go of the process between two calls; killed it might do so within one.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}
