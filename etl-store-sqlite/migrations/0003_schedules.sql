-- + Schedules: one row for each pipeline that ever had one. The row outlives the schedule, because `rev` must not begin
-- anew: somebody may still want to fire under an old one.
CREATE TABLE schedules (
    pipeline_id TEXT NOT NULL PRIMARY KEY REFERENCES pipelines (id),
    is_there INTEGER NOT NULL CHECK (is_there IN (0, 1)),
    rev INTEGER NOT NULL CHECK (rev >= 1),                  -- raised by every change; the guard of every fire
    is_paused INTEGER NOT NULL DEFAULT 0 CHECK (is_paused IN (0, 1)),
    next_fire_at TEXT,                                      -- the first fire that was not decided yet
    last_fire_at TEXT,
    updated_at TEXT NOT NULL,
    CHECK (next_fire_at IS NULL OR (is_there AND NOT is_paused))
);
CREATE INDEX idx_schedules_due ON schedules (next_fire_at, pipeline_id) WHERE next_fire_at IS NOT NULL;

-- + The fires that were decided: each makes a job or says why not.
CREATE TABLE schedule_fires (
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id),
    nominal TEXT NOT NULL,                                  -- when it was due, by the schedule
    job_id TEXT,
    reason TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (pipeline_id, nominal),
    CHECK ((job_id IS NULL) <> (reason IS NULL))
) WITHOUT ROWID;
