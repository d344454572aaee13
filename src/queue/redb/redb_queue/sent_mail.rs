//! Mail that was sent and is archived.

use super::super::super::{ArchivedDay, Day, Filter, Pending, SentMail, SentMessage, SentPage};
use super::super::op::{ForgottenDay, Op};
use super::super::sent_listing;
use super::{ACTIONS_PER_COMMIT, RedbQueue};
use crate::clock::Moment;
use crate::mail::QueueId;

impl SentMail for RedbQueue {
    fn list_sent(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, SentPage> {
        Box::pin(self.read(move |shared| sent_listing::list(&shared.database, &filter, cursor, limit)))
    }

    fn show_sent(&self, id: QueueId) -> Pending<'_, SentMessage> {
        Box::pin(self.read(move |shared| sent_listing::show(&shared.database, id)))
    }

    fn archive_days(&self) -> Pending<'_, Vec<(Day, ArchivedDay)>> {
        Box::pin(self.read(|shared| sent_listing::days(&shared.database)))
    }

    fn find_day(&self, day: Day) -> Pending<'_, ()> {
        self.writer.request(|responder| Op::KnowDay { day, known: true, responder })
    }

    fn forget_sent(&self, day: Day, before: Moment) -> Pending<'_, bool> {
        Box::pin(async move {
            loop {
                let (before_ms, limit) = (before.0, ACTIONS_PER_COMMIT);
                let forget = |responder| Op::ForgetSent { day, before_ms, limit, responder };
                match self.writer.request(forget).await? {
                    ForgottenDay::InUse => return Ok(false),
                    ForgottenDay::More => {}
                    ForgottenDay::All => return Ok(true),
                }
            }
        })
    }

    fn forget_day(&self, day: Day) -> Pending<'_, ()> {
        self.writer.request(|responder| Op::KnowDay { day, known: false, responder })
    }
}
