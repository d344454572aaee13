//! What upstreams were asked about a message and said, for people.

use super::Failure;
use super::client::Client;
use super::table::{safe, time_with_offset, with_local_times};
use crate::admin::attempts::{AttemptJson, transcript_of};
use crate::mail::QueueId;
use crate::mail::printable::printable_lines;
use crate::queue::redb::ReadOnlyQueue;
use http_body_util::BodyExt;

/// The history of a message.
pub(super) struct History {
    pub(super) attempts: Vec<AttemptJson>,
    /// Where it was asked for.
    pub(super) transcript: Option<String>,
}

impl History {
    /// Of the running proxy.
    pub(super) async fn ask(client: &mut Client, id: QueueId, transcript: bool) -> Result<History, Failure> {
        let attempts = client.get(&format!("/api/v1/messages/{id}/attempts")).await?;
        let mut text = None;
        if transcript {
            let body = client.open(&format!("/api/v1/messages/{id}/transcript")).await?;
            text = Some(String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned());
        }
        Ok(History { attempts, transcript: text })
    }

    /// Of a queue whose proxy does not run.
    pub(super) fn read(queue: &ReadOnlyQueue, id: QueueId, transcript: bool) -> Result<History, Failure> {
        let records = queue.attempts(id)?;
        let attempts = records.iter().map(AttemptJson::from).collect();
        Ok(History { attempts, transcript: transcript.then(|| transcript_of(&records)) })
    }

    /// Prints it.
    pub(super) fn print(&self) {
        if !self.attempts.is_empty() {
            say!("\nUpstreams asked");
        }
        for attempt in &self.attempts {
            let at = time_with_offset(attempt.at);
            say!("  {at}  {} ({})", attempt.upstream, safe(&attempt.why, 400));
            if let Some(error) = &attempt.session_error {
                say!("    {}", safe(error, 1000));
            }
            for answer in &attempt.answers {
                let stage = answer.stage.as_deref().map(|stage| format!("{stage}: ")).unwrap_or_default();
                say!("    {}  {stage}{}", safe(&answer.recipient, 400), safe(&answer.text, 1000));
            }
            if attempt.unnamed > 0 {
                say!("    and {} more recipients", attempt.unnamed);
            }
            let times = attempt.times;
            say!(
                "    connect {} ms, MAIL {}, RCPT {}, DATA {}, final dot {}",
                times.connect_ms,
                times.mail_ms,
                times.rcpt_ms,
                times.data_ms,
                times.final_ms
            );
            if let Some(tls) = &attempt.tls {
                say!("    {}", safe(&tls.to_string(), 400));
            }
        }
        if let Some(transcript) = &self.transcript {
            match transcript.is_empty() {
                true => say!("\nNo dialogue is kept."),
                false => say!("\n{}", with_local_headings(&printable_lines(transcript)).trim_end()),
            }
        }
    }
}

/// Each dialogue stands under a line of ours with its time.
fn with_local_headings(transcript: &str) -> String {
    let localized = |line: &str| match line.starts_with("-- ") {
        true => with_local_times(line) + "\n",
        false => line.to_owned() + "\n",
    };
    transcript.lines().map(localized).collect()
}
