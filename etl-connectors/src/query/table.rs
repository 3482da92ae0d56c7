//! A source as a table.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use etl_core::model::StepError;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::fault::FirstFault;
use crate::flow::{Batches, Flow, Rows, Source};

/// The scans of one source. The first one reads what was opened for the columns, and counts; later ones, of a self-join say,
/// open the source again and count nothing, because its records are accounted for.
pub(super) struct Scan {
    source: Arc<dyn Source>,
    schema: SchemaRef,
    first: Mutex<Option<Batches>>,
    flow: Flow,
    first_fault: FirstFault,
}

impl Scan {
    pub(super) fn new(
        source: Arc<dyn Source>,
        rows: Rows,
        flow: Flow,
        first_fault: FirstFault,
    ) -> Self {
        Self {
            source,
            schema: rows.schema,
            first: Mutex::new(Some(rows.batches)),
            flow,
            first_fault,
        }
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let source = self.source.clone();
        let flow = self.flow.again();
        let expected = self.schema.clone();
        let batches = match first {
            Some(batches) => batches,
            None => stream::once(async move {
                let rows = source.open(&flow).await?;
                if rows.schema != expected {
                    return Err(StepError::transient(
                        "an input changed between two scans of one query",
                    ));
                }
                Ok(rows.batches)
            })
            .try_flatten()
            .boxed(),
        };
        let first_fault = self.first_fault.clone();
        let batches = batches.map_err(move |error| first_fault.keep(error));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}
