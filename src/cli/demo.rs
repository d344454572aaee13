//! `postroom demo`: the whole thing on one machine in one command, with a flaky first upstream, so that failover can be
//! watched.

use super::sink::{RunningSink, Sink, SinkOptions, rate};
use super::table::safe;
use super::{Failure, Global};
use crate::config::{self, Sources};
use crate::event::Event;
use crate::log::Log;
use crate::server::Server;
use crate::unix::Signals;
use anyhow::Context;
use clap::Args;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Where the routes are served, unless somebody else has the port.
const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8025));

/// `postroom demo`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  postroom demo\n  swaks --server 127.0.0.1:2525 --from shop@example.com --to ann@example.com"
)]
pub(super) struct DemoArgs {
    /// Where the proxy listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2525")]
    listen: SocketAddr,
    /// Share of recipients that the flaky upstream refuses, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.5, value_parser = rate)]
    refuse: f64,
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
        let flaky = sink("flaky", args.refuse).await?;
        let steady = sink("steady", 0.0).await?;
        let file = temporary.path().join("postroom.toml");
        let admin = free_admin_address();
        std::fs::write(
            &file,
            configuration(&data_dir, args.listen, admin, flaky.address(), steady.address()),
        )?;
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
        say(&introduction(args.listen, &file, flaky.address(), steady.address()));
        say(&admin_introduction(&server, admin));
        say("What happens shows here; Ctrl-C ends it.\n");
        let events = tokio::spawn(tell(server.queue().subscribe()));
        let result = server.run(signals).await;
        events.abort();
        flaky.stop().await;
        steady.stop().await;
        Ok(result?)
    })
}

async fn sink(name: &'static str, refuse: f64) -> std::io::Result<RunningSink> {
    let options = SinkOptions {
        refuse,
        name: format!("{name}.localhost"),
        say: Arc::new(move |line| say(&format!("   [{name}] {line}"))),
        ..SinkOptions::default()
    };
    Sink::start(options).await
}

/// Where the routes are served; another port where somebody has this one, another demo say.
fn free_admin_address() -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if std::net::TcpListener::bind(ADMIN).is_ok() { ADMIN } else { any }
}

fn configuration(
    data_dir: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    flaky: SocketAddr,
    steady: SocketAddr,
) -> String {
    let mut document = toml_edit::DocumentMut::new();
    document["hostname"] = toml_edit::value("demo.localhost");
    document["data_dir"] = toml_edit::value(data_dir.to_string_lossy().into_owned());
    document["listener"]["local"]["address"] = toml_edit::value(listen.to_string());
    document["admin"]["listen"] = toml_edit::value(admin.to_string());
    document["log"]["level"] = toml_edit::value("error");
    document["log_emails"]["enabled"] = toml_edit::value(true);
    for (name, priority, address) in [("flaky", "high", flaky), ("steady", "normal", steady)] {
        document["upstream"][name]["host"] = toml_edit::value(address.to_string());
        document["upstream"][name]["priority"] = toml_edit::value(priority);
        document["upstream"][name]["tls"] = toml_edit::value("none");
    }
    document.to_string()
}

fn introduction(listen: SocketAddr, file: &Path, flaky: SocketAddr, steady: SocketAddr) -> String {
    let file = file.display();
    // As it was called, so that the lines work as they stand.
    let postroom = std::env::args().next().unwrap_or_else(|| "postroom".to_owned());
    format!(
        "Postroom demo: the proxy listens on {listen}, its queue is on disk.
Mail goes to `flaky` ({flaky}, priority high), which refuses now and then, else to `steady` ({steady}).

Try, in another terminal:
  swaks --server {listen} --from shop@example.com --to ann@example.com --h-Subject 'Your order'
  printf 'Subject: hi\\r\\n\\r\\nhello\\r\\n' | curl --silent smtp://{listen} --mail-from shop@example.com --mail-rcpt ann@example.com --upload-file -
  {postroom} -c {file} events --follow
  {postroom} -c {file} queue list
  {postroom} -c {file} upstream list
"
    )
}

fn admin_introduction(server: &Server, wanted: SocketAddr) -> String {
    let url = server.admin_url().unwrap_or_default();
    let taken = match wanted.port() {
        0 => format!(" (somebody else has port {})", ADMIN.port()),
        _ => String::new(),
    };
    // Without a password nobody may change the configuration; who has the link may.
    let link = server.login_token().map(|token| format!("Log in, once, by {url}/login?token={token}\n"));
    format!(
        "HTTP is on {url}{taken}, for everybody on this machine; to change the configuration takes a login.
{}  curl {url}/api/v1/messages
  curl --no-buffer {url}/api/v1/events/stream
",
        link.unwrap_or_default()
    )
}

/// Events as they happen.
async fn tell(mut events: Receiver<Arc<Event>>) {
    loop {
        match events.recv().await {
            Ok(event) => say(&line(&event)),
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
