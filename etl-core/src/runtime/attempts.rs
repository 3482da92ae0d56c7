//! The attempts of one job that are being listened to, polled where the job is driven.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

/// What listens to attempts. They end with it.
pub(crate) struct Attempts(FuturesUnordered<BoxFuture<'static, ()>>);

impl Attempts {
    pub(crate) fn new() -> Self {
        let attempts = FuturesUnordered::new();
        // The set asks to be polled again whenever it has polled all that it has; with one that is never polled again it
        // does not, which spares a step of a chain a change of thread.
        attempts.push(Box::pin(pending()) as BoxFuture<'static, ()>);
        Self(attempts)
    }

    pub(crate) fn push(&self, attempt: impl Future<Output = ()> + Send + 'static) {
        self.0.push(Box::pin(attempt));
    }

    /// Listens to whoever has something to say. What they say comes by other ways.
    pub(crate) fn listen(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {}
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(&mut self) {
        poll_fn(|cx| {
            self.listen(cx);
            if self.0.len() > 1 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attempts")
            .field(&(self.0.len() - 1))
            .finish()
    }
}

/// Polls a future that may not be there.
pub(crate) fn poll_some<F: Future + ?Sized>(
    future: Option<Pin<&mut F>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    future.map_or(Poll::Pending, |future| future.poll(cx))
}
