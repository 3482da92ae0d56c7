//! Which columns the readers of `etl-store-sql` are given, in their order.

/// The columns that [`job_record`] reads, of `job_executions j` and `pipelines p`.
macro_rules! job_columns {
    () => {
        "j.id::text, j.pipeline_id::text, p.name, p.namespace, j.pipeline_version, j.status, j.trigger_type, j.triggered_by, \
         etl_text(j.scheduled_for), j.parameters::text, j.context::text, j.priority::bigint, etl_text(j.started_at), \
         etl_text(j.completed_at), j.duration_ms, j.worker_id, j.fence, etl_text(j.lease_expires_at), j.retry_of::text, \
         j.retry_attempt, j.cancel_requested, j.rows_processed, j.bytes_transferred, j.error_message, j.error_stack, \
         etl_text(j.created_at), j.log_last_seq"
    };
}
pub(crate) use job_columns;

/// The columns that [`step_record`] reads, of `step_executions s`.
macro_rules! step_columns {
    () => {
        "s.order_index::bigint, s.item_index::bigint, s.status, s.attempt::bigint, s.lost::bigint, etl_text(s.started_at), \
         etl_text(s.completed_at), s.duration_ms, etl_text(s.next_run_at), s.item_count::bigint, s.output_data::text, \
         s.artifacts::text, s.rows_processed, s.bytes_transferred, s.metrics::text, s.skip_reason, s.error_class, \
         s.error_message, s.error_stack, s.id::text, s.step_id::text, s.progress::bigint, s.input_data::text, s.logs_url, \
         s.artifacts_url, etl_text(s.created_at), s.returned::bigint"
    };
}
pub(crate) use step_columns;

/// The columns that [`log_line`] reads.
macro_rules! log_columns {
    () => {
        "seq, step, item_index, attempt, etl_text(timestamp), level, message, metadata::text"
    };
}
pub(crate) use log_columns;
