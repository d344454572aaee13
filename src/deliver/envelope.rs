//! What is sent in MAIL and RCPT of one transaction with an upstream.

use crate::mail::{Address, BodyType, DsnRequest, Notify, RecipientDsn, ReversePath};

/// One RCPT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboundRecipient {
    /// The forward-path.
    pub address: Address,
    /// Said where DSN is offered.
    pub dsn: RecipientDsn,
}

/// About which nothing is asked.
impl From<Address> for OutboundRecipient {
    fn from(address: Address) -> OutboundRecipient {
        OutboundRecipient { address, dsn: RecipientDsn::default() }
    }
}

/// The envelope of one transaction.
#[derive(Clone, Debug)]
pub struct OutboundEnvelope {
    pub reverse_path: ReversePath,
    /// For RCPT, in this order.
    pub recipients: Vec<OutboundRecipient>,
    /// `BODY=8BITMIME` is said where 8BITMIME is offered; where it is not, the content goes as it is all the same.
    pub body: BodyType,
    /// The client declared `SMTPUTF8`: it is passed on where it is offered. What needs it is told by the addresses alone.
    pub smtp_utf8: bool,
    /// Bytes of content, what is added to it included; said in SIZE= and compared with the upstream's limit.
    pub size: u64,
    /// Said where DSN is offered.
    pub dsn: DsnRequest,
}

impl OutboundEnvelope {
    /// For a server whose reports do not reach the sender: it is asked for none but of failures, which nobody else would hear of,
    /// and for these only where the sender wants to hear of them.
    pub(super) fn ask_nothing_for_others(&mut self) {
        self.dsn = DsnRequest::default();
        for RecipientDsn { notify, original_recipient } in self.recipients.iter_mut().map(|one| &mut one.dsn)
        {
            *original_recipient = None;
            *notify = match *notify {
                Notify::Of { failure: true, .. } => {
                    Notify::Of { success: false, failure: true, delay: false }
                }
                Notify::Of { failure: false, .. } | Notify::Never => Notify::Never,
                Notify::Unsaid => Notify::Unsaid,
            };
        }
    }

    /// Whether that recipient cannot be offered without SMTPUTF8: its own address or the reverse-path is not ASCII
    /// (RFC 6531 section 3.4). Content never is a reason.
    pub fn needs_smtp_utf8(&self, recipient: &Address) -> bool {
        !recipient.is_ascii() || self.reverse_path.address().is_some_and(|address| !address.is_ascii())
    }
}
