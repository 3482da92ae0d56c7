-- + When the job of the next fire is made: at `next_fire_at`, or later within the schedule's jitter. What `due` looks at.
ALTER TABLE schedules ADD COLUMN next_start_at TIMESTAMPTZ;
UPDATE schedules SET next_start_at = next_fire_at;
DROP INDEX idx_schedules_due;
CREATE INDEX idx_schedules_due ON schedules (next_start_at, pipeline_id) WHERE next_start_at IS NOT NULL;
