-- + What became of the archive of a job's log: NULL until it is 'done' or 'failed: …'.
ALTER TABLE job_executions ADD COLUMN log_archive TEXT;
CREATE INDEX idx_jobs_unarchived ON job_executions (completed_at, id) WHERE completed_at IS NOT NULL AND log_archive IS NULL;
