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
