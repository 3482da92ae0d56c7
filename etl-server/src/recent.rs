//! What is asked of others once a second, however many want to know it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer is told again.
const FRESH: Duration = Duration::from_secs(1);

/// An answer that is good for a while. Of those who ask meanwhile one has it found, and all are told it.
#[derive(Debug)]
pub(crate) struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T: Copy> Recent<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The answer of before, or else the one that is to be found.
    pub(crate) async fn get(&self, find: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        match *last {
            Some((since, found)) if since.elapsed() < FRESH => found,
            _ => {
                let found = find.await;
                *last = Some((Instant::now(), found));
                found
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_told_again_for_a_second() {
        let (recent, asked) = (Recent::new(), AtomicUsize::new(0));
        let ask = || {
            recent.get(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                asked.fetch_add(1, Ordering::SeqCst) + 1
            })
        };
        let all = tokio::join!(ask(), ask(), ask());
        assert_eq!(all, (1, 1, 1));
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(ask().await, 1);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(ask().await, 2);
    }
}
