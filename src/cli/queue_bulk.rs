//! `postroom queue retry|hold|release|delete`: by ids, by a filter or all.
//!
//! What cannot be taken back is counted and asked about first: deleting by a filter or all, and releasing what a mode holds. The
//! proxy does the rest in one request and tells how far it is.

use super::client::Client;
use super::confirm::{confirm, messages};
use super::queue::parse;
use super::{Failure, Global, expression};
use crate::admin::bulk_line::BulkLine;
use crate::admin::json::{BulkJson, MessageJson};
use crate::admin::problem::was_sent;
use crate::admin::query::{BulkQuery, CountedQuery};
use crate::admin::safe_json::to_json;
use crate::queue::Filter;
use anyhow::{Context, anyhow};
use clap::{ArgGroup, Args};
use http_body_util::BodyExt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const BULK: &str = "/api/v1/messages/bulk";
/// How long an action takes before it shows how far it is, and how often it does.
const QUIET: Duration = Duration::from_millis(500);
const EVERY: Duration = Duration::from_millis(100);
/// Unknown ids of which it is said what became of them.
const EXPLAINED: usize = 20;
const EXIT_FAILED: u8 = 1;

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
    if filter.as_ref().is_some_and(Filter::is_all) {
        return Err(Failure::Usage("the filter is empty; use --all for all messages".into()));
    }
    let by_ids = !which.ids.is_empty();
    let only_one = which.ids.first().filter(|_| which.ids.len() == 1).cloned();
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
        let found: BulkJson = while_counting(client.post(BULK, &counting)).await?;
        if let Some(question) = question(action, &found) {
            confirm(&question)?;
            request.confirm = true;
        }
        // What was counted is what is meant.
        let counted = CountedQuery { matching: found.matching, held_by_mode: found.held_by_mode };
        request.counted = (action == "delete" || request.confirm).then_some(counted);
        (request.until, request.now) = (found.until, found.now);
        expected = Some(found.matching);
    }
    let done = carry_out(&mut client, action, &request, expected).await?;
    if global.json {
        say!("{}", to_json(&done)?);
    } else {
        say!("{}", summary(action, &done));
        if let Some(id) = only_one.filter(|_| done.unchanged == 1) {
            say_why(&mut client, action, &id).await;
        }
    }
    if let Some(filter) = filter.filter(|_| done.matching == 0) {
        expression::warn_of_unknown_names(global, &filter);
    }
    for id in done.not_found.iter().take(EXPLAINED) {
        eprintln!("postroom: {}", where_it_is(&mut client, id).await);
    }
    match done.not_found.len() {
        0 => Ok(()),
        1..=EXPLAINED => Err(Failure::Silent(EXIT_FAILED)),
        _ => Err(anyhow!("not in the queue: {}", done.not_found.join(", ")).into()),
    }
}

/// Waits for a count, and says so on a terminal where that lasts.
async fn while_counting<T>(count: impl Future<Output = T>) -> T {
    tokio::pin!(count);
    if !io::stderr().is_terminal() {
        return count.await;
    }
    tokio::select! {
        counted = &mut count => return counted,
        () = tokio::time::sleep(QUIET) => eprint!("\rcounting … \x1b[K"),
    }
    let counted = count.await;
    eprint!("\r\x1b[K");
    counted
}

/// Why there was nothing to do about a message.
async fn say_why(client: &mut Client, action: &str, id: &str) {
    let Ok(message) = client.get::<MessageJson>(&format!("/api/v1/messages/{id}")).await else { return };
    match (action, message.state.as_str()) {
        ("retry", "held") => say!("{id} is held: release it first (postroom queue release {id})"),
        ("retry", _) => say!("{id} has no recipient that could be tried again"),
        ("hold", "held") => say!("{id} is held already"),
        ("hold", state) => {
            say!("{id} is {state}: no recipient is open any more (retry opens those that failed)")
        }
        ("release", state) => say!("{id} is not held: it is {state}"),
        _ => {}
    }
}

/// Of a message that is not in the queue.
async fn where_it_is(client: &mut Client, id: &str) -> String {
    match client.get::<MessageJson>(&format!("/api/v1/messages/{id}")).await {
        Ok(MessageJson { sent_at: Some(sent_at), .. }) => {
            format!("{id} is not in the queue: {}", was_sent(id, sent_at))
        }
        Err(Failure::Failed(error)) => error.to_string(),
        _ => format!("{id} is not in the queue"),
    }
}

/// What is asked before it is done; none where there is nothing to ask about.
fn question(action: &str, found: &BulkJson) -> Option<String> {
    match (action, found) {
        ("delete", BulkJson { matching: 1.., .. }) => {
            Some(format!("Delete {} for good?", messages(found.matching)))
        }
        ("release", BulkJson { held_by_mode: held @ 1.., matching, .. }) => Some(format!(
            "Release {}? {} held because a mode has ended, nobody is there to report to or the site is gone, whether or not an \
             operator holds them, too: released, they may go to the people they are addressed to.",
            messages(*matching),
            if held == matching { "All of them are".to_owned() } else { format!("{held} of them are") },
        )),
        _ => None,
    }
}

fn summary(action: &str, done: &BulkJson) -> String {
    let mut text = format!("{action}: {} changed, {} had nothing to do", done.changed, done.unchanged);
    if action == "retry" && done.unchanged > 1 {
        text += " (what is held has to be released first)";
    }
    if done.under_way > 0 {
        let verb = if done.under_way == 1 { "is" } else { "are" };
        text += &format!(
            "; {} of the changed {verb} being sent at this moment and may leave all the same",
            done.under_way
        );
    }
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
    let (mut text, mut last, mut result) = (Vec::new(), BulkJson::default(), None);
    // Read to its end, so that the connection can be used again.
    while let Some(frame) = lines.frame().await {
        let data = match frame {
            Err(_) if result.is_some() => break,
            frame => frame.with_context(|| ended(&last))?.into_data(),
        };
        text.extend_from_slice(&data.unwrap_or_default());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line).context("the proxy's answer cannot be read")? {
                BulkLine::Progress(so_far) => {
                    progress.show(&so_far);
                    last = so_far;
                }
                BulkLine::Problem(problem) => return Err(anyhow!("{}", problem.detail).into()),
                BulkLine::Result(done) => result = Some(done),
            }
        }
    }
    Ok(result.with_context(|| ended(&last))?)
}

/// Of an answer without its end.
fn ended(last: &BulkJson) -> String {
    let changed = messages(last.changed);
    format!(
        "the proxy has ended; {changed} were changed as far as it told, and stay so: there may be some more"
    )
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
