//! `postroom test`: does an upstream work, step by step. The running proxy tests; without one this process does.

use super::client::{Client, query_value};
use super::table::{coloured, safe};
use super::{Failure, Global, small_runtime};
use crate::admin::json::UpstreamJson;
use crate::admin::safe_json::to_json;
use crate::admin::test_line::{TestLine, TestQuery};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::config::settings::{Auth, Upstream};
use crate::deliver::oauth2::Tokens;
use crate::deliver::peer_cache::PeerCache;
use crate::deliver::session_steps::StepOutcome;
use crate::deliver::upstream_test::{TestResult, TestStep, test_upstream};
use crate::mail::Address;
use crate::policy::test_mail::test_mail;
use crate::unix;
use anyhow::{Context, anyhow};
use clap::Args;
use http_body_util::BodyExt;
use serde::Serialize;
use std::sync::Arc;

/// Characters of a detail that are shown.
const SHOWN: usize = 500;

/// `postroom test`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  postroom test primary                         connect, TLS, login
  postroom test primary --to me@example.com     and send a test message
  postroom test --all --json

Exit code 0: all of it worked. 1: something did not, and what to change is said.
Disabled upstreams are tested, too; nothing of a test counts for how they are used afterwards.
Modes hold: under redirect a message goes to report addresses and `allow` alone, under debug,
simulate and with sending off none leaves.")]
pub(super) struct TestArgs {
    /// The upstream's name
    #[arg(value_name = "UPSTREAM", required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Every upstream, one after the other
    #[arg(long)]
    all: bool,
    /// Send a test message to this address, too
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    /// Its sender, where the settings name none [default: `username` if it is an address, else postmaster@default_domain]
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    from: Option<Address>,
}

/// One upstream's test, as JSON.
#[derive(Serialize)]
struct UpstreamTested {
    upstream: String,
    ok: bool,
    /// All of it.
    ms: u64,
    steps: Vec<TestStep>,
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: &TestArgs) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    small_runtime()?.block_on(async {
        let tested = match Client::connect(&socket).await? {
            Some(client) => through_proxy(client, global, args).await?,
            None => alone(global, args).await?,
        };
        if global.json {
            say!("{}", to_json(&tested)?);
        }
        if tested.iter().all(|one| one.ok) { Ok(()) } else { Err(Failure::Silent(1)) }
    })
}

/// Those that are meant, of all that there are.
fn chosen(args: &TestArgs, all: Vec<String>) -> Result<Vec<String>, Failure> {
    match &args.name {
        Some(name) if all.contains(name) => Ok(vec![name.clone()]),
        Some(name) => {
            let known = if all.is_empty() { "there is none".to_owned() } else { all.join(", ") };
            Err(Failure::Usage(format!("there is no upstream `{name}` ({known})")))
        }
        None if all.is_empty() => Err(anyhow!("there is no upstream to test").into()),
        None => Ok(all),
    }
}

async fn through_proxy(
    mut client: Client,
    global: &Global,
    args: &TestArgs,
) -> Result<Vec<UpstreamTested>, Failure> {
    let all: Vec<UpstreamJson> = client.get("/api/v1/upstreams").await?;
    let all = all.into_iter().map(|upstream| upstream.name).collect();
    let text = |address: &Option<Address>| address.as_ref().map(ToString::to_string);
    let query = TestQuery { to: text(&args.to), from: text(&args.from) };
    let mut tested = Vec::new();
    for name in chosen(args, all)? {
        let path = format!("/api/v1/upstreams/{}/test", query_value(&name));
        let mut report = Report::begin(global, &name);
        let mut lines = client.lines(&path, &query).await?;
        let mut text = Vec::new();
        while let Some(frame) = lines.frame().await {
            let Ok(data) = frame.context("the proxy has ended")?.into_data() else { continue };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                match serde_json::from_slice(&line).context("the proxy's answer cannot be read")? {
                    TestLine::Step(step) => report.step(step),
                    TestLine::Result(result) => report.result = Some(result),
                }
            }
        }
        tested.push(report.end()?);
    }
    Ok(tested)
}

/// With no proxy running: by the configuration.
async fn alone(global: &Global, args: &TestArgs) -> Result<Vec<UpstreamTested>, Failure> {
    let settings = global.load()?.settings;
    let names = settings.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let tokens = Arc::new(Tokens::kept_in(&settings.data_dir, clock.clone()));
    let peer_cache = Arc::new(PeerCache::new(clock.clone(), tokens, None));
    let mut tested = Vec::new();
    for name in chosen(args, names)? {
        let Some(upstream) = settings.upstreams.iter().find(|upstream| upstream.name == name) else {
            continue;
        };
        may_keep_tokens(&settings, upstream)?;
        let mail = args.to.as_ref().map(|to| {
            let (settings, clock) = (&settings, &clock);
            || test_mail(settings, upstream, to, args.from.as_ref(), clock.wall())
        });
        let mail = mail.as_ref().map(|make| make as _);
        let mut report = Report::begin(global, &name);
        // Of a name of its own, so that it takes no other process's files for what is left of its own.
        let instance = format!("test{:016x}", fastrand::u64(..));
        let names = (settings.hostname.as_str(), instance.as_str());
        let result = test_upstream(upstream, names, &peer_cache, mail, |step| report.step(step)).await;
        report.result = Some(result);
        tested.push(report.end()?);
    }
    Ok(tested)
}

/// A refresh token may be replaced in the test: then it must be kept where the proxy will find it.
fn may_keep_tokens(settings: &Settings, upstream: &Upstream) -> Result<(), Failure> {
    let folder = &settings.data_dir;
    let keeps = matches!(&upstream.auth, Auth::OAuth2(oauth2) if oauth2.has_refresh_token());
    if !keeps || unix::is_our_own(folder) {
        return Ok(());
    }
    Err(anyhow!(
        "no proxy is running, and {} is no folder of this user's: the refresh token of {} may be replaced and could not be kept \
         there. Start the proxy, or run this as the user that it runs as",
        folder.display(),
        upstream.name
    )
    .into())
}

/// The test of one upstream on its way to standard output.
struct Report {
    name: String,
    json: bool,
    steps: Vec<TestStep>,
    result: Option<TestResult>,
}

impl Report {
    fn begin(global: &Global, name: &str) -> Report {
        let report = Report { name: name.to_owned(), json: global.json, steps: Vec::new(), result: None };
        report.say(name);
        report
    }

    fn say(&self, line: &str) {
        if !self.json {
            say!("{line}");
        }
    }

    fn step(&mut self, step: TestStep) {
        let detail = safe(&step.detail, SHOWN);
        let detail = match step.outcome {
            StepOutcome::Ok => detail,
            StepOutcome::Warning => format!("{}: {detail}", coloured("Warning")),
            StepOutcome::Failed => format!("{}: {detail}", coloured("Error")),
        };
        self.say(&format!("  {:<8} {:>6} ms  {detail}", step.step, step.ms));
        if let Some(remedy) = &step.remedy {
            self.say(&format!("           what to change: {}", safe(remedy, SHOWN)));
        }
        self.steps.push(step);
    }

    /// Fails where the answer was cut off.
    fn end(self) -> Result<UpstreamTested, Failure> {
        let result = self.result.as_ref().context("the proxy ended its answer before the test was done")?;
        let word = if result.ok { "works" } else { "does not work" };
        self.say(&format!("  {} {word} ({} ms)", self.name, result.ms));
        Ok(UpstreamTested { upstream: self.name, ok: result.ok, ms: result.ms, steps: self.steps })
    }
}
