-- Which jobs repeat a job: that one is kept as long as they are.
CREATE INDEX idx_jobs_retries ON job_executions (retry_of) WHERE retry_of IS NOT NULL;
