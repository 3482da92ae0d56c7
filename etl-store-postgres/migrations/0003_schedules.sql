-- + Schedules: one row for each pipeline that ever had one. The row outlives the schedule, because `rev` must not begin
-- anew: somebody may still want to fire under an old one.
CREATE TABLE schedules (
    pipeline_id UUID NOT NULL PRIMARY KEY REFERENCES pipelines (id),
    is_there BOOLEAN NOT NULL,
    rev BIGINT NOT NULL CHECK (rev >= 1),                  -- raised by every change; the guard of every fire
    is_paused BOOLEAN NOT NULL DEFAULT false,
    next_fire_at TIMESTAMPTZ,                                      -- the first fire that was not decided yet
    last_fire_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL,
    CHECK (next_fire_at IS NULL OR (is_there AND NOT is_paused))
);
CREATE INDEX idx_schedules_due ON schedules (next_fire_at, pipeline_id) WHERE next_fire_at IS NOT NULL;

-- + The fires that were decided: each makes a job or says why not.
CREATE TABLE schedule_fires (
    pipeline_id UUID NOT NULL REFERENCES pipelines (id),
    nominal TIMESTAMPTZ NOT NULL,                                  -- when it was due, by the schedule
    job_id UUID,
    reason TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (pipeline_id, nominal),
    CHECK ((job_id IS NULL) <> (reason IS NULL))
);
