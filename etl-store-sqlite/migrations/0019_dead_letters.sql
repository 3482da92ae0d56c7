-- + Dead letters by an id of their own, of a pipeline, and what became of them. The id is that of the step execution.
ALTER TABLE dead_letters ADD COLUMN id TEXT;
ALTER TABLE dead_letters ADD COLUMN pipeline_id TEXT;
ALTER TABLE dead_letters ADD COLUMN status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'requeued', 'discarded'));
ALTER TABLE dead_letters ADD COLUMN settled_at TEXT;
ALTER TABLE dead_letters ADD COLUMN settled_by TEXT;
ALTER TABLE dead_letters ADD COLUMN retry_job_id TEXT;
UPDATE dead_letters SET
    id = (SELECT s.id FROM step_executions s
        WHERE s.job_id = dead_letters.job_id AND s.order_index = dead_letters.order_index AND s.item_index = dead_letters.item_index),
    pipeline_id = (SELECT j.pipeline_id FROM job_executions j WHERE j.id = dead_letters.job_id);
CREATE UNIQUE INDEX idx_letters_id ON dead_letters (id);
CREATE INDEX idx_letters_created ON dead_letters (created_at, id);
CREATE INDEX idx_letters_status ON dead_letters (status, created_at, id);
CREATE INDEX idx_letters_pipeline ON dead_letters (pipeline_id, created_at, id);
