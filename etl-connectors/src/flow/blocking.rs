//! Threads for work that blocks: parsing, compressing, disk. The async side sees streams and futures.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use etl_core::model::StepError;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::{Flow, Rows, fault};

/// How many batches may wait between two threads. Enough to keep both busy, few enough to bound memory.
const BATCHES_AHEAD: usize = 3;

/// Runs `work` on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| fault::panicked(what, error))?
}

/// The thread's side of a stream of batches.
pub(crate) struct Emitter {
    sender: mpsc::Sender<Result<RecordBatch, StepError>>,
    flow: Flow,
}

impl Emitter {
    /// Hands a batch on; waits while the consumer is behind. Empty batches are left out.
    pub(crate) fn emit(&self, batch: RecordBatch) -> Result<(), StepError> {
        self.flow.check()?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // A consumer that is gone wants no more: the thread ends, and nobody hears why.
        self.sender
            .blocking_send(Ok(batch))
            .map_err(|_| fault::cancelled())
    }
}

/// Rows that `work` emits from a thread of its own. Dropping the stream ends the thread at its next batch.
pub(crate) fn produce(
    flow: &Flow,
    schema: SchemaRef,
    work: impl FnOnce(&Emitter) -> Result<(), StepError> + Send + 'static,
) -> Rows {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let emitter = Emitter {
        sender,
        flow: flow.clone(),
    };
    let thread = tokio::task::spawn_blocking(move || {
        if let Err(error) = work(&emitter) {
            let _ = emitter.sender.blocking_send(Err(error));
        }
    });
    let batches = stream::unfold(Some((receiver, thread)), |state| async move {
        let (mut receiver, thread) = state?;
        match receiver.recv().await {
            Some(Ok(batch)) => Some((Ok(batch), Some((receiver, thread)))),
            Some(Err(error)) => Some((Err(error), None)),
            // Without this a thread that panicked would look like the end of the rows.
            None => match thread.await {
                Ok(()) => None,
                Err(error) => Some((Err(fault::panicked("reading", error)), None)),
            },
        }
    })
    .boxed();
    Rows { schema, batches }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use etl_core::artifact::ArtifactStorage;
    use etl_core::contract::{ContextParts, StepContext};
    use etl_core::model::{AttemptKey, ExecutorKind, Fence, JobId, StepKey, StepTask, Timestamp};
    use tokio::sync::oneshot;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn flow() -> Flow {
        let key = AttemptKey {
            job: JobId(uuid::Uuid::nil()),
            step: StepKey::step(0),
            attempt: 1,
        };
        let task = StepTask {
            key,
            fence: Fence(1),
            pipeline: "p".into(),
            step_name: "s".into(),
            connector_type: "copy".into(),
            config: Arc::default(),
            credential: None,
            executor: ExecutorKind::InProcess,
            resources: None,
            checkpoint: None,
            deadline: Timestamp::from(chrono::Utc::now()),
            base_dir: None,
        };
        Flow::new(StepContext::new(ContextParts {
            task: Arc::new(task),
            artifacts: ArtifactStorage::memory().area(&key),
            events: mpsc::channel(8).0,
            cancellation: CancellationToken::new(),
        }))
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
    }

    fn batch(n: i64) -> RecordBatch {
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![n]))]).unwrap()
    }

    #[tokio::test]
    async fn a_source_is_never_more_than_a_few_batches_ahead() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let mut rows = produce(&flow(), schema(), move |emitter| {
            for n in 0..100 {
                counter.fetch_add(1, SeqCst);
                emitter.emit(batch(n))?;
            }
            Ok(())
        });
        // One batch is in the thread's hand while it waits for room.
        let full = timeout(PATIENCE, async {
            while made.load(SeqCst) <= BATCHES_AHEAD {
                tokio::task::yield_now().await;
            }
        });
        full.await.unwrap();
        for taken in 0.. {
            assert!(made.load(SeqCst) <= taken + BATCHES_AHEAD + 1);
            if rows.batches.next().await.is_none() {
                assert_eq!(taken, 100);
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_dropped_stream_ends_the_thread_that_fills_it() {
        let (sender, ended) = oneshot::channel();
        let rows = produce(&flow(), schema(), move |emitter| {
            let outcome = (0..).try_for_each(|n| emitter.emit(batch(n)));
            let _ = sender.send(());
            outcome
        });
        drop(rows);
        timeout(PATIENCE, ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end_of_the_rows() {
        let mut rows = produce(&flow(), schema(), |emitter| {
            emitter.emit(batch(1))?;
            panic!("a bug");
        });
        assert!(rows.batches.next().await.unwrap().is_ok());
        let error = rows.batches.next().await.unwrap().unwrap_err();
        assert!(
            error.message.contains("reading ended unexpectedly"),
            "{error}"
        );
        assert!(rows.batches.next().await.is_none());
    }
}
