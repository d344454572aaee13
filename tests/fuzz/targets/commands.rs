//! Command lines, and the dialogue that they make, against a plain model of what RFC 5321 says of their order.
//!
//! An input: flags, then lines. Flags: 1 not allowed to relay, 2 few recipients and little patience, 4 content is refused,
//! 8 AUTH is offered, and needed where the client is not allowed to relay.

use super::Tape;
use postroom::config::Settings;
use postroom::config::settings::{
    BareNewline, BounceTo, InboundAuth, Limits, Listener, LogSettings, QueueSettings, TlsMode,
};
use postroom::mail::address::parse_path;
use postroom::mail::{Address, BodyType, RecipientDsn};
use postroom::smtp::command::{Command, CommandError, MailCommand, RcptCommand, parse};
use postroom::smtp::dialogue::{Dialogue, SessionAction};
use postroom::smtp::reply::ReplyToClient;
use postroom::smtp::{AuthResult, SessionContext};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const HOST: &str = "mx.test";

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let settings = if flags & 2 == 0 { &GENEROUS } else { &STRICT };
    let listener = Listener {
        allow: if flags & 1 == 0 { vec!["0.0.0.0/0".parse().unwrap()] } else { Vec::new() },
        auth: if flags & 8 == 0 { InboundAuth::None } else { InboundAuth::Optional },
        danger_allow_plaintext_auth: true,
        ..settings.listeners[0].clone()
    };
    let context = SessionContext::new(Arc::clone(settings), Arc::new(listener), [192, 0, 2, 1].into());
    let mut dialogue = Dialogue::new(context);
    let mut model = Model {
        may_relay: flags & 1 == 0,
        auth: flags & 8 != 0,
        authenticated: false,
        failed_logins: 0,
        limits: settings.limits.clone(),
        greeted: false,
        transaction: None,
        errors: 0,
    };
    for line in tape.0.split_inclusive(|byte| *byte == b'\n') {
        let command = parse(line, HOST);
        line_alone(line, &command);
        let in_exchange = dialogue.is_in_exchange();
        if in_exchange || matches!(command, Ok(Command::Auth(_))) {
            if model.auth(&mut dialogue, line, in_exchange) {
                return;
            }
            continue;
        }
        let expected = model.step(&command);
        let step = dialogue.execute_line(line, Duration::ZERO, |_| Ok(()));
        assert_eq!(Kind::of(&step), expected, "{line:?} after which {step:?}");
        let addresses = |all: &[RcptCommand]| all.iter().map(|rcpt| rcpt.address.clone()).collect();
        let recipients = dialogue.envelope().map(|envelope| addresses(&envelope.recipients));
        assert_eq!(recipients, model.recipients());
        match step {
            SessionAction::ReceiveData | SessionAction::ReceiveChunk { last: true, .. } => {
                dialogue.end_transaction(flags & 4 == 0);
                model.end(flags & 4 == 0);
            }
            SessionAction::ReplyAndClose(reply) => return is_well_said(&reply),
            SessionAction::Reply(reply) | SessionAction::SkipChunk { reply, .. } => is_well_said(&reply),
            SessionAction::ReceiveChunk { .. } => {}
            SessionAction::StartTls | SessionAction::CheckPassword(_) | SessionAction::AskUpstream(_) => {
                panic!("{step:?} of {line:?}")
            }
        }
    }
}

/// What holds for a line whatever came before it.
fn line_alone(line: &[u8], command: &Result<Command, CommandError>) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    for end in [&b"\r\n"[..], b"\n"].into_iter().take(if text.ends_with(b"\r") { 1 } else { 2 }) {
        assert_eq!(&parse(&[text, end].concat(), HOST), command, "its end changes nothing");
    }
    assert_eq!(chunk_size(text), chunk_of(command), "{text:?}");
    match command {
        Ok(Command::Mail(mail)) => {
            if let Some(address) = mail.reverse_path.address() {
                is_kept(address, text);
                assert!(mail.parameters.smtp_utf8 || address.is_ascii());
            }
            parameters(mail, text);
        }
        Ok(Command::Rcpt(RcptCommand { address, dsn, .. })) => {
            is_kept(address, text);
            let said = dsn.parameters();
            let again = parse(format!("RCPT TO:<{address}>{said}\r\n").as_bytes(), HOST);
            assert!(said.is_ascii() && said.matches(' ').count() <= 2, "{said:?}");
            assert_eq!(again, *command, "what is passed on is understood alike");
        }
        Ok(Command::Ehlo(name) | Command::Helo(name)) => {
            assert!(!name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control), "{name:?}");
        }
        Ok(_) => {}
        Err(CommandError::Refused(reply) | CommandError::Fatal(reply)) => {
            assert!((500..600).contains(&reply.code), "{reply:?}");
            is_well_said(reply);
        }
    }
}

/// Sent on as we received it, an address is the same one recipient, and nothing else stands on the line.
fn is_kept(address: &Address, text: &[u8]) {
    let written = address.as_str();
    let stands_in = |part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
    let completed = written.strip_suffix(HOST).and_then(|local| local.strip_suffix('@'));
    assert!(stands_in(written) || completed.is_some_and(stands_in), "{written:?} of {text:?}");
    assert!(written.len() <= 254 && !written.chars().any(char::is_control));
    assert_eq!(
        parse(format!("RCPT TO:<{written}>\r\n").as_bytes(), "other.test"),
        Ok(Command::Rcpt(RcptCommand {
            address: address.clone(),
            dsn: RecipientDsn::default(),
            before_alias: None
        }))
    );
    let again = format!("<{written}> SIZE=1");
    let (path, rest) = parse_path(again.as_bytes(), "other.test").unwrap();
    assert_eq!((path.as_str(), rest), (written, &b" SIZE=1"[..]));
}

/// The parameters of MAIL, word by word.
fn parameters(mail: &MailCommand, text: &[u8]) {
    let colon = text.iter().position(|byte| *byte == b':').unwrap();
    let (_, rest) = parse_path(&text[colon + 1..], HOST).unwrap();
    let words: Vec<String> = rest
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).to_ascii_uppercase())
        .collect();
    let sizes: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("SIZE=")).collect();
    let said = |word: &str| words.iter().any(|one| one == word);
    // Too long for a number means huge, not small.
    let sound = |size: &&str| {
        size.parse().unwrap_or(u64::MAX) == mail.parameters.size || mail.parameters.size == u64::MAX
    };
    assert!(
        if sizes.is_empty() { mail.parameters.size == 0 } else { sizes.iter().any(sound) },
        "{words:?} {mail:?}"
    );
    if mail.parameters.size != u64::MAX {
        assert_eq!(mail.parameters.smtp_utf8, said("SMTPUTF8"), "{words:?}");
        assert!(mail.parameters.body == BodyType::SevenBit || said("BODY=8BITMIME"), "{words:?}");
    }
    for word in words {
        let known = ["SIZE=", "BODY=7BIT", "BODY=8BITMIME", "SMTPUTF8", "AUTH=", "RET=", "ENVID="];
        assert!(
            mail.parameters.size == u64::MAX || known.iter().any(|known| word.starts_with(known)),
            "{word:?}"
        );
    }
}

/// How many bytes follow a line that begins with BDAT; nobody may be unsure of it.
fn chunk_size(text: &[u8]) -> Option<Option<(u64, bool)>> {
    let (verb, rest) = text.trim_ascii_start().split_at_checked(4)?;
    if !verb.eq_ignore_ascii_case(b"BDAT") || rest.first().is_some_and(u8::is_ascii_graphic) {
        return None;
    }
    let clear = rest.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let words: Vec<&[u8]> = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    let (size, last) = match words[..] {
        [size] => (size, false),
        [size, last] if last.eq_ignore_ascii_case(b"LAST") => (size, true),
        _ => return Some(None),
    };
    let digits = (1..20).contains(&size.len()) && size.iter().all(u8::is_ascii_digit);
    Some((clear && digits).then(|| (std::str::from_utf8(size).unwrap().parse().unwrap(), last)))
}

fn chunk_of(command: &Result<Command, CommandError>) -> Option<Option<(u64, bool)>> {
    match command {
        Ok(Command::Bdat { size, last }) => Some(Some((*size, *last))),
        Err(CommandError::Fatal(reply)) if reply.text.contains("BDAT") => Some(None),
        _ => None,
    }
}

/// Whole lines of printable ASCII with an enhanced code of the right class; nothing of the client's in it.
fn is_well_said(reply: &ReplyToClient) {
    let mut output = Vec::new();
    reply.write_to(&mut output);
    let text = std::str::from_utf8(&output).unwrap();
    for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        assert_eq!(line[..3].parse(), Ok(reply.code));
        assert!(line.len() <= 510, "{line:?}");
    }
    match reply.enhanced {
        Some(enhanced) => assert_eq!(u16::from(enhanced.0), reply.code / 100, "{reply:?}"),
        None => assert_eq!(reply.code, 250, "only EHLO and HELO are answered without"),
    }
}

/// What a step is, but for its words.
#[derive(PartialEq, Eq, Debug)]
enum Kind {
    Say(u16),
    Close(u16),
    Data,
    Chunk(u64, bool),
    Skip(u64),
    Handled,
}

impl Kind {
    fn of(step: &SessionAction) -> Kind {
        match step {
            SessionAction::Reply(reply) => Kind::Say(reply.code),
            SessionAction::ReplyAndClose(reply) => Kind::Close(reply.code),
            SessionAction::ReceiveData => Kind::Data,
            SessionAction::ReceiveChunk { size, last } => Kind::Chunk(*size, *last),
            SessionAction::SkipChunk { size, .. } => Kind::Skip(*size),
            SessionAction::StartTls | SessionAction::CheckPassword(_) | SessionAction::AskUpstream(_) => {
                Kind::Handled
            }
        }
    }
}

/// A session as section 4.1.4 has it.
struct Model {
    may_relay: bool,
    auth: bool,
    authenticated: bool,
    failed_logins: u32,
    limits: Limits,
    greeted: bool,
    /// Recipients so far, whether they may be UTF-8, whether a chunk has come.
    transaction: Option<(Vec<Address>, bool, bool)>,
    errors: u32,
}

impl Model {
    fn step(&mut self, command: &Result<Command, CommandError>) -> Kind {
        let kind = match command {
            Ok(command) => self.obey(command),
            Err(CommandError::Refused(reply)) => Kind::Say(reply.code),
            Err(CommandError::Fatal(reply)) => return Kind::Close(reply.code),
        };
        if let Kind::Say(500..) = kind {
            self.errors += 1;
            if self.errors > self.limits.errors_per_session {
                return Kind::Close(421);
            }
        }
        kind
    }

    /// A line that is AUTH or belongs to it: none of it is a command, whatever it says. Whether the session ends.
    fn auth(&mut self, dialogue: &mut Dialogue, line: &[u8], in_exchange: bool) -> bool {
        let offered = self.auth && !self.authenticated && self.greeted && self.transaction.is_none();
        let mut step = dialogue.execute_line(line, Duration::ZERO, |_| Ok(()));
        assert!(in_exchange || offered || matches!(Kind::of(&step), Kind::Say(502 | 503) | Kind::Close(421)));
        if let SessionAction::CheckPassword(said) = step {
            let is_right = said.name == "user";
            let result = if is_right { AuthResult::Accepted } else { AuthResult::Refused(Duration::ZERO) };
            self.authenticated |= is_right;
            self.failed_logins += u32::from(!is_right);
            step = dialogue.password_checked(said.name, result);
            assert!(is_right || self.failed_logins < 3 || Kind::of(&step) == Kind::Close(421));
            assert!(!is_right || Kind::of(&step) == Kind::Say(235));
        }
        let recipients = dialogue.envelope().map(|envelope| envelope.recipients.iter());
        let recipients = recipients.map(|all| all.map(|one| one.address.clone()).collect::<Vec<_>>());
        assert_eq!(recipients, self.recipients());
        match &step {
            SessionAction::Reply(reply) => {
                assert!(matches!(reply.code, 235 | 334 | 501..=504 | 535), "{reply:?}");
                assert_eq!(dialogue.is_in_exchange(), reply.code == 334);
                self.errors += u32::from(reply.code >= 500);
                assert!(self.errors <= self.limits.errors_per_session);
                false
            }
            SessionAction::ReplyAndClose(reply) => {
                is_well_said(reply);
                assert_eq!(reply.code, 421);
                true
            }
            _ => panic!("{step:?} of {line:?}"),
        }
    }

    fn obey(&mut self, command: &Command) -> Kind {
        let ready = self.transaction.as_ref().is_some_and(|(recipients, ..)| !recipients.is_empty());
        match command {
            Command::Ehlo(_) | Command::Helo(_) => {
                (self.greeted, self.transaction) = (true, None);
                Kind::Say(250)
            }
            Command::Mail(mail) => Kind::Say(match mail {
                _ if !self.greeted || self.transaction.is_some() => 503,
                _ if self.auth && !self.may_relay && !self.authenticated => 530,
                MailCommand { parameters, .. } if parameters.size > self.limits.message_size => 552,
                _ => {
                    self.transaction = Some((Vec::new(), mail.parameters.smtp_utf8, false));
                    250
                }
            }),
            Command::Rcpt(RcptCommand { address, .. }) => Kind::Say(match &mut self.transaction {
                None | Some((_, _, true)) => 503,
                Some(_) if !self.may_relay && !self.authenticated => 554,
                Some((_, false, _)) if !address.is_ascii() => 553,
                Some((recipients, ..)) if recipients.contains(address) => 250,
                Some((recipients, ..)) if recipients.len() == self.limits.recipients => 452,
                Some((recipients, ..)) => {
                    recipients.push(address.clone());
                    250
                }
            }),
            Command::Data => match &self.transaction {
                Some((_, _, false)) if ready => Kind::Data,
                _ => Kind::Say(503),
            },
            Command::Bdat { size, .. } if !ready => Kind::Skip(*size),
            Command::Bdat { size, last } => {
                self.transaction.iter_mut().for_each(|transaction| transaction.2 = true);
                Kind::Chunk(*size, *last)
            }
            Command::Rset => {
                self.transaction = None;
                Kind::Say(250)
            }
            Command::StartTls => Kind::Say(502),
            Command::Auth(_) => Kind::Handled,
            Command::Noop => Kind::Say(250),
            Command::Help => Kind::Say(214),
            Command::Vrfy => Kind::Say(252),
            Command::Quit => {
                self.transaction = None;
                Kind::Close(221)
            }
        }
    }

    fn end(&mut self, accepted: bool) {
        self.transaction = None;
        if accepted {
            self.errors = 0;
        }
    }

    fn recipients(&self) -> Option<Vec<Address>> {
        self.transaction.as_ref().map(|(recipients, ..)| recipients.clone())
    }
}

static GENEROUS: LazyLock<Arc<Settings>> = LazyLock::new(|| Arc::new(settings(100, 20, 10_000)));
static STRICT: LazyLock<Arc<Settings>> = LazyLock::new(|| Arc::new(settings(2, 3, 100)));

fn settings(recipients: usize, errors_per_session: u32, message_size: u64) -> Settings {
    let minute = Duration::from_secs(60);
    Settings {
        hostname: HOST.to_owned(),
        default_domain: HOST.to_owned(),
        aliases: Default::default(),
        data_dir: "/nowhere".into(),
        listeners: vec![Listener {
            name: "local".to_owned(),
            address: ([127, 0, 0, 1], 25).into(),
            tls: TlsMode::None,
            certificate: None,
            auth: InboundAuth::None,
            danger_allow_plaintext_auth: false,
            allow: Vec::new(),
            site: None,
            class: None,
        }],
        pickups: Vec::new(),
        webhooks: Vec::new(),
        users: Default::default(),
        limits: Limits {
            message_size,
            recipients,
            connections: 1,
            connections_per_client: 1,
            command_timeout: minute,
            data_timeout: minute,
            received_hops: 50,
            errors_per_session,
            content_memory: 1 << 20,
            bare_newline: BareNewline::Normalize,
        },
        queue: QueueSettings {
            enabled: true,
            path: "/nowhere/queue".into(),
            batch_size: 1,
            retry: vec![minute],
            expire_after: minute,
            bounce: BounceTo::Sender,
            max_messages: 0,
            archive_days: 0,
            failed_days: 1,
            min_free_space: 0,
        },
        handling: Default::default(),
        sites: Default::default(),
        upstreams: Vec::new(),
        log_emails: None,
        admin: Default::default(),
        events_keep: 1,
        log: LogSettings { level: "info".to_owned(), json: false },
    }
}
