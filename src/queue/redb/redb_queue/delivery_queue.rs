//! What delivery asks of the queue: claims, and their outcomes.

use super::super::super::{
    Claim, ClaimGroup, ClaimRequest, DeliveryQueue, Filter, HoldChange, MailStore, Page, Pending, QueueError,
    Settled, Settlement, Timeline,
};
use super::super::claim::{self, NextDue};
use super::super::claim_late::claim_late;
use super::super::claim_old::{OldSearch, claim_old};
use super::super::due_key::group_number;
use super::super::lane_heads::GroupSearch;
use super::super::listing;
use super::super::op::Op;
use super::super::shared_queue::SharedQueue;
use super::{ACTIONS_PER_COMMIT, RedbQueue};
use crate::clock::Moment;
use crate::mail::{AttemptRecord, MessageState, QueueId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

impl DeliveryQueue for RedbQueue {
    fn claim(&self, lease: Duration, requests: Vec<ClaimRequest>, limit: usize) -> Pending<'_, Vec<Claim>> {
        let search = |request: &ClaimRequest| GroupSearch {
            group: number_of(&request.group),
            due_by: request.due_by.0,
            limit: request.limit,
        };
        let groups: Vec<GroupSearch> = requests.iter().map(search).collect();
        Box::pin(async move {
            let take = move |shared: &Arc<SharedQueue>| {
                claim::claim_due(shared, lease, &groups, limit)?.read(shared)
            };
            Ok(self.hand_out(self.search(take).await?))
        })
    }

    fn claim_old(
        &self,
        sites: Vec<String>,
        life: Duration,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>> {
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let search = |site: &String| {
            let now = self.now_of(site);
            let born_by = Moment(now.0.saturating_sub(life));
            [false, true].map(|under_mode| OldSearch { group: group_number(site, under_mode), now, born_by })
        };
        let groups: Vec<OldSearch> = sites.iter().flat_map(search).collect();
        Box::pin(async move {
            let take = move |shared: &Arc<SharedQueue>| {
                let taken = claim_old(shared, &groups, lease, limit)?;
                taken.map(|taken| taken.read(shared)).transpose()
            };
            Ok(self.read(take).await?.map(|leased| self.hand_out(leased)).unwrap_or_default())
        })
    }

    fn claim_late(
        &self,
        groups: Vec<ClaimGroup>,
        age: Duration,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let search = |ClaimGroup { site, under_mode }: &ClaimGroup| {
            (group_number(site, *under_mode), Moment(self.now_of(site).0.saturating_sub(age)))
        };
        let groups: Vec<(u64, Moment)> = groups.iter().map(search).collect();
        Box::pin(async move {
            let take =
                move |shared: &Arc<SharedQueue>| claim_late(shared, &groups, lease, limit)?.read(shared);
            Ok(self.hand_out(self.read(take).await?))
        })
    }

    fn note_mode(&self, id: QueueId) -> Pending<'_, ()> {
        self.writer.request(|responder| Op::NoteMode { id, responder })
    }

    fn settle(&self, claim: Claim, settlement: Settlement) -> Pending<'_, Settled> {
        if !self.shared.state().begin_settling(claim.message.id, claim.token) {
            if let Some(follow_up) = settlement.follow_up {
                self.discard(follow_up.message.id);
            }
            return Box::pin(std::future::ready(Err(QueueError::FencedOff(claim.message.id))));
        }
        self.writer.request(|responder| Op::Settle { claim, settlement, responder })
    }

    fn is_current(&self, claim: &Claim) -> bool {
        self.shared.state().is_current(claim.message.id, claim.token)
    }

    fn may_go_on(&self, claim: &Claim) -> bool {
        self.shared.state().may_go_on(claim.message.id, claim.token)
    }

    fn add_attempts(&self, id: QueueId, attempts: Vec<AttemptRecord>) {
        self.writer.send(Op::AddAttempts { id, attempts });
    }

    fn put_back(&self, claim: Claim) {
        let id = claim.message.id;
        let (ended, removed_while_leased) = {
            let mut state = self.shared.state();
            (state.end_lease(id, claim.token), state.removed_while_leased.contains(&id))
        };
        match (ended, removed_while_leased) {
            (true, true) => self.writer.send(Op::RemoveContent { id }),
            (true, false) => self.shared.due_changed.notify_one(),
            (false, _) => {}
        }
    }

    fn next_due(&self, groups: Vec<ClaimGroup>) -> Pending<'_, Option<Duration>> {
        let groups: Vec<(u64, Moment)> =
            groups.iter().map(|group| (number_of(group), self.now_of(&group.site))).collect();
        Box::pin(async move {
            let next = self.search(move |shared| claim::next_due(shared, &groups)).await?;
            Ok(next.map(|NextDue { key, wait, misplaced }| {
                if misplaced {
                    self.writer.send(Op::Misplaced { key });
                }
                wait
            }))
        })
    }

    fn due_changed(&self) -> Arc<Notify> {
        self.shared.due_changed.clone()
    }

    fn make_refused_due(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut from = Some(0);
            while let Some(next) = from {
                from = self
                    .writer
                    .request(|responder| Op::MakeRefusedDue {
                        from: next,
                        limit: ACTIONS_PER_COMMIT,
                        responder,
                    })
                    .await?;
            }
            Ok(())
        })
    }

    fn sites(&self) -> Vec<String> {
        self.shared.state().sites.iter().cloned().collect()
    }

    fn held(&self, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        let filter = Filter::of_states(vec![MessageState::Held]);
        Box::pin(self.read(move |shared| listing::list(&shared.database, &filter, cursor, limit)))
    }

    fn change_holds(&self, changes: Vec<HoldChange>) -> Pending<'_, ()> {
        Box::pin(async move {
            for changes in changes.chunks(ACTIONS_PER_COMMIT) {
                let changes = changes.to_vec();
                self.writer.request(|responder| Op::ChangeHolds { changes, responder }).await?;
            }
            Ok(())
        })
    }
}

fn number_of(group: &ClaimGroup) -> u64 {
    group_number(&group.site, group.under_mode)
}
