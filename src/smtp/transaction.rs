//! The dialogue of one session, without I/O: a command line in, the next step out (RFC 5321 sections 4.1.4 and 4.3).
//!
//! Promise: a step never depends on anything but the lines so far and the terms of the session. Order, limits and
//! relay control are decided here; bytes, deadlines and the queue are the session's.

use super::command::{self, Command, Mail, Wrong};
use super::completion::Completion;
use super::reply::Reply;
use crate::config::Settings;
use crate::mail::{Address, BodyType, Class, ReversePath};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What holds for the whole session.
#[derive(Clone, Debug)]
pub struct Terms {
    /// In force when the session began.
    pub settings: Arc<Settings>,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// The client's address, without its port.
    pub client: IpAddr,
    /// It is within the listener's `allow`.
    pub may_relay: bool,
}

impl Terms {
    /// The class that the listener gives to all its mail, if it does.
    pub fn class(&self) -> Option<Class> {
        self.settings.listeners.iter().find(|one| *one.name == *self.listener)?.class
    }
}

/// What the session does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Say this and wait for the next command.
    Say(Reply),
    /// Say this and close.
    Close(Reply),
    /// 354, then content up to CRLF.CRLF.
    Data,
    /// A chunk of content follows. It is taken; the session says 250, or ends the message with the last one.
    Chunk {
        /// Bytes that follow the line.
        size: u64,
        /// The message ends with them.
        last: bool,
    },
    /// A chunk follows that cannot be taken: its bytes are skipped, then this is said.
    SkipChunk {
        /// Bytes that follow the line.
        size: u64,
        /// Said behind them.
        reply: Reply,
    },
}

/// MAIL and RCPT so far.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Of MAIL.
    pub reverse_path: ReversePath,
    /// BODY of MAIL.
    pub body: BodyType,
    /// SMTPUTF8 of MAIL.
    pub smtp_utf8: bool,
    /// In the order of RCPT, each exactly once.
    pub recipients: Vec<Address>,
    /// Monotonic time of MAIL.
    pub began: Duration,
    known: HashSet<Address>,
    chunked: bool,
}

/// One session's dialogue.
#[derive(Debug)]
pub struct Dialogue {
    terms: Terms,
    helo: Option<Hello>,
    envelope: Option<Envelope>,
    errors: u32,
}

/// What the client called itself.
#[derive(Clone, Debug)]
pub struct Hello {
    /// As sent.
    pub name: String,
    /// By EHLO.
    pub extended: bool,
}

impl Dialogue {
    /// The session has just been greeted.
    pub fn new(terms: Terms) -> Dialogue {
        Dialogue { terms, helo: None, envelope: None, errors: 0 }
    }

    /// The terms it was begun with.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The present transaction, between MAIL and its end.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_ref()
    }

    /// What the client called itself.
    pub fn hello(&self) -> Option<&Hello> {
        self.helo.as_ref()
    }

    /// The content came to its end, accepted or not: the transaction is over (RFC 5321 section 4.1.1.4).
    pub fn end(&mut self, accepted: bool) {
        self.envelope = None;
        if accepted {
            self.errors = 0;
        }
    }

    /// What comes after this line. `now` is monotonic; `room` says why a message of that size cannot be taken now.
    pub fn step(&mut self, line: &[u8], now: Duration, room: impl FnOnce(u64) -> Option<Reply>) -> Step {
        let Settings { default_domain, aliases, .. } = &*self.terms.settings;
        let completion = Completion { domain: default_domain, aliases: Some(aliases) };
        let step = match command::parse(line, completion) {
            Ok(command) => self.obey(command, now, room),
            Err(Wrong::Refused(reply)) => Step::Say(reply),
            Err(Wrong::Fatal(reply)) => Step::Close(reply),
        };
        match step {
            Step::Say(reply) if reply.is_permanent() => self.refuse(reply),
            step => step,
        }
    }

    /// A command was refused: says so, or ends the session when that was one too many.
    pub fn refuse(&mut self, reply: Reply) -> Step {
        self.errors += 1;
        if self.errors > self.terms.settings.limits.errors_per_session {
            return Step::Close(Reply::new(
                421,
                7,
                0,
                "too many refused commands in this session: check the client",
            ));
        }
        Step::Say(reply)
    }

    fn obey(&mut self, command: Command, now: Duration, room: impl FnOnce(u64) -> Option<Reply>) -> Step {
        match command {
            Command::Ehlo(name) => self.greet(Hello { name, extended: true }),
            Command::Helo(name) => self.greet(Hello { name, extended: false }),
            Command::Mail(mail) => Step::Say(self.mail(mail, now, room)),
            Command::Rcpt(address) => Step::Say(self.rcpt(address)),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.envelope = None;
                Step::Say(Reply::new(250, 0, 0, "reset"))
            }
            Command::Noop => Step::Say(Reply::new(250, 0, 0, "OK")),
            Command::Help => Step::Say(Reply::new(
                214,
                0,
                0,
                "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\n\
                 Postroom stores mail and relays it; its owner sets it up in postroom.toml",
            )),
            Command::Vrfy => Step::Say(Reply::new(252, 0, 0, "cannot verify; send mail and see")),
            Command::Quit => {
                self.envelope = None;
                Step::Close(Reply::new(221, 0, 0, "bye"))
            }
        }
    }

    /// EHLO and HELO end a transaction (RFC 5321 section 4.1.4).
    fn greet(&mut self, hello: Hello) -> Step {
        self.envelope = None;
        let Settings { hostname, limits, .. } = &*self.terms.settings;
        let text = if hello.extended {
            format!(
                "{hostname}\nSIZE {}\n8BITMIME\nPIPELINING\nCHUNKING\nSMTPUTF8\nENHANCEDSTATUSCODES\nHELP",
                limits.message_size
            )
        } else {
            hostname.clone()
        };
        self.helo = Some(hello);
        Step::Say(Reply::plain(250, text))
    }

    fn mail(&mut self, mail: Mail, now: Duration, room: impl FnOnce(u64) -> Option<Reply>) -> Reply {
        if self.helo.is_none() {
            return out_of_order("say EHLO or HELO first");
        }
        if self.envelope.is_some() {
            return out_of_order("a transaction is open already: finish it, or say RSET");
        }
        let limit = self.terms.settings.limits.message_size;
        if mail.size > limit {
            return too_big(limit);
        }
        if let Some(reply) = room(mail.size) {
            return reply;
        }
        self.envelope = Some(Envelope {
            reverse_path: mail.reverse_path,
            body: mail.body,
            smtp_utf8: mail.smtp_utf8,
            recipients: Vec::new(),
            began: now,
            known: HashSet::new(),
            chunked: false,
        });
        Reply::new(250, 1, 0, "sender OK")
    }

    fn rcpt(&mut self, address: Address) -> Reply {
        let Some(envelope) = &mut self.envelope else {
            return out_of_order("say MAIL first");
        };
        if envelope.chunked {
            return out_of_order("recipients come before BDAT");
        }
        if !self.terms.may_relay {
            let Terms { client, listener, .. } = &self.terms;
            return Reply::new(
                554,
                7,
                1,
                format!(
                    "relaying for {client} is not allowed: add its network to `allow` of [listener.{listener}] \
                     in Postroom's configuration"
                ),
            );
        }
        if !address.is_ascii() && !envelope.smtp_utf8 {
            return command::needs_smtp_utf8();
        }
        if !envelope.known.contains(&address) {
            if envelope.recipients.len() >= self.terms.settings.limits.recipients {
                return Reply::new(
                    452,
                    5,
                    3,
                    "too many recipients: send to the others in another transaction",
                );
            }
            envelope.known.insert(address.clone());
            envelope.recipients.push(address);
        }
        Reply::new(250, 1, 5, "recipient OK")
    }

    fn data(&self) -> Step {
        match self.ready() {
            Err(reply) => Step::Say(reply),
            Ok(envelope) if envelope.chunked => Step::Say(out_of_order(
                "this message was begun with BDAT: end it with BDAT LAST, or say RSET",
            )),
            Ok(_) => Step::Data,
        }
    }

    fn bdat(&mut self, size: u64, last: bool) -> Step {
        if let Err(reply) = self.ready() {
            // Not counted as an error: the chunks of a message that was refused may be under way already.
            return Step::SkipChunk { size, reply };
        }
        if let Some(envelope) = &mut self.envelope {
            envelope.chunked = true;
        }
        Step::Chunk { size, last }
    }

    fn ready(&self) -> Result<&Envelope, Reply> {
        match &self.envelope {
            None => Err(out_of_order("say MAIL and RCPT first")),
            Some(envelope) if envelope.recipients.is_empty() => {
                Err(out_of_order("no recipient was accepted: say RCPT first"))
            }
            Some(envelope) => Ok(envelope),
        }
    }
}

fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, 5, 1, text)
}

/// The message is larger than `message_size` (RFC 1870 section 6).
pub fn too_big(limit: u64) -> Reply {
    Reply::new(
        552,
        3,
        4,
        format!("the message is larger than the {limit} octets of `message_size` under [limits]"),
    )
}
