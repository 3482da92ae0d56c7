//! Which columns the readers of `etl-store-sql` are given, in their order.

/// The columns that [`job_record`] reads, of `job_executions j` and `pipelines p`.
macro_rules! job_columns {
    () => {
        "j.id, j.pipeline_id, p.name, p.namespace, j.pipeline_version, j.status, j.trigger_type, j.triggered_by, \
         j.scheduled_for, j.parameters, j.context, j.priority, j.started_at, j.completed_at, j.duration_ms, \
         j.worker_id, j.fence, j.lease_expires_at, j.retry_of, j.retry_attempt, j.cancel_requested, \
         j.rows_processed, j.bytes_transferred, j.error_message, j.error_stack, j.created_at, j.log_last_seq"
    };
}
pub(crate) use job_columns;

/// The columns that [`step_record`] reads, of `step_executions s`.
macro_rules! step_columns {
    () => {
        "s.order_index, s.item_index, s.status, s.attempt, s.lost, s.started_at, s.completed_at, s.duration_ms, \
         s.next_run_at, s.item_count, s.output_data, s.artifacts, s.rows_processed, s.bytes_transferred, s.metrics, \
         s.skip_reason, s.error_class, s.error_message, s.error_stack, s.id, s.step_id, s.progress, s.input_data, \
         s.logs_url, s.artifacts_url, s.created_at, s.returned"
    };
}
pub(crate) use step_columns;

/// The columns that [`log_line`] reads.
macro_rules! log_columns {
    () => {
        "seq, step, item_index, attempt, timestamp, level, message, metadata"
    };
}
pub(crate) use log_columns;
