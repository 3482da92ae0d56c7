//! How rows move from a source to a sink: two small contracts and what both share while a step runs.

mod blocking;
pub(crate) mod fault;
mod meter;
mod quarantine;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use etl_core::contract::StepContext;
use etl_core::model::{EffectClass, StepError};
use futures_util::stream::BoxStream;

pub(crate) use blocking::{Emitter, blocking, produce};
pub use meter::Meter;
pub use quarantine::{BadRecord, OnBadRecord, Quarantine, QuarantineLimit};

/// Batches of rows, one after the other. Nothing is read ahead of its consumer but a few batches.
pub type Batches = BoxStream<'static, Result<RecordBatch, StepError>>;

/// An opened source: what its rows look like, and the rows.
pub struct Rows {
    /// The columns. Every batch has exactly these.
    pub schema: SchemaRef,
    /// The rows. After an error nothing follows.
    pub batches: Batches,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Where rows come from.
///
/// # Contract
/// Between a kind of source and the steps that read from it.
///
/// - `open` MUST find out the columns and MUST NOT read more rows than that takes.
/// - It MUST be repeatable: a query may read a source more than once.
/// - Every record read, good or bad, MUST be counted in [`Flow::meter`]; a bad one MUST go to [`Flow::quarantine`].
/// - Memory MUST be bounded whatever the size of the source or of one record.
/// - Reading MUST stop within a second of cancellation, and when the stream is dropped.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Opens it: the columns, and a stream of rows.
    ///
    /// # Errors
    /// With the file, and the place in it where there is one.
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError>;
}

/// Where rows go.
///
/// # Contract
/// Between a kind of sink and the steps that write to it.
///
/// - `stage` MUST leave no trace that others can see; what it returns, dropped, MUST remove what it wrote.
/// - [`Staged::publish`] makes all of it visible in one act, or nothing.
/// - A repeated attempt of the same step execution MUST NOT leave a row twice.
#[async_trait]
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// How often its effect may happen.
    fn effects(&self) -> EffectClass;

    /// Writes all of `rows` where nobody sees them yet.
    ///
    /// # Errors
    /// Those of the rows, and its own.
    async fn stage(&self, rows: Rows, flow: &Flow) -> Result<Box<dyn Staged>, StepError>;
}

/// Rows that are written and not yet visible.
#[async_trait]
pub trait Staged: Send {
    /// Makes them visible, all at once.
    ///
    /// # Errors
    /// Then nothing of it is visible, unless the connection was lost while the target was saying yes.
    async fn publish(self: Box<Self>, flow: &Flow) -> Result<Loaded, StepError>;
}

/// What a sink wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Rows.
    pub rows: u64,
    /// Bytes, as they are at the target; 0 where it can't tell.
    pub bytes: u64,
    /// The names of what it wrote: paths, artifact URIs, tables.
    pub files: Vec<String>,
}

/// What source, query and sink of one running step share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The attempt.
    pub ctx: StepContext,
    /// What was read so far.
    pub meter: Arc<Meter>,
    /// Where bad records go.
    pub quarantine: Arc<Quarantine>,
}

impl Flow {
    /// A flow of this attempt with nothing read yet.
    pub fn new(ctx: StepContext) -> Self {
        Self {
            quarantine: Arc::new(Quarantine::new(&ctx)),
            meter: Arc::default(),
            ctx,
        }
    }

    /// The same attempt, counting apart: for reading a source again whose records are already accounted for.
    pub fn again(&self) -> Self {
        Self {
            ctx: self.ctx.clone(),
            meter: Arc::default(),
            quarantine: Arc::new(Quarantine::discarding(&self.ctx)),
        }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// If the attempt was cancelled.
    pub fn check(&self) -> Result<(), StepError> {
        if self.ctx.cancelled().is_cancelled() {
            Err(fault::cancelled())
        } else {
            Ok(())
        }
    }
}
