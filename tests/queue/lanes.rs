//! Who goes first among the mail that waits.

use super::*;
use postroom::queue::{Filter, OperatorAction};

async fn put_as(queue: &dyn Queue, class: Class) -> QueueId {
    let message = Message { class, ..message(queue, &["a@x.test"], 100) };
    put(queue, &message).await.unwrap();
    message.id
}

#[tokio::test]
async fn urgent_goes_before_normal_before_bulk_and_first_attempts_before_retries() {
    let home = Home::new();
    let queue = home.open();
    let mut expected = Vec::new();
    for class in [Class::Bulk, Class::Normal, Class::Urgent] {
        let retried = put_as(&queue, class).await;
        settle(&queue, claim_one(&queue).await, &[Outcome::Deferred]).await;
        home.clock.advance(MINUTE);
        queue.act(OperatorAction::Retry, vec![retried]).await.unwrap();
        let fresh = put_as(&queue, class).await;
        // What is still to come does not take part.
        queue.act(OperatorAction::Hold, vec![retried, fresh]).await.unwrap();
        expected.splice(0..0, [fresh, retried]);
    }
    queue.act(OperatorAction::Release, expected.clone()).await.unwrap();
    assert_eq!(claimed(&claim(&queue, 10).await), expected);
}

// CASES H10
#[tokio::test]
async fn what_comes_in_urgently_leaves_within_ten_however_much_waits() {
    let home = Home::new();
    let queue = home.open();
    for _ in 0..200 {
        put_as(&queue, Class::Bulk).await;
    }
    for before in [1, 9, 10, 11, 37] {
        claim(&queue, before).await;
        let reset = put_as(&queue, Class::Urgent).await;
        let next = claimed(&claim(&queue, 10).await);
        assert!(next.contains(&reset), "after {before}");
    }
}

#[tokio::test]
async fn what_waits_behind_a_stream_of_better_mail_gets_every_tenth() {
    let home = Home::new();
    let queue = home.open();
    let bulk = [put_as(&queue, Class::Bulk).await, put_as(&queue, Class::Bulk).await];
    let mut places = Vec::new();
    for place in 0..20 {
        put_as(&queue, Class::Urgent).await;
        if bulk.contains(&claim_one(&queue).await.message.id) {
            places.push(place);
        }
    }
    assert_eq!(places, [9, 19]);
}

#[tokio::test]
async fn sites_take_turns_and_mail_of_one_that_is_not_asked_for_stays() {
    let home = Home::new();
    let queue = home.open();
    for site in ["shop", "shop", "shop", "blog", ""] {
        let message = Message { site: site.to_owned(), ..message(&queue, &["a@x.test"], 100) };
        put(&queue, &message).await.unwrap();
    }
    let ask = async |sites: &[&str], limit| {
        let group = |site: &str| ClaimGroup { site: site.to_owned(), under_mode: false };
        let request = |site: &&str| ClaimRequest { group: group(site), due_by: queue.now(), limit };
        let claims = queue.claim(MINUTE, sites.iter().map(request).collect(), usize::MAX).await.unwrap();
        claims.iter().map(|claim| claim.message.site.clone()).collect::<Vec<_>>()
    };
    let mut first = ask(&["shop", "blog"], 2).await;
    first.sort();
    assert_eq!(first, ["blog", "shop", "shop"], "the small one does not wait for the large one");
    assert!(ask(&["down"], 10).await.is_empty());
    assert_eq!(
        queue.next_due(vec![ClaimGroup { site: "down".to_owned(), under_mode: false }]).await.unwrap(),
        None
    );
    assert_eq!(ask(&[""], 10).await, [""]);
    assert_eq!(ask(&["shop"], 10).await, ["shop"]);
}

#[tokio::test]
async fn what_an_upstream_refused_is_made_due_and_nothing_else() {
    let home = Home::new();
    let queue = home.open();
    let refusal = Refusal { upstream: "up".to_owned(), revision: 1 };
    let mut refused = Vec::new();
    for number in 0..1_200 {
        let message = put_new(&queue, &["a@x.test"]).await;
        let attempt = claim_one(&queue).await;
        let mut settled = settlement(&queue, &attempt, &[Outcome::Deferred]);
        if number % 2 == 0 {
            settled.verdicts[0].verdict.refused_by = vec![refusal.clone()];
            refused.push(message.id);
        }
        queue.settle(attempt, settled).await.unwrap();
    }
    let events = queue.events(None, 10_000).await.unwrap().len();
    assert!(claim(&queue, 1).await.is_empty());
    queue.make_refused_due().await.unwrap();
    let mut due = claimed(&claim(&queue, 2_000).await);
    due.sort();
    assert_eq!(due, refused);
    assert_eq!(queue.events(None, 10_000).await.unwrap().len(), events, "nothing has happened to it");
    let page = queue.list(Filter::default(), None, 1).await.unwrap();
    assert_eq!(page.messages[0].deferrals, 1);
}

/// What a retry asked for during an attempt was overwritten by the attempt's end.
#[tokio::test]
async fn a_retry_during_an_attempt_holds_when_that_has_ended() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test"]).await;
    let attempt = claim_one(&queue).await;
    queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap();
    let mut settled = settlement(&queue, &attempt, &[Outcome::Deferred]);
    settled.verdicts[0].verdict.refused_by = vec![Refusal { upstream: "up".to_owned(), revision: 1 }];
    queue.settle(attempt, settled).await.unwrap();
    let again = claim_one(&queue).await;
    assert!(again.message.recipients[0].refused_by.is_empty());
    settle(&queue, again, &[Outcome::Deferred]).await;
    assert!(claim(&queue, 1).await.is_empty(), "it was asked for once");
}
