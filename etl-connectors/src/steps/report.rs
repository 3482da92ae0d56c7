//! What a data step says while it runs and when it is done.

use std::time::Duration;

use etl_core::contract::Progress;
use etl_core::model::{Balance, Report, StepError};
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use tokio::time::Instant;

use crate::flow::{Flow, Rows, Sink, fault};

/// How often progress is told.
const EVERY: Duration = Duration::from_millis(200);

/// How many file names an output holds: it has a size limit, and a person reads fewer.
const MAX_FILES: usize = 1000;

/// The same rows, which stop at once on cancellation.
pub(super) fn stopping(rows: Rows, flow: &Flow) -> Rows {
    let cancelled = flow.ctx.cancelled().clone();
    let batches = stream::unfold(Some(rows.batches), move |batches| {
        let cancelled = cancelled.clone();
        async move {
            let mut batches = batches?;
            // The end of the stream must never be mistaken for the end of the rows, so a stop is an error.
            tokio::select! {
                biased;
                () = cancelled.cancelled() => Some((Err(fault::cancelled()), None)),
                batch = batches.next() => batch.map(|batch| (batch, Some(batches))),
            }
        }
    })
    .boxed();
    Rows {
        schema: rows.schema,
        batches,
    }
}

/// The same rows, which stop at once on cancellation and tell the step's progress as they pass.
pub(super) fn watched(rows: Rows, flow: &Flow) -> Rows {
    let rows = stopping(rows, flow);
    let flow = flow.clone();
    // The first rows are told of at once: something moves.
    let mut told: Option<Instant> = None;
    let mut passed = 0;
    let batches = rows
        .batches
        .inspect(move |batch| {
            passed += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
            if told.is_none_or(|told| told.elapsed() >= EVERY) {
                told = Some(Instant::now());
                flow.ctx.progress(Progress {
                    percent: flow.meter.percent(),
                    rows_processed: passed,
                    bytes_transferred: flow.meter.bytes_read(),
                    estimated_remaining: None,
                });
            }
        })
        .boxed();
    Rows {
        schema: rows.schema,
        batches,
    }
}

/// What the counts of a step say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Rows went straight from source to sink: what was read is loaded or quarantined.
    Direct,
    /// A query stood in between. What it left out, by a condition or by taking many rows together, counts as filtered; if it
    /// gave more rows than it got, no balance is claimed.
    Query,
    /// What was read is not known: no balance is claimed.
    LoadedOnly,
}

/// Loads rows into a sink and reports what came of it.
pub(super) async fn load(
    sink: &dyn Sink,
    rows: Rows,
    flow: &Flow,
    counts: Counts,
) -> Result<Report, StepError> {
    let staged = sink.stage(rows, flow).await?;
    // Whatever can fail comes before the rows become visible.
    flow.quarantine.publish(&flow.ctx).await?;
    let loaded = staged.publish(flow).await?;
    // Read in this order: a record is counted as read before it is counted as quarantined.
    let rows_quarantined = flow.quarantine.count();
    let rows_read = flow.meter.rows_read();
    let left = rows_read.checked_sub(rows_quarantined + loaded.rows);
    let rows_filtered = match counts {
        // Nothing may be missing here: a wrong sum is left for the engine to refuse.
        Counts::Direct => Some(0),
        Counts::Query => left,
        Counts::LoadedOnly => None,
    };
    let balance = rows_filtered.map(|rows_filtered| Balance {
        rows_read,
        rows_loaded: loaded.rows,
        rows_quarantined,
        rows_filtered,
    });
    flow.ctx.progress(Progress {
        percent: Some(100),
        rows_processed: loaded.rows,
        bytes_transferred: flow.meter.bytes_read().max(loaded.bytes),
        estimated_remaining: None,
    });
    let files = &loaded.files[..loaded.files.len().min(MAX_FILES)];
    let output = json!({
        "files": files,
        "files_total": loaded.files.len(),
        "rows_read": (counts != Counts::LoadedOnly).then_some(rows_read),
        "rows_loaded": loaded.rows,
        "rows_quarantined": rows_quarantined,
        "rows_filtered": rows_filtered,
        "bytes_read": flow.meter.bytes_read(),
        "bytes_written": loaded.bytes,
    });
    Ok(Report {
        rows_processed: loaded.rows,
        bytes_transferred: flow.meter.bytes_read().max(loaded.bytes),
        output,
        balance,
    })
}
