//! Metrics of a process that runs jobs: an [`Observer`](etl_core::contract::Observer) that counts, a store that is
//! [timed](Timed), and the text that Prometheus reads. It owns the names, labels and buckets; it never asks anybody anything.
//!
//! | name | kind | labels | of |
//! | --- | --- | --- | --- |
//! | `etl_jobs_total` | counter | `pipeline`, `status`, `trigger_type` | the process that made them end |
//! | `etl_steps_total` | counter | `connector`, `status` | the same |
//! | `etl_job_duration_seconds` | histogram | `pipeline` | the same; since the first claim |
//! | `etl_step_duration_seconds` | histogram | `connector` | the same; since the first attempt |
//! | `etl_active_jobs` | gauge | | this process |
//! | `etl_queue_depth` | gauge | | the deployment: each process says the same |
//! | `etl_workers_available` | gauge | | this process: 1 if it would take a job now |
//! | `etl_rows_processed_total`, `etl_bytes_transferred_total` | counter | `connector` | this process |
//! | `etl_step_retries_total` | counter | `connector` | this process |
//! | `etl_dead_letters_total` | counter | | this process |
//! | `etl_lease_lost_total` | counter | | this process |
//! | `etl_schedule_lag_seconds` | histogram | | this process |
//! | `etl_store_operation_seconds` | histogram | `operation` | this process |
//!
//! Sum all of them over the processes of a deployment but `etl_queue_depth`, of which the largest counts.

mod labels;
mod metrics;
mod timed;

pub use metrics::{CONTENT_TYPE, Gauges, Metrics};
pub use timed::Timed;
