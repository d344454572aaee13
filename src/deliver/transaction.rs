//! One outbound mail transaction as a value: which commands have left, what the server said to each, and what that
//! decides, without I/O (RFC 5321 section 3.3); `super::transact` has the I/O.
//!
//! Everything that was answered counts, whatever happens to the session afterwards, unless replies and commands no
//! longer match; what was not answered is undecided. From [`TransactionState::FinalDot`] on the server may have the message: only a
//! valid reply to the content decides there, and a session that ends in any other way leaves it unknown (rule 5).

use super::disposition::{self, Disposition, TransactionStep};
use super::transaction_result::{Missing, RecipientAnswer};
use super::wire::WireError;
use crate::mail::Reply;

/// A command of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutboundCommand {
    /// RSET, behind a transaction that was not brought to its end.
    Reset,
    Mail,
    /// RCPT of the recipient at that place of the envelope.
    Rcpt(usize),
    Data,
}

impl OutboundCommand {
    fn name(self) -> &'static str {
        match self {
            OutboundCommand::Reset => "RSET",
            OutboundCommand::Mail => "MAIL",
            OutboundCommand::Rcpt(_) => "RCPT",
            OutboundCommand::Data => "DATA",
        }
    }

    pub(super) fn step(self) -> TransactionStep {
        match self {
            OutboundCommand::Reset | OutboundCommand::Mail => TransactionStep::Mail,
            OutboundCommand::Rcpt(_) => TransactionStep::Rcpt,
            OutboundCommand::Data => TransactionStep::Data,
        }
    }
}

/// What a transaction has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TransactionState {
    New,
    /// The first command has left. Nothing was answered but perhaps 421.
    Sent,
    /// A command was answered.
    Answered,
    /// MAIL was refused. What left together with it is answered, too, and changes nothing for any recipient.
    MailRefused,
    /// 354: the content may go out.
    Content,
    /// Some of the final dot may have left.
    FinalDot,
    /// DATA was refused, or the content has its reply.
    Ended,
}

/// What follows when all commands have their replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterCommands {
    /// Some recipient was accepted: the content is sent.
    SendContent,
    /// Nobody is left to send to. The next transaction begins with RSET.
    Reset,
    /// 354 although nobody is left to send to: any dot from here on would be a message (RFC 2920 section 3.1).
    Close,
}

/// A reply after which the session cannot be used any more.
#[derive(Debug)]
pub(super) enum UpstreamSessionEnd {
    /// 421, or a reply that cannot stand there.
    Lost(WireError),
    /// The server wants TLS or authentication before MAIL: this was no usable session.
    Unauthorized(Reply),
}

/// One transaction, from its first command to the reply to its content.
#[derive(Debug)]
pub(super) struct OutboundTransaction {
    state: TransactionState,
    /// One for each recipient of the envelope, [`RecipientAnswer::Undecided`] until it is decided.
    answers: Vec<RecipientAnswer>,
    /// Places of the recipients with 2xx to RCPT: the reply to DATA or to the content decides about them.
    accepted: Vec<usize>,
    /// The last reply to a RCPT that was accepted.
    acceptance: Option<Reply>,
}

impl OutboundTransaction {
    /// With what each recipient needs and the server does not offer: those are decided and not offered.
    pub(super) fn new(missing: impl Iterator<Item = Option<Missing>>) -> OutboundTransaction {
        let answer =
            |missing: Option<Missing>| missing.map_or(RecipientAnswer::Undecided, RecipientAnswer::Unable);
        OutboundTransaction {
            state: TransactionState::New,
            answers: missing.map(answer).collect(),
            accepted: Vec::new(),
            acceptance: None,
        }
    }

    /// One more recipient, with what it needs and the server does not offer. Returns its place.
    pub(super) fn add_recipient(&mut self, missing: Option<Missing>) -> usize {
        self.answers.push(missing.map_or(RecipientAnswer::Undecided, RecipientAnswer::Unable));
        self.answers.len() - 1
    }

    /// Its commands, in their order.
    pub(super) fn commands(&self, reset: bool) -> Vec<OutboundCommand> {
        let offered = |place: &usize| self.answers[*place] == RecipientAnswer::Undecided;
        let recipients = (0..self.answers.len()).filter(offered).map(OutboundCommand::Rcpt);
        let reset = reset.then_some(OutboundCommand::Reset);
        let all = reset.into_iter().chain([OutboundCommand::Mail]).chain(recipients);
        all.chain([OutboundCommand::Data]).collect()
    }

    /// Whether the rest of the commands is worth sending: somebody is left to send to.
    pub(super) fn expects_commands(&self) -> bool {
        self.state != TransactionState::MailRefused && self.answers.contains(&RecipientAnswer::Undecided)
    }

    /// Some of the commands leave.
    pub(super) fn on_commands_sent(&mut self) {
        if self.state == TransactionState::New {
            self.state = TransactionState::Sent;
        }
    }

    /// Some command has left.
    pub(super) fn has_begun(&self) -> bool {
        self.state != TransactionState::New
    }

    /// The server has answered something else than 421.
    pub(super) fn is_answered(&self) -> bool {
        !matches!(self.state, TransactionState::New | TransactionState::Sent)
    }

    /// The reply to that command, the next one that had none.
    pub(super) fn on_reply(
        &mut self,
        command: OutboundCommand,
        reply: Reply,
    ) -> Result<(), UpstreamSessionEnd> {
        let step = command.step();
        // An earlier recipient was accepted: one more may have been too many.
        let means = is_refusal(&reply).then(|| disposition::meaning(step, &reply, !self.accepted.is_empty()));
        if means == Some(Disposition::SessionLost) {
            return Err(UpstreamSessionEnd::Lost(WireError::ServiceClosing(reply)));
        }
        if self.state == TransactionState::Sent {
            self.state = TransactionState::Answered;
        }
        match (command, means) {
            (OutboundCommand::Mail, Some(means)) => {
                self.state = TransactionState::MailRefused;
                let answer = RecipientAnswer::Refused { step, reply: reply.clone(), means };
                if means == Disposition::NoSession {
                    self.answers.fill(answer);
                    return Err(UpstreamSessionEnd::Unauthorized(reply));
                }
                for open in self.answers.iter_mut().filter(|open| **open == RecipientAnswer::Undecided) {
                    *open = answer.clone();
                }
            }
            (OutboundCommand::Rcpt(_), _) if self.state == TransactionState::MailRefused => {}
            (OutboundCommand::Rcpt(place), Some(means)) => {
                self.answers[place] = RecipientAnswer::Refused { step, reply, means };
            }
            (OutboundCommand::Rcpt(place), None) if reply.is_positive() => {
                self.accepted.push(place);
                self.acceptance = Some(reply);
            }
            (OutboundCommand::Data, Some(means)) => {
                self.state = TransactionState::Ended;
                self.decide_accepted(&RecipientAnswer::Refused { step, reply, means });
            }
            (OutboundCommand::Data, None) if reply.code == 354 => self.state = TransactionState::Content,
            (OutboundCommand::Reset | OutboundCommand::Mail, None) if reply.is_positive() => {}
            _ => {
                let why = format!("{} was answered with {reply}", command.name());
                return Err(UpstreamSessionEnd::Lost(WireError::Protocol(why)));
            }
        }
        Ok(())
    }

    /// All commands that were sent have their replies.
    pub(super) fn after_commands(&self) -> AfterCommands {
        match self.state {
            TransactionState::Content if self.accepted.is_empty() => AfterCommands::Close,
            TransactionState::Content => AfterCommands::SendContent,
            _ => AfterCommands::Reset,
        }
    }

    /// The final dot is about to leave.
    pub(super) fn begin_final_dot(&mut self) {
        self.state = TransactionState::FinalDot;
    }

    /// Nothing of the final dot has left after all.
    pub(super) fn final_dot_not_sent(&mut self) {
        self.state = TransactionState::Content;
    }

    /// A reply to the content: before the final dot only a refusal can come, behind it 2xx or a refusal.
    pub(super) fn on_content_reply(&mut self, reply: Reply) -> Result<(), WireError> {
        let step = TransactionStep::Content;
        let answer = match self.state {
            _ if is_refusal(&reply) => {
                let means = disposition::meaning(step, &reply, false);
                self.state = TransactionState::Ended;
                if means == Disposition::SessionLost {
                    return Err(WireError::ServiceClosing(reply));
                }
                RecipientAnswer::Refused { step, reply, means }
            }
            TransactionState::FinalDot if reply.is_positive() => RecipientAnswer::Accepted(reply),
            TransactionState::FinalDot => {
                return Err(WireError::Protocol(format!("the final dot was answered with {reply}")));
            }
            _ => return Err(WireError::Protocol(format!("the content was interrupted by {reply}"))),
        };
        self.state = TransactionState::Ended;
        self.decide_accepted(&answer);
        Ok(())
    }

    /// The session is over before the transaction is. From the final dot on nobody knows then what the server did.
    pub(super) fn on_session_end(&mut self, why: String) {
        if self.state == TransactionState::FinalDot {
            self.state = TransactionState::Ended;
            self.decide_accepted(&RecipientAnswer::Unknown(why));
        }
    }

    /// It cannot be told which command each of the replies was for: none of them counts.
    pub(super) fn forget_replies(&mut self) {
        self.accepted.clear();
        for answer in self.answers.iter_mut().filter(|answer| !matches!(answer, RecipientAnswer::Unable(_))) {
            *answer = RecipientAnswer::Undecided;
        }
    }

    /// Whether the server has decided about every recipient, or need not.
    pub(super) fn is_decided(&self) -> bool {
        let open = |answer: &RecipientAnswer| {
            matches!(answer, RecipientAnswer::Undecided | RecipientAnswer::Unknown(_))
        };
        !self.answers.iter().any(open)
    }

    /// The answers so far.
    pub(super) fn answers(&self) -> &[RecipientAnswer] {
        &self.answers
    }

    /// Places of the recipients that the reply to the content is to decide about.
    pub(super) fn accepted(&self) -> &[usize] {
        &self.accepted
    }

    /// The last reply to a RCPT that was accepted.
    pub(super) fn acceptance(&self) -> Option<&Reply> {
        self.acceptance.as_ref()
    }

    /// Whether RSET can end it: DATA was not said.
    pub(super) fn is_before_content(&self) -> bool {
        matches!(self.state, TransactionState::Answered | TransactionState::MailRefused)
    }

    /// The answer for each recipient.
    pub(super) fn into_answers(self) -> Vec<RecipientAnswer> {
        self.answers
    }

    fn decide_accepted(&mut self, answer: &RecipientAnswer) {
        for place in std::mem::take(&mut self.accepted) {
            self.answers[place] = answer.clone();
        }
    }
}

fn is_refusal(reply: &Reply) -> bool {
    reply.is_transient() || reply.is_permanent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::disposition::reply;
    use OutboundCommand::{Data, Mail, Rcpt};

    /// A transaction whose recipients, all but the first, are answered like this; `first` is answered 250 or not offered.
    fn after_rcpt(first: Option<Missing>, others: &[&str]) -> OutboundTransaction {
        let offered_first = first.is_none();
        let missing = std::iter::once(first).chain(others.iter().map(|_| None));
        let mut transaction = OutboundTransaction::new(missing);
        transaction.on_commands_sent();
        transaction.on_reply(Mail, reply("250 ok")).unwrap();
        if offered_first {
            transaction.on_reply(Rcpt(0), reply("250 ok")).unwrap();
        }
        for (place, text) in others.iter().enumerate() {
            transaction.on_reply(Rcpt(place + 1), reply(text)).unwrap();
        }
        transaction
    }

    fn dispositions(transaction: OutboundTransaction) -> Vec<Disposition> {
        transaction.into_answers().iter().map(RecipientAnswer::disposition).collect()
    }

    fn with_content(mut transaction: OutboundTransaction, answer: &str) -> OutboundTransaction {
        transaction.on_reply(Data, reply("354 go on")).unwrap();
        assert_eq!(transaction.after_commands(), AfterCommands::SendContent);
        transaction.begin_final_dot();
        transaction.on_content_reply(reply(answer)).unwrap();
        transaction
    }

    #[test]
    fn too_many_counts_only_behind_one_who_was_taken() {
        use Disposition::{Delivered, Failed, NextTransaction, NextUpstream, RefusedHere, Unknown};
        for text in
            ["452 4.5.3 x", "552 5.5.3 x", "452 Too many", "552 too MANY recipients", "452 4.3.1 too many"]
        {
            let mut transaction = OutboundTransaction::new([None, None, None].into_iter());
            transaction.on_commands_sent();
            transaction.on_reply(Mail, reply("250 ok")).unwrap();
            for (place, text) in [text, "250 ok", text].into_iter().enumerate() {
                transaction.on_reply(Rcpt(place), reply(text)).unwrap();
            }
            let transaction = with_content(transaction, "250 2.0.0 ok");
            assert_eq!(dispositions(transaction), [NextUpstream, Delivered, NextTransaction], "{text}");
            assert_eq!(
                dispositions(after_rcpt(Some(Missing::SmtpUtf8), &[text])),
                [RefusedHere, NextUpstream]
            );
            // Whatever became of the content.
            let refused = with_content(after_rcpt(None, &[text]), "554 no");
            assert_eq!(dispositions(refused), [Failed, NextTransaction]);
            let mut unknown = after_rcpt(None, &[text]);
            unknown.on_reply(Data, reply("354 go on")).unwrap();
            unknown.begin_final_dot();
            unknown.on_session_end("closed".into());
            assert_eq!(dispositions(unknown), [Unknown, NextTransaction]);
        }
        for (text, means) in [
            ("452 4.2.2 mailbox full", NextUpstream),
            ("552 5.2.2 mailbox full", Failed),
            ("550 5.5.3 too many", Failed),
        ] {
            let transaction = with_content(after_rcpt(None, &[text]), "250 2.0.0 ok");
            assert_eq!(dispositions(transaction), [Delivered, means], "{text}");
        }
    }

    /// The same end of a session, one byte earlier and one byte later.
    #[test]
    fn only_the_final_dot_makes_a_lost_session_unknown() {
        let mut transaction = after_rcpt(None, &["550 5.1.1 no such user"]);
        transaction.on_reply(Data, reply("354 go on")).unwrap();
        transaction.begin_final_dot();
        transaction.final_dot_not_sent();
        transaction.on_session_end("closed".into());
        assert_eq!(dispositions(transaction), [Disposition::SessionLost, Disposition::Failed]);

        let mut transaction = after_rcpt(None, &["550 5.1.1 no such user"]);
        transaction.on_reply(Data, reply("354 go on")).unwrap();
        transaction.begin_final_dot();
        assert!(transaction.on_content_reply(reply("354 go on")).is_err(), "no reply that decides");
        transaction.on_session_end("nonsense".into());
        assert_eq!(dispositions(transaction), [Disposition::Unknown, Disposition::Failed]);

        // 421 is a valid reply: it was not taken.
        let mut transaction = after_rcpt(None, &[]);
        transaction.on_reply(Data, reply("354 go on")).unwrap();
        transaction.begin_final_dot();
        assert!(transaction.on_content_reply(reply("421 4.3.2 going down")).is_err());
        transaction.on_session_end("closed".into());
        assert_eq!(dispositions(transaction), [Disposition::SessionLost]);
    }

    #[test]
    fn replies_behind_a_refused_mail_change_nothing() {
        let mut transaction = OutboundTransaction::new([None, Some(Missing::SmtpUtf8)].into_iter());
        transaction.on_commands_sent();
        transaction.on_reply(Mail, reply("550 5.7.1 Sender rejected")).unwrap();
        assert!(!transaction.expects_commands());
        transaction.on_reply(Rcpt(0), reply("250 ok")).unwrap();
        transaction.on_reply(Data, reply("354 go on")).unwrap();
        assert_eq!(transaction.after_commands(), AfterCommands::Close, "354 for nobody");
        assert!(transaction.is_decided());
        assert_eq!(dispositions(transaction), [Disposition::RefusedHere, Disposition::RefusedHere]);
    }
}
