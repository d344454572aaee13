//! Where transactions beside clients' begin, and what sessions call of them.

use super::super::context::Services;
use super::passed::Passed;
use crate::mail::{Address, Reply};
use crate::pass_through::{PassThrough, PassedHeader, PassedMail, PassedTransaction, Passing};
use std::sync::Arc;

/// Where transactions beside clients' begin.
pub struct Relay {
    services: Arc<Services>,
}

impl Relay {
    /// With the connections, the health and the rest that attempts share.
    pub fn new(services: Arc<Services>) -> Relay {
        Relay { services }
    }
}

impl PassThrough for Relay {
    fn begin(&self, mail: PassedMail) -> Box<dyn PassedTransaction> {
        Box::new(Passed::new(self.services.context(mail.settings), mail.message, mail.patience))
    }
}

impl PassedTransaction for Passed {
    fn recipient(&mut self, address: Address) -> Passing<'_, Reply> {
        Box::pin(self.ask(address))
    }

    fn data(&mut self) -> Passing<'_, Result<(), Reply>> {
        Box::pin(self.begin_content())
    }

    fn header<'a>(&'a mut self, header: PassedHeader<'a>) -> Passing<'a, Result<(), Reply>> {
        Box::pin(self.send_header(header))
    }

    fn content<'a>(&'a mut self, content: &'a [u8]) -> Passing<'a, Result<(), Reply>> {
        Box::pin(self.send_content(content))
    }

    fn finish(&mut self) -> Passing<'_, Reply> {
        Box::pin(self.send_final_dot())
    }

    fn end(self: Box<Self>, told: Option<Reply>) -> Passing<'static, ()> {
        Box::pin(self.close(told))
    }
}
