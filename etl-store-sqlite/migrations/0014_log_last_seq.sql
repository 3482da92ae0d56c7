-- + The number of the last line of a job's log: the next is given under the lock of the row, and never one twice, also when lines
-- are gone.
ALTER TABLE job_executions ADD COLUMN log_last_seq INTEGER NOT NULL DEFAULT 0;
UPDATE job_executions SET log_last_seq = l.last
FROM (SELECT job_id, max(seq) AS last FROM job_logs GROUP BY job_id) l
WHERE job_executions.id = l.job_id;
