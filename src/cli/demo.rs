//! `postroom demo`: the whole thing on one machine in one command: web admin, two sites of which one is redirected, a flaky
//! upstream before one that works, and mail under way.
//!
//! Nothing leaves loopback: the upstreams are sinks of this process, or ports that nobody listens on.

mod configuration;
mod mailer;
mod mails;

use super::sink::{RunningSink, Sink, SinkOptions, rate};
use super::submission::proxy;
use super::table::safe;
use super::{Failure, Global};
use crate::config::{self, Sources};
use crate::event::Event;
use crate::log::Log;
use crate::server::Server;
use crate::unix::{self, Signals};
use anyhow::{Context, anyhow};
use clap::Args;
use configuration::{Places, configuration};
use mailer::Mailer;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Where the web admin is, unless somebody else has the port.
const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8025));
/// The configuration, in the data folder: whose folder it is, too.
const FILE: &str = "demo.toml";
/// Lines that wait for the terminal; beyond, they are dropped.
const LINES: usize = 1000;

/// `postroom demo`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  postroom demo
  swaks --server 127.0.0.1:2525 --from orders@shop.example --to ann@example.com
  postroom demo --no-mail --data-dir demo

The first line that it prints is the address of the web admin, with a token in it that logs in once.
Mail to unknown@ is refused for good, mail to full@ for now, whatever the domain; that of
@staging.shop.example goes to qa@shop.example instead. Nothing leaves this machine.

It lives in a temporary folder that is removed at its end, or in --data-dir: the mail of the start
is sent only when that is new. What was sent, or has failed, is kept for a day.")]
pub(super) struct DemoArgs {
    /// Where the proxy listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2525")]
    listen: SocketAddr,
    /// Where the web admin is [default: 127.0.0.1:8025, or a free port where somebody else has it]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// Share of recipients that the flaky upstream refuses, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.5, value_parser = rate)]
    refuse: f64,
    /// How often it sends a message of its own
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = interval)]
    mail_every: Duration,
    /// Send no mail of its own, at the start neither
    #[arg(long)]
    no_mail: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("longer than 0s; --no-mail sends none".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Lines about what happens, on their way to the terminal. Nobody waits for it.
#[derive(Clone)]
struct Lines(SyncSender<String>);

impl Lines {
    fn say(&self, line: String) {
        let _ = self.0.try_send(line);
    }
}

/// Runs until Ctrl-C.
pub(super) fn run(global: &Global, args: DemoArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::listen()?;
        // Gone with all that is in it when the demo ends, unless a folder was named.
        let temporary = tempfile::Builder::new().prefix("postroom-demo-").tempdir()?;
        let data_dir = global.data_dir.clone().unwrap_or_else(|| temporary.path().join("var"));
        let data_dir = std::path::absolute(data_dir)?;
        let (file, is_first_start) = prepare(&data_dir)?;
        let (lines, said) = sync_channel(LINES);
        let lines = Lines(lines);
        let flaky = sink("flaky", args.refuse, &lines).await?;
        let steady = sink("steady", 0.0, &lines).await?;
        // Bound and not listening: nobody else gets the port, and who connects is refused.
        let down = tokio::net::TcpSocket::new_v4()?;
        down.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let places = Places {
            data_dir: &data_dir,
            listen: args.listen,
            admin: args.admin.unwrap_or_else(free_admin_address),
            flaky: flaky.address(),
            steady: steady.address(),
            down: down.local_addr()?,
        };
        std::fs::write(&file, configuration(&places))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        let sources = Sources {
            file: Some(file.clone()),
            environment: std::env::var("RUST_LOG")
                .map(|level| ("RUST_LOG".to_owned(), level))
                .into_iter()
                .collect(),
            working_dir: temporary.path().to_owned(),
            overrides: Vec::new(),
            unwritten: None,
        };
        let loaded = config::load(&sources).map_err(Failure::Config)?;
        let (log, _end) = Log::start(&loaded.settings.log).context("the log cannot be started")?;
        let server = Server::start(loaded, sources, log).await.context("the demo cannot start")?;
        let listen = server.addresses().first().map_or(args.listen, |(_, address)| *address);
        let events = tokio::spawn(tell(server.queue().subscribe(), lines.clone()));
        say(&link(&server, args.admin.is_none() && places.admin != ADMIN));
        say(&introduction(listen, &file, &server.admin_url().unwrap_or_default()));
        // Only now, so that the link is the first line, also where mail of an earlier run left meanwhile.
        std::thread::spawn(move || said.iter().for_each(|line| say(&line)));
        let say = {
            let lines = lines.clone();
            Arc::new(move |line| lines.say(line))
        };
        let mailer = Mailer { listener: proxy(listen), queue: server.queue(), say };
        let mail = (!args.no_mail).then(|| tokio::spawn(mailer.run(is_first_start, args.mail_every)));
        let result = server.run(signals).await;
        mail.inspect(|mail| mail.abort());
        events.abort();
        flaky.stop().await;
        steady.stop().await;
        Ok(result?)
    })
}

/// Makes the folder where it is missing. Where the configuration is in it, and whether the demo never ran with it.
///
/// # Errors
/// It is the folder of a proxy that is no demo: its mail would go to the demo's upstreams, which throw it away.
fn prepare(data_dir: &Path) -> Result<(PathBuf, bool), Failure> {
    let shown = data_dir.display();
    unix::make_private_folder(data_dir).with_context(|| format!("data_dir {shown} cannot be made"))?;
    let file = data_dir.join(FILE);
    let is_first_start = !file.exists();
    if is_first_start && data_dir.join("queue.redb").exists() {
        return Err(anyhow!("data_dir {shown} has a queue that is no demo's; name another folder").into());
    }
    Ok((file, is_first_start))
}

async fn sink(name: &'static str, refuse: f64, lines: &Lines) -> std::io::Result<RunningSink> {
    let lines = lines.clone();
    let options = SinkOptions {
        refuse,
        refuse_to: vec!["full".to_owned()],
        reject_to: vec!["unknown".to_owned()],
        name: format!("{name}.localhost"),
        say: Arc::new(move |line| lines.say(format!("   [{name}] {line}"))),
        ..SinkOptions::default()
    };
    Sink::start(options).await
}

/// Where the web admin is; another port where somebody has this one, another demo say.
fn free_admin_address() -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if std::net::TcpListener::bind(ADMIN).is_ok() { ADMIN } else { any }
}

/// The first line. Without a password nobody may change the configuration; who has the link may.
fn link(server: &Server, is_taken: bool) -> String {
    let url = server.admin_url().unwrap_or_default();
    let taken = if is_taken { format!("; somebody else has port {}", ADMIN.port()) } else { String::new() };
    match server.login_token() {
        Some(token) => format!("Web admin: {url}/login?token={token}  (logs in once{taken})"),
        None => format!("Web admin: {url}{taken}"),
    }
}

fn introduction(listen: SocketAddr, file: &Path, url: &str) -> String {
    let file = file.display();
    // As it was called, so that the lines work as they stand.
    let postroom = std::env::args().next().unwrap_or_else(|| "postroom".to_owned());
    format!(
        "Without the link everybody on this machine may look at {url} and work on mail, but change no configuration.

The proxy listens on {listen}, its queue is on disk. Upstreams: `flaky` (high), which refuses now and then, `steady` (normal),
`backup` (low), which is down, `retired`, which is disabled. Sites: shop, and staging, whose mail goes to qa@shop.example instead.
Mail to unknown@ is refused for good, mail to full@ for now. Nothing leaves this machine.

Try, in another terminal:
  swaks --server {listen} --from orders@shop.example --to ann@example.com --h-Subject 'Your order'
  printf 'Subject: hi\\r\\n\\r\\nhello\\r\\n' | curl --silent smtp://{listen} --mail-from orders@shop.example --mail-rcpt ann@example.com --upload-file -
  {postroom} -c {file} events --follow
  {postroom} -c {file} queue list
  {postroom} -c {file} upstream list
  curl {url}/api/v1/messages
  curl --no-buffer {url}/api/v1/events/stream

What happens shows here; Ctrl-C ends it.
"
    )
}

/// Events as they happen.
async fn tell(mut events: Receiver<Arc<Event>>, lines: Lines) {
    loop {
        match events.recv().await {
            Ok(event) => lines.say(line(&event)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn line(event: &Event) -> String {
    let fact = &event.fact;
    let reply = fact.reply.as_deref().map(|reply| format!(" ({})", safe(reply, 120))).unwrap_or_default();
    let time = fact.time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
    format!("{time} {} {}{reply}", safe(&fact.code, 60), safe(&fact.message, 200))
}

/// A reader that has gone (`| head`) does not end the demo.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
