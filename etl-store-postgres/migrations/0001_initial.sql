-- The tables of the store for many processes. Names and columns are those of the reference schema; what was added is marked
-- `+`. A status word moves only along the engine's own table of transitions; the triggers that see to it are made from that
-- table when the store opens, so they are not in this file.

-- A time as the store reads it: RFC 3339 in UTC with six decimals.
CREATE FUNCTION etl_text(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURNS NULL ON NULL INPUT AS
$$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

CREATE TABLE users (
    id UUID NOT NULL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL
);

-- Pipelines: one row each, with the current version's document.
CREATE TABLE pipelines (
    id UUID NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,                                -- +
    name TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),          -- +
    description TEXT,
    config JSONB NOT NULL DEFAULT '{}',
    schedule TEXT,
    is_active BOOLEAN NOT NULL DEFAULT true,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    removed_at TIMESTAMPTZ                                         -- + out of the list; versions and jobs stay
);
CREATE UNIQUE INDEX idx_pipelines_name ON pipelines (namespace, name);

-- + Every version that ever was. A version never changes, because jobs are pinned to it.
CREATE TABLE pipeline_versions (
    pipeline_id UUID NOT NULL REFERENCES pipelines (id),
    version BIGINT NOT NULL CHECK (version >= 1),
    document JSONB NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (pipeline_id, version)
);

-- The steps of the current version.
CREATE TABLE pipeline_steps (
    id UUID NOT NULL PRIMARY KEY,                           -- from the pipeline's id and the step's name: it outlives versions
    pipeline_id UUID NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    connector_type TEXT NOT NULL,
    config JSONB NOT NULL DEFAULT '{}',
    dependencies UUID[] NOT NULL DEFAULT '{}',              -- ids of pipeline_steps
    retry_count BIGINT NOT NULL DEFAULT 3,
    timeout_seconds BIGINT NOT NULL DEFAULT 3600,
    order_index INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX idx_pipeline_steps_order ON pipeline_steps (pipeline_id, order_index);

CREATE TABLE job_executions (
    id UUID NOT NULL PRIMARY KEY,
    pipeline_id UUID NOT NULL REFERENCES pipelines (id),
    pipeline_version BIGINT NOT NULL,                      -- +
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'queued', 'running', 'success', 'failed', 'cancelled', 'timeout')),
    trigger_type TEXT NOT NULL,
    triggered_by TEXT NOT NULL,
    scheduled_for TIMESTAMPTZ,                                     -- +
    parameters JSONB NOT NULL DEFAULT '{}',
    context JSONB NOT NULL DEFAULT '{}',
    priority INTEGER NOT NULL DEFAULT 5,                    -- +
    concurrency_limit BIGINT,                              -- + of the pinned version
    idempotency_key TEXT UNIQUE,                            -- +
    waiting_since TIMESTAMPTZ NOT NULL,                            -- + when it was accepted or last handed back
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    duration_ms BIGINT,
    worker_id TEXT,
    fence BIGINT NOT NULL DEFAULT 0,                       -- + the last claim's number
    commit_seq BIGINT NOT NULL DEFAULT 0,                  -- + the last commit applied under that fence
    lease_expires_at TIMESTAMPTZ,                                  -- +
    cancel_requested TEXT,                                  -- + why its end was asked for
    retry_of UUID,                                          -- +
    retry_attempt BIGINT NOT NULL DEFAULT 0,
    rows_processed BIGINT NOT NULL DEFAULT 0,              -- +
    bytes_transferred BIGINT NOT NULL DEFAULT 0,           -- +
    error_message TEXT,
    error_stack TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    FOREIGN KEY (pipeline_id, pipeline_version) REFERENCES pipeline_versions (pipeline_id, version),
    CHECK ((status = 'running') = (lease_expires_at IS NOT NULL))
);
CREATE INDEX idx_jobs_status ON job_executions (status, created_at DESC, id DESC);
CREATE INDEX idx_jobs_pipeline ON job_executions (pipeline_id, created_at DESC, id DESC);
CREATE INDEX idx_jobs_created ON job_executions (created_at DESC, id DESC);
-- What the dispatcher and the claimers walk: in the order in which jobs are taken, and nothing but those that wait.
CREATE INDEX idx_jobs_pending ON job_executions (priority DESC, created_at, id) INCLUDE (waiting_since) WHERE status = 'pending';
CREATE INDEX idx_jobs_waiting ON job_executions (priority DESC, created_at, id) INCLUDE (pipeline_id, concurrency_limit)
    WHERE status IN ('pending', 'queued');
CREATE INDEX idx_jobs_leases ON job_executions (lease_expires_at, id) WHERE status = 'running';
CREATE INDEX idx_jobs_slots ON job_executions (pipeline_id) WHERE status IN ('pending', 'queued', 'running');

-- Rows of these tables are updated many times in a short life: room on the page lets that happen without touching indexes, and
-- dead versions are taken out early.
ALTER TABLE job_executions SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

CREATE TABLE step_executions (
    id UUID NOT NULL PRIMARY KEY,                           -- from the job's id, order_index and item_index
    job_id UUID NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    step_id UUID NOT NULL,                                  -- in pipeline_steps, unless a later version dropped the step
    order_index INTEGER NOT NULL,                           -- + position in the document
    item_index INTEGER NOT NULL DEFAULT -1,                 -- + position in for_each; -1 for the step itself
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'retrying', 'success', 'failed', 'timeout', 'cancelled', 'skipped')),
    progress INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    attempt INTEGER NOT NULL DEFAULT 0,                     -- +
    lost INTEGER NOT NULL DEFAULT 0,                        -- +
    next_run_at TIMESTAMPTZ,                                       -- +
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    duration_ms BIGINT,
    input_data JSONB,                                        -- the item, for an item
    output_data JSONB,
    items JSONB,                                             -- + what for_each gave, for a step that fanned out
    item_count INTEGER,                                     -- +
    artifacts JSONB,                                         -- +
    logs_url TEXT,
    artifacts_url TEXT,
    rows_processed BIGINT NOT NULL DEFAULT 0,              -- +
    bytes_transferred BIGINT NOT NULL DEFAULT 0,           -- +
    skip_reason TEXT,                                       -- +
    error_class TEXT,                                       -- +
    error_message TEXT,
    error_stack TEXT,                                       -- +
    metrics JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX idx_steps_job ON step_executions (job_id, order_index, item_index);
-- What a claim reads: of a job with 100,000 pending steps, the few that are past it.
CREATE INDEX idx_steps_begun ON step_executions (job_id, order_index, item_index) WHERE status <> 'pending';
ALTER TABLE step_executions SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- + The last checkpoint of each step execution.
CREATE TABLE step_checkpoints (
    job_id UUID NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    order_index INTEGER NOT NULL,
    item_index INTEGER NOT NULL DEFAULT -1,
    seq BIGINT NOT NULL,
    state JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (job_id, order_index, item_index)
);

-- + Steps that failed for good.
CREATE TABLE dead_letters (
    job_id UUID NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    order_index INTEGER NOT NULL,
    item_index INTEGER NOT NULL DEFAULT -1,
    step_name TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    error_class TEXT NOT NULL,
    error_message TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (job_id, order_index, item_index)
);

-- + What is to be done after a job's end, written with the end.
CREATE TABLE job_hooks (
    job_id UUID NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('trigger_pipeline', 'webhook')),
    target JSONB NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (job_id, position)
);
CREATE INDEX idx_hooks_pending ON job_hooks (created_at) WHERE status = 'pending';

-- + The jobs' logs, each numbered from 1 without gaps. Partitioned by the day on which lines were stored, so that old days are
-- dropped and not deleted row by row. `etl_log_days` sees to the partitions.
CREATE TABLE job_logs (
    job_id UUID NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    step TEXT,
    item_index BIGINT,
    attempt BIGINT NOT NULL DEFAULT 0,
    timestamp TIMESTAMPTZ NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    metadata JSONB NOT NULL DEFAULT '{}',
    logged_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, seq, logged_at)
) PARTITION BY RANGE (logged_at);
CREATE TABLE job_logs_other PARTITION OF job_logs DEFAULT;

-- Makes the partitions of today and of days to come, and drops those of days that are older than `keep` days. Answers how many
-- it dropped.
CREATE FUNCTION etl_log_days(ahead int, keep int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    day date;
    old record;
    dropped int := 0;
BEGIN
    FOR day IN SELECT generate_series(today, today + ahead, '1 day')::date LOOP
        IF to_regclass('job_logs_' || to_char(day, 'YYYYMMDD')) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF job_logs FOR VALUES FROM (%L) TO (%L)',
                    'job_logs_' || to_char(day, 'YYYYMMDD'), day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
            EXCEPTION
                -- Lines of that day are in the other partition already: they stay there.
                WHEN check_violation OR duplicate_table THEN NULL;
            END;
        END IF;
    END LOOP;
    FOR old IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'job_logs'::regclass AND c.relname ~ '^job_logs_[0-9]{8}$'
            AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - keep
    LOOP
        EXECUTE format('DROP TABLE %I', old.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
SELECT etl_log_days(2, 36500);

CREATE TABLE credentials (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    connector_type TEXT NOT NULL,
    encrypted_data BYTEA NOT NULL,
    created_by UUID REFERENCES users (id),
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    timestamp TIMESTAMPTZ NOT NULL,
    user_id UUID REFERENCES users (id),
    action TEXT NOT NULL,
    resource_type TEXT,
    resource_id TEXT,
    old_value JSONB,
    new_value JSONB,
    ip_address TEXT,
    user_agent TEXT
);
CREATE INDEX idx_audit_timestamp ON audit_log (timestamp DESC);
