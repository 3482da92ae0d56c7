-- + The tags of the job's pipeline version: workers may take only jobs with some.
ALTER TABLE job_executions ADD COLUMN tags TEXT[] NOT NULL DEFAULT '{}';
UPDATE job_executions j SET tags = ARRAY(SELECT jsonb_array_elements_text(v.document->'tags'))
FROM pipeline_versions v
WHERE v.pipeline_id = j.pipeline_id AND v.version = j.pipeline_version AND jsonb_typeof(v.document->'tags') = 'array'
    AND j.status IN ('pending', 'queued', 'running');

-- + Attempts that were given back by a worker that was told to stop: they count neither as failed nor as lost.
ALTER TABLE step_executions ADD COLUMN returned INTEGER NOT NULL DEFAULT 0;

-- + What became of a hook: 'pending' until it is 'done' or 'failed'.
ALTER TABLE job_hooks ADD COLUMN error TEXT;
ALTER TABLE job_hooks ADD COLUMN completed_at TIMESTAMPTZ;
DROP INDEX idx_hooks_pending;
CREATE INDEX idx_hooks_waiting ON job_hooks (kind, created_at, job_id, position) WHERE status = 'pending';
-- Nobody carried these out when they were new, and now it is too late.
UPDATE job_hooks SET status = 'failed', error = 'from before hooks were carried out'
WHERE status = 'pending' AND kind = 'trigger_pipeline';
