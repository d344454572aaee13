//! `postroom queue retry|hold|release|delete`: by ids, by a filter or all.
//!
//! What cannot be taken back is counted and asked about first: deleting by a filter or all, and releasing what a mode holds. The
//! proxy does the rest in one request and tells how far it is.

use super::client::Client;
use super::queue::parse;
use super::{Failure, Global, expression};
use crate::admin::bulk_line::BulkLine;
use crate::admin::json::BulkJson;
use crate::admin::query::BulkQuery;
use crate::admin::safe_json::to_json;
use anyhow::{Context, anyhow};
use clap::{ArgGroup, Args};
use http_body_util::BodyExt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const BULK: &str = "/api/v1/messages/bulk";
/// How long an action takes before it shows how far it is, and how often it does.
const QUIET: Duration = Duration::from_millis(500);
const EVERY: Duration = Duration::from_millis(100);

/// Which messages are meant.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "all", "filter"]))]
pub(super) struct Which {
    /// Queue ids
    ids: Vec<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// All that the filter means (see below)
    #[arg(short = 'q', long, value_name = "EXPR", allow_hyphen_values = true)]
    filter: Option<String>,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
}

/// Runs the verb.
pub(super) async fn act(global: &Global, socket: &Path, action: &str, which: Which) -> Result<(), Failure> {
    which.ids.iter().try_for_each(|id| parse(id).map(drop))?;
    let filter = which.filter.as_deref().map(expression::parse).transpose()?;
    if filter.is_some_and(|filter| filter.is_all()) {
        return Err(Failure::Usage("the filter is empty; use --all for all messages".into()));
    }
    let by_ids = !which.ids.is_empty();
    let mut request = BulkQuery {
        action: action.to_owned(),
        ids: which.ids,
        all: which.all,
        filter: which.filter,
        confirm: which.yes,
        ..BulkQuery::default()
    };
    let mut client = Client::must_connect(socket).await?;
    let mut expected = None;
    if !which.yes && (action == "release" || action == "delete" && !by_ids) {
        let counting = BulkQuery { dry_run: true, ..request.clone() };
        let found: BulkJson = client.post(BULK, &counting).await?;
        if let Some(question) = question(action, &found) {
            confirm(&question)?;
            request.confirm = true;
        }
        // What was counted is what is meant.
        request.until = found.until;
        expected = Some(found.matching);
    }
    let done = carry_out(&mut client, action, &request, expected).await?;
    if global.json {
        say!("{}", to_json(&done)?);
    } else {
        say!("{}", summary(action, &done));
    }
    match done.not_found.is_empty() {
        true => Ok(()),
        false => Err(anyhow!("no such message: {}", done.not_found.join(", ")).into()),
    }
}

/// What is asked before it is done; none where there is nothing to ask about.
fn question(action: &str, found: &BulkJson) -> Option<String> {
    let messages = |count: u64| if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
    match (action, found) {
        ("delete", BulkJson { matching: 1.., .. }) => {
            Some(format!("Delete {} for good?", messages(found.matching)))
        }
        ("release", BulkJson { held_by_mode: held @ 1.., matching, .. }) => Some(format!(
            "Release {}? {} held not by an operator but because a mode has ended, nobody is there to report to or the site is \
             gone: released, they may go to the people they are addressed to.",
            messages(*matching),
            if held == matching { "All of them are".to_owned() } else { format!("{held} of them are") },
        )),
        _ => None,
    }
}

/// Asks on the terminal. Fails where there is none, and where the answer is not yes.
fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let what =
            format!("{question}\n\nThere is no terminal to ask on: --yes says yes. Nothing was changed.");
        return Err(Failure::Usage(what));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(anyhow!("nothing was changed").into()),
    }
}

fn summary(action: &str, done: &BulkJson) -> String {
    let mut text = format!("{action}: {} changed, {} had nothing to do", done.changed, done.unchanged);
    if done.held_by_mode > 0 {
        text +=
            &format!(", {} have come to be held by a mode meanwhile and were left alone", done.held_by_mode);
    }
    text
}

async fn carry_out(
    client: &mut Client,
    action: &str,
    request: &BulkQuery,
    expected: Option<u64>,
) -> Result<BulkJson, Failure> {
    let mut lines = client.lines(BULK, request).await?;
    let mut progress = BulkProgress::new(action, expected);
    let mut text = Vec::new();
    while let Some(frame) = lines.frame().await {
        let cut = "the proxy has ended; what was done until then stays done";
        let Ok(data) = frame.context(cut)?.into_data() else { continue };
        text.extend_from_slice(&data);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line).context("the proxy's answer cannot be read")? {
                BulkLine::Progress(so_far) => progress.show(&so_far),
                BulkLine::Problem(problem) => return Err(anyhow!("{}", problem.detail).into()),
                BulkLine::Result(done) => return Ok(done),
            }
        }
    }
    Err(anyhow!("the proxy ended its answer before the action was done").into())
}

/// How far it is, on a terminal.
struct BulkProgress<'a> {
    action: &'a str,
    expected: Option<u64>,
    next: Option<Instant>,
    shown: bool,
}

impl BulkProgress<'_> {
    fn new(action: &str, expected: Option<u64>) -> BulkProgress<'_> {
        let next = io::stderr().is_terminal().then(|| Instant::now() + QUIET);
        BulkProgress { action, expected, next, shown: false }
    }

    fn show(&mut self, so_far: &BulkJson) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let of = self.expected.map(|all| format!(" of {all}")).unwrap_or_default();
        eprint!("\r{}: {}{of} \x1b[K", self.action, so_far.matching);
        self.shown = true;
        self.next = Some(now + EVERY);
    }
}

impl Drop for BulkProgress<'_> {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}
