//! A panic as a value: it ends what it belongs to and nothing else.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The future panicked. The panic itself has been reported where it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panicked;

/// The future's output, or [`Panicked`]; then it is not polled again. What it shares with others must bear being left in
/// the middle of something.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_comes_back_as_a_value() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("asked for by a test")
        };
        assert_eq!(caught::<_>(late).await, Err::<(), _>(Panicked));
    }
}
