//! `postroom sendmail`: what programs call to send mail, also by the names `sendmail`, `mailq` and `newaliases`.
//!
//! It reads no configuration, so that any user may run it: the proxy is `$POSTROOM_SENDMAIL` or 127.0.0.1:25. The message is
//! read to its end before anything is sent.
//!
//! # Exit codes
//! Those of sysexits.h, so that no caller takes one for another:
//! - 0: accepted for every recipient; the proxy has it on disk.
//! - 75: accepted for nobody; the same again, later, may work. Also where the reply to the whole message was lost, because
//!   then a duplicate is better than a loss.
//! - 67: accepted for some and not for others, or for nobody because the server knows none of them. To send the same again would
//!   be wrong: the text on standard error says who is who.
//! - 64, 65, 69, 71, 74: accepted for nobody, and the same again will not work.

mod exit;
mod message;
mod options;
mod outcome;
mod session;

use super::queue;
use super::submission::submit;
use super::{Failure, Global};
use crate::config;
use crate::config::settings::Upstream;
use crate::deliver::envelope::{OutboundEnvelope, OutboundRecipient};
use crate::deliver::outgoing::Outgoing;
use crate::mail::{Address, BodyType, RecipientDsn, printable};
use clap::Args;
use exit::{CONFIG, Failed, NOPERM, OSERR, TEMPFAIL, UNAVAILABLE, USAGE};
use message::SendmailMessage;
use options::{SendmailMode, SendmailOptions};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Where the proxy is; `host:port`.
const VARIABLE: &str = "POSTROOM_SENDMAIL";

/// Where it is without that.
const DEFAULT_SERVER: &str = "127.0.0.1:25";

/// `postroom sendmail`, as clap describes it; [`SendmailOptions`] reads the arguments.
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true, after_help = HELP)]
pub(super) struct SendmailArgs {
    /// Options of sendmail, and recipients
    #[arg(value_name = "OPTION|RECIPIENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) arguments: Vec<OsString>,
}

const HELP: &str = "Options, with values attached or apart:
  -t            Recipients are those of To, Cc and Bcc, besides those named as
                arguments; or those of Resent-To, Resent-Cc and Resent-Bcc where
                there are such fields. Bcc is removed
  -i, -oi       A line with a single dot does not end the message
  -f, -r ADDR   Reverse-path; `<>` or an empty one for none
                [default: login name]
  -F NAME       Full name, for a message without From
  -N WHEN       When to be notified: never, or some of success,failure,delay
  -R full|hdrs  What of the message comes back with a notification
  -V ID         Envelope id
  -v            Say what the server answered
  -bm           Send the message on standard input; the default
  -bs           SMTP on standard input and output
  -bp, mailq    List the queue
  -bi, -I, newaliases
                Nothing: aliases stand in [aliases] of the configuration
  -q...         Nothing: the proxy tries again by itself
  --            What follows is a recipient
Ignored: -A -B -C -D -G -L -O -U -X -c -d -e -h -m -n -o... -p -s -x

The proxy is $POSTROOM_SENDMAIL (host:port), else 127.0.0.1:25; no configuration
is read. An address without a domain is completed by the proxy, which also knows
the [aliases].

Exit codes, of sysexits.h:
  0   accepted for every recipient
  64  wrong usage, no recipient
  65  an address that is none, or that the server cannot take
  67  not accepted for some: standard error says who has it and who has not; do
      not send it to those again
  69  refused for good
  71  no login name
  74  standard input cannot be read
  75  accepted for nobody, nobody there: send it again later
  77, 78  mailq: not permitted, configuration

Examples:
  printf 'To: ann@example.com\\nSubject: hi\\n\\nhello\\n' | postroom sendmail -t -i
  postroom sendmail -i -f shop@example.com -- ann@example.com < message.eml
  # what PHP, cron and mail call:
  ln -s /usr/local/bin/postroom /usr/sbin/sendmail";

/// The arguments, where the program was called as sendmail: by a name of its, or with `sendmail` as the first argument.
pub(super) fn called(mut words: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = words.next()?;
    match Path::new(&program).file_name()?.to_str()? {
        "sendmail" => Some(words.collect()),
        "mailq" => Some(["-bp".into()].into_iter().chain(words).collect()),
        "newaliases" => Some(["-bi".into()].into_iter().chain(words).collect()),
        _ if words.next()? == "sendmail" => Some(words.collect()),
        _ => None,
    }
}

/// Does what the arguments say; `global` is for `mailq` alone.
pub(super) fn run(global: &Global, arguments: Vec<OsString>) -> ExitCode {
    let done = SendmailOptions::parse(arguments).map_err(|why| Failed(USAGE, why)).and_then(|options| {
        options.warnings.iter().for_each(|warning| complain(warning));
        act(global, &options)
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failed(code, why)) => {
            complain(&why);
            if code == USAGE {
                complain("see `postroom sendmail --help`");
            }
            ExitCode::from(code)
        }
    }
}

fn act(global: &Global, options: &SendmailOptions) -> Result<u8, Failed> {
    match options.mode {
        SendmailMode::Deliver => deliver(options),
        SendmailMode::Session => session::run(&server()?),
        SendmailMode::Mailq => mailq(global),
        SendmailMode::NewAliases => {
            Ok(nothing(options, "aliases stand in [aliases] of the proxy's configuration"))
        }
        SendmailMode::Flush => {
            Ok(nothing(options, "the proxy tries again by itself; `postroom queue retry` does so now"))
        }
        SendmailMode::Help => {
            let mut command = super::command();
            // Global options are those of the other verbs.
            let help = command.find_subcommand_mut("sendmail").map(|verb| verb.render_help().to_string());
            show(&help.unwrap_or_default());
            Ok(0)
        }
    }
}

fn nothing(options: &SendmailOptions, why: &str) -> u8 {
    if options.verbose {
        show(why);
    }
    0
}

fn deliver(options: &SendmailOptions) -> Result<u8, Failed> {
    let server = Arc::new(server()?);
    let SendmailMessage { reverse_path, recipients, unusable, prefix, content } =
        SendmailMessage::read(options, std::io::stdin().lock())?;
    let is_ascii = prefix.is_ascii() && content.is_ascii();
    let mut content = Outgoing::memory(prefix, content, options.from_header);
    let dsn = RecipientDsn::notify(options.notify);
    let recipient = |address: &Address| OutboundRecipient { address: address.clone(), dsn: dsn.clone() };
    let envelope = OutboundEnvelope {
        reverse_path,
        recipients: recipients.iter().map(recipient).collect(),
        body: if is_ascii { BodyType::SevenBit } else { BodyType::EightBitMime },
        // Said where an address needs it.
        smtp_utf8: false,
        size: content.size(),
        dsn: options.dsn.clone(),
    };
    let runtime =
        super::small_runtime().map_err(|_| Failed(OSERR, "no runtime can be started".to_owned()))?;
    let submission = runtime
        .block_on(submit(&server, &hostname(), &envelope, &mut content))
        .map_err(|error| Failed(TEMPFAIL, format!("{}; nothing was sent, try again later", error.text)))?;
    let outcome = outcome::of(&recipients, &submission, &unusable);
    outcome.complaints.iter().for_each(|line| complain(line));
    if options.verbose {
        outcome.accepted.iter().for_each(|line| show(line));
    }
    Ok(outcome.code)
}

/// Where the proxy is.
fn server() -> Result<Upstream, Failed> {
    let text = std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
    let text = text.map_or_else(|| DEFAULT_SERVER.to_owned(), |text| text.to_string_lossy().into_owned());
    config::proxy_server(&text).map_err(|why| Failed(USAGE, format!("${VARIABLE}: {why}")))
}

/// For EHLO. Nothing is looked up: mail must not wait for a resolver.
fn hostname() -> String {
    let name = gethostname::gethostname().into_string().unwrap_or_default();
    if config::is_host_name(&name) { name } else { "localhost".to_owned() }
}

/// The queue is the owner's alone, and so is the configuration that says where it is.
fn mailq(global: &Global) -> Result<u8, Failed> {
    queue::list_all(global).map(|()| 0).map_err(|failure| match failure {
        Failure::Silent(code) => Failed(code, String::new()),
        Failure::Usage(why) => Failed(USAGE, why),
        Failure::Config(errors) => Failed(CONFIG, errors.to_string()),
        Failure::Failed(error) => {
            let denied = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
            let denied =
                denied.map(std::io::Error::kind).any(|kind| kind == std::io::ErrorKind::PermissionDenied);
            let looked = match global.load() {
                Ok(loaded) if loaded.file.is_none() => {
                    "; no configuration file was found ($POSTROOM_CONFIG, ./postroom.toml, /etc/postroom/postroom.toml)"
                }
                _ => "",
            };
            let why = format!("the queue cannot be shown: {error:#}{looked}");
            Failed(if denied { NOPERM } else { UNAVAILABLE }, why)
        }
    })
}

/// Lines on standard error. A caller that closed it still gets its exit code.
fn complain(text: &str) {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr(), "sendmail: {}", printable(line));
    }
}

fn show(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_it_is_called_by() {
        let called =
            |line: &str| called(line.split(' ').map(OsString::from)).map(|words| words.join(" ".as_ref()));
        let words = |text: &str| Some(OsString::from(text));
        assert_eq!(called("/usr/sbin/sendmail -t"), words("-t"));
        assert_eq!(called("mailq -v"), words("-bp -v"));
        assert_eq!(called("/usr/bin/newaliases"), words("-bi"));
        assert_eq!(called("postroom sendmail -t sendmail"), words("-t sendmail"));
        for other in ["postroom send sendmail", "postroom", "/sendmail/postroom queue", "sendmail2 -t"] {
            assert_eq!(called(other), None, "{other}");
        }
    }
}
