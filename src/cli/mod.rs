//! The command line: one file a verb. Verbs on the running proxy are clients of the admin routes over the control socket.
//!
//! Exit codes: 0 success, 1 the operation failed, 2 wrong usage, 78 configuration error.

/// Prints a line on standard output. Ends the process where standard output is closed (`| head`) or cannot be written.
macro_rules! say {
    ($($what:tt)*) => {
        $crate::cli::say_line(format_args!($($what)*))
    };
}

mod archived;
mod attempts;
mod change;
mod check;
mod client;
mod completions;
mod confirm;
mod content;
mod demo;
mod events;
mod expression;
mod hash;
mod listing;
mod man;
mod modes;
mod queue;
mod queue_bulk;
mod queue_list;
mod ready;
mod reload;
mod reset;
mod send;
mod sendmail;
mod sent;
mod serve;
pub mod sink;
mod submission;
mod table;
mod test;
mod upstream;
mod upstream_keys;

use crate::admin::safe_json::to_json;
use crate::config::{self, ConfigErrors, Loaded, Sources};
use crate::mail::printable;
use crate::mail::printable::printable_lines;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Configuration errors, as sysexits.h has it.
const EXIT_CONFIG: u8 = 78;

/// A local SMTP proxy: has mail on disk before it answers 250, and relays it through the best of several upstreams.
#[derive(Parser, Debug)]
#[command(name = "postroom", version, propagate_version = true, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  postroom demo                            try it on one machine, with the web admin
  postroom serve -c postroom.toml          run the proxy
  postroom check -c postroom.toml          is the configuration right?
  postroom queue list --state deferred     what waits, and why
  postroom events --follow                 what happens now";

/// What every verb takes.
#[derive(clap::Args, Debug, Clone, Default)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Configuration file [default: $POSTROOM_CONFIG, ./postroom.toml, /etc/postroom/postroom.toml, built-in defaults]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of queue, log and control socket, in place of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON: one array for a listing
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run the proxy
    #[command(
        after_help = "Examples:\n  postroom serve -c postroom.toml\n  RELAYHOST=mail.example.com:587 postroom serve --data-dir /var/lib/postroom"
    )]
    Serve,
    /// Try it on one machine: proxy, web admin, two sites, built-in upstreams of which some fail, mail under way
    Demo(demo::DemoArgs),
    /// Run a throw-away upstream that prints what it gets
    Sink(sink::SinkArgs),
    /// Load the configuration, print what is in force (secrets masked), name every error
    #[command(
        after_help = "Examples:\n  postroom check -c postroom.toml\n  postroom check --json | jq .upstream"
    )]
    Check,
    /// Send a message file through the proxy
    Send(send::SendArgs),
    /// Send the message on standard input, with the options and exit codes of sendmail
    Sendmail(sendmail::SendmailArgs),
    /// Look at and work on the queue
    Queue(queue::QueueArgs),
    /// Look at mail that was sent and is archived, and send it again
    Sent(sent::SentArgs),
    /// Show what happened
    Events(events::EventsArgs),
    /// Show how the upstreams fare; add, change, switch them
    Upstream(upstream::UpstreamArgs),
    /// Does an upstream work? Connect, TLS, login, a test message: each step with its time, and what to change
    Test(test::TestArgs),
    /// Read a password, print its hash for password_hash under [user.*] and [admin]
    #[command(
        after_help = "Examples:\n  postroom hash\n  printf %s \"$PASSWORD\" | postroom hash\n\nA terminal shows nothing of what is typed, and asks twice."
    )]
    Hash,
    /// Load the configuration again; a wrong one changes nothing and says why (exit code 78)
    #[command(after_help = "Example:\n  postroom reload -c postroom.toml")]
    Reload,
    /// Take back what verbs and pages changed: what the file says holds again
    Reset(reset::ResetArgs),
    /// Exit 0 when the running proxy is ready
    Ready(ready::ReadyArgs),
    /// Print a shell's completions of this command line
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each verb into a folder
    Man(man::ManArgs),
}

/// Why a verb did not do it.
#[derive(Debug)]
enum Failure {
    /// The operation failed: 1.
    Failed(anyhow::Error),
    /// Wrong usage that clap cannot see: 2.
    Usage(String),
    /// 78.
    Config(ConfigErrors),
    /// The error has been printed already; only the exit code is left.
    Silent(u8),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

impl Global {
    fn sources(&self) -> Result<Sources, Failure> {
        let overrides = self.data_dir.iter().map(|dir| {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
            ("data_dir".to_owned(), dir.to_string_lossy().into_owned())
        });
        Ok(Sources {
            file: self.config.clone(),
            // What is not UTF-8 cannot be a value of ours.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            working_dir: std::env::current_dir()?,
            overrides: overrides.collect(),
            unwritten: None,
        })
    }

    /// The control socket of the running proxy: found even while the configuration file is wrong, because that is when an
    /// operator wants to look.
    fn control_socket(&self) -> Result<PathBuf, Failure> {
        match config::load(&self.sources()?) {
            Ok(loaded) => Ok(loaded.settings.control_socket()),
            Err(errors) => match &errors.data_dir {
                Some(data_dir) => Ok(data_dir.join(config::settings::CONTROL_SOCKET)),
                None => Err(Failure::Config(errors)),
            },
        }
    }

    fn load(&self) -> Result<Loaded, Failure> {
        config::load(&self.sources()?).map_err(Failure::Config)
    }
}

/// `postroom`, and the verbs of the command line.
fn called_verb() -> String {
    let (mut command, mut called) = (command(), "postroom".to_owned());
    for argument in std::env::args_os().skip(1) {
        if let Some(verb) = argument.to_str().and_then(|argument| command.find_subcommand(argument)) {
            called = format!("{called} {}", verb.get_name());
            command = verb.clone();
        }
    }
    called
}

/// The whole command line, as clap knows it: for what is made from it.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the arguments, does what they say, and answers with the exit code.
pub fn run() -> ExitCode {
    if let Some(arguments) = sendmail::called(std::env::args_os()) {
        return sendmail::run(&Global::default(), arguments);
    }
    let Cli { global, verb } = Cli::parse();
    let json = global.json;
    let done = match verb {
        Verb::Serve => serve::run(&global),
        Verb::Demo(args) => demo::run(&global, args),
        Verb::Sink(args) => small_runtime().and_then(|runtime| Ok(runtime.block_on(sink::run(args))?)),
        Verb::Check => check::run(&global),
        Verb::Send(args) => send::run(&global, &args),
        Verb::Sendmail(args) => return sendmail::run(&global, args.arguments),
        Verb::Queue(args) => queue::run(&global, args),
        Verb::Sent(args) => sent::run(&global, args),
        Verb::Events(args) => events::run(&global, &args),
        Verb::Test(args) => test::run(&global, &args),
        Verb::Upstream(args) => upstream::run(&global, args),
        Verb::Hash => hash::run(),
        Verb::Reload => reload::run(&global),
        Verb::Reset(args) => reset::run(&global, args),
        Verb::Ready(args) => ready::run(&global, &args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(failure, json),
    }
}

fn report(failure: Failure, json: bool) -> ExitCode {
    match failure {
        Failure::Silent(code) => return ExitCode::from(code),
        // Standard output was closed (`| head`): no failure.
        Failure::Failed(error) if is_closed_pipe(&error) => return ExitCode::SUCCESS,
        Failure::Failed(error) => eprintln!("postroom: {}", printable(&format!("{error:#}"))),
        Failure::Usage(what) => {
            eprintln!("postroom: {}\n\nSee `{} --help`.", printable_lines(&what), called_verb());
            return ExitCode::from(2);
        }
        Failure::Config(errors) => {
            if json {
                say!("{}", to_json(&errors.errors).unwrap_or_default());
            } else {
                eprintln!("{errors}");
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    }
    ExitCode::FAILURE
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A runtime of one thread, for verbs that are clients of the proxy.
fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// See `say!`.
fn say_line(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("postroom: standard output cannot be written: {error}");
            std::process::exit(1)
        }
    }
}
