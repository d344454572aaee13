//! `postroom send`: a message file goes through the proxy, as an application would send it.

use super::content::{self, End};
use super::submission::{proxy, submit};
use super::{Failure, Global, small_runtime};
use crate::admin::safe_json::to_json;
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::deliver::envelope::{OutboundEnvelope, OutboundRecipient};
use crate::deliver::outgoing::Outgoing;
use crate::deliver::transaction_result::RecipientAnswer;
use crate::mail::{Address, BodyType, DsnRequest, ReversePath, printable};
use anyhow::{Context, anyhow};
use clap::Args;
use std::io::BufReader;
use std::net::SocketAddr;
use std::sync::Arc;

/// `postroom send`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  postroom send --from shop@example.com --to ann@example.com order.eml
  printf 'Subject: hi\\n\\nhello\\n' | postroom send --from a@example.com --to b@example.com -")]
pub(super) struct SendArgs {
    /// Reverse-path; `<>` for none
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// Recipient; may be given several times
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    /// Where the proxy listens [default: the first listener of the configuration]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<SocketAddr>,
    /// A file with header and body, or `-` for standard input
    file: String,
}

/// Runs the verb: one line per recipient; 1 where one was refused.
pub(super) fn run(global: &Global, args: &SendArgs) -> Result<(), Failure> {
    let settings = global.load()?.settings;
    let reverse_path = match args.from.as_str() {
        "<>" | "" => ReversePath::Null,
        text => ReversePath::Address(address(text)?),
    };
    let recipients = args.to.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    let content = read(&args.file)?;
    let addresses = recipients.iter().chain(reverse_path.address());
    let envelope = OutboundEnvelope {
        body: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
        smtp_utf8: addresses.into_iter().any(|address| !address.is_ascii()),
        size: content.len() as u64,
        recipients: recipients.into_iter().map(OutboundRecipient::from).collect(),
        reverse_path,
        dsn: DsnRequest::default(),
    };
    let server = args.server.or_else(|| Some(settings.listeners.first()?.address));
    let server = proxy(server.ok_or_else(|| anyhow!("there is no listener to send to"))?);
    small_runtime()?.block_on(send(global, &settings, &server, &envelope, content))
}

async fn send(
    global: &Global,
    settings: &Settings,
    server: &Arc<Upstream>,
    envelope: &OutboundEnvelope,
    content: Vec<u8>,
) -> Result<(), Failure> {
    let unreachable = || format!("{}:{} cannot be used", server.host, server.port);
    let mut content = Outgoing::memory("", content, false);
    let submission =
        submit(server, &settings.hostname, envelope, &mut content).await.with_context(unreachable)?;
    if let Some(error) = &submission.lost
        && submission.answers.iter().all(|answer| matches!(answer, RecipientAnswer::Undecided))
    {
        return Err(anyhow!("{}", error.text).into());
    }
    let mut refused = 0;
    let mut lines = Vec::new();
    for (OutboundRecipient { address, .. }, answer) in envelope.recipients.iter().zip(&submission.answers) {
        let accepted = matches!(answer, RecipientAnswer::Accepted(_));
        refused += usize::from(!accepted);
        let reply = answer.describe();
        if global.json {
            lines.push(
                serde_json::json!({ "address": address.as_str(), "accepted": accepted, "reply": reply }),
            );
        } else {
            say!("{}", printable(&format!("{address}: {reply}")));
        }
    }
    if global.json {
        say!("{}", to_json(&lines)?);
    }
    if refused > 0 { Err(Failure::Silent(1)) } else { Ok(()) }
}

fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| Failure::Usage(format!("`{text}` is no address: {error}")))
}

fn read(file: &str) -> Result<Vec<u8>, Failure> {
    if file == "-" {
        return Ok(content::read(std::io::stdin().lock(), End::Input)?);
    }
    let unreadable = || format!("{file} cannot be read");
    let input = BufReader::new(std::fs::File::open(file).with_context(unreadable)?);
    Ok(content::read(input, End::Input).with_context(unreadable)?)
}
