//! Figures, not promises: run with `cargo nextest run --release --run-ignored only speed --no-capture`.

use super::disk::{Disk, Mounted};
use super::*;
use postroom::queue::{Filter, Order};
use std::time::Instant;

const CALLERS: usize = 100;
const SIZE: usize = 4_096;

async fn put_many(queue: &Arc<RedbQueue>, each: usize, size: usize) -> f64 {
    let start = Instant::now();
    let callers = (0..CALLERS).map(|_| {
        let queue = queue.clone();
        let content = Bytes::from(vec![7; size]);
        tokio::spawn(async move {
            for _ in 0..each {
                let message = message(&*queue, &["ann@example.com"], size);
                let fact = fact(message.id, "QUEUED");
                queue.put(message, content.clone(), vec![fact]).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    (CALLERS * each) as f64 / start.elapsed().as_secs_f64()
}

/// Claims, reads and settles until nothing is due.
async fn deliver_all(queue: &Arc<RedbQueue>) -> f64 {
    let start = Instant::now();
    let mut delivered = 0;
    loop {
        let claims = claim(&**queue, 100).await;
        if claims.is_empty() {
            return delivered as f64 / start.elapsed().as_secs_f64();
        }
        delivered += claims.len();
        let attempts = claims.into_iter().map(|claim| {
            let queue = queue.clone();
            tokio::spawn(async move {
                queue.chunk(claim.message.id, 0).await.unwrap();
                settle(&*queue, claim, &[Outcome::Delivered]).await;
            })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            attempt.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures"]
async fn puts_and_settles_per_second() {
    let home = Home::new();
    let options = Options::new(home.clock.clone());
    let queue = Arc::new(RedbQueue::open(&home.path(), options.clone()).unwrap());
    println!("file: {:.0} puts/s", put_many(&queue, 200, SIZE).await);
    println!("file: {:.0} delivered/s", deliver_all(&queue).await);
    let start = Instant::now();
    for _ in 0..200 {
        put_new(&*queue, &["a@x.test"]).await;
    }
    println!("file: {:?} for one put alone", start.elapsed() / 200);

    let disk = Disk::new();
    let mounted = disk.clone();
    let queue = Arc::new(RedbQueue::open_on(move || Ok(Mounted(mounted.clone())), options).unwrap());
    let (syncs, written) = (disk.syncs(), disk.written());
    println!("memory: {:.0} puts/s", put_many(&queue, 100, SIZE).await);
    let ratio = |written: u64| written as f64 / (CALLERS * 100 * SIZE) as f64;
    println!("memory: {:.2} bytes written for each byte put", ratio(disk.written() - written));
    println!("memory: {} messages a commit", CALLERS * 100 * 2 / (disk.syncs() - syncs) as usize);
    println!("memory: {:.0} delivered/s", deliver_all(&queue).await);
    println!("memory: {:.2} bytes written for each byte put and settled", ratio(disk.written() - written));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures"]
async fn with_a_million_queued() {
    let home = Home::new();
    let options = Options::new(home.clock.clone());
    let queue = Arc::new(RedbQueue::open(&home.path(), options.clone()).unwrap());
    println!("puts/s at the start: {:.0}", put_many(&queue, 500, 1_024).await);
    println!("puts/s up to a million: {:.0}", put_many(&queue, 9_000, 1_024).await);
    println!("puts/s at a million: {:.0}", put_many(&queue, 500, 1_024).await);
    let killed = home.folder.path().join("killed.redb");
    std::fs::copy(home.path(), &killed).unwrap();
    println!("file: {} MiB", std::fs::metadata(home.path()).unwrap().len() >> 20);
    queue.close().await.unwrap();
    drop(queue);
    let start = Instant::now();
    drop(RedbQueue::open(&home.path(), options.clone()).unwrap());
    println!("open: {:?}", start.elapsed());
    let start = Instant::now();
    let queue = RedbQueue::open(&killed, options.clone()).unwrap();
    println!("open after a kill: {:?}", start.elapsed());
    let time = async |what: &str, states: &[MessageState], text: Option<&str>| {
        let start = Instant::now();
        let filter = Filter { states: states.to_vec(), text: text.map(str::to_owned) };
        let page = queue.list(filter, None, 50).await.unwrap();
        println!("{what}: {:?} for {}", start.elapsed(), page.messages.len());
    };
    time("list", &[], None).await;
    time("list failed", &[MessageState::Failed], None).await;
    time("list by text, found nowhere", &[], Some("nowhere")).await;
    let start = Instant::now();
    let claims = claim(&queue, 200).await;
    println!("claim 200: {:?}", start.elapsed());
    let start = Instant::now();
    let more = claim(&queue, 50).await;
    println!("claim 50 behind 200: {:?}", start.elapsed());
    let start = Instant::now();
    queue.claim_old(queue.now(), Moment(5), MINUTE, 50).await.unwrap();
    println!("search for old mail, first: {:?}", start.elapsed());
    let start = Instant::now();
    queue.claim_old(queue.now(), Moment(5), MINUTE, 50).await.unwrap();
    println!("search for old mail, again: {:?}", start.elapsed());
    queue.order(Order::Hold, vec![claims[0].message.id, more[0].message.id]).await.unwrap();
    time("list held", &[MessageState::Held], None).await;
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    }
}
