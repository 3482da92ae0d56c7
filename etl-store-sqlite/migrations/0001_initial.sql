-- The tables of the embedded store. Names and columns are those of the reference schema; what was added is marked `+`.
--
-- Ids are UUIDs as hyphenated text and times are RFC 3339 in UTC with six decimals ("2013-01-01T10:00:00.000000Z"):
-- people open this file with `sqlite3`, SQLite's date functions read that form, and at a fixed width it sorts as the
-- times do. JSON is text. A status word moves only along the engine's own table of transitions; the triggers that see
-- to it are made from that table when the store opens, so they are not in this file.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
);

-- Pipelines: one row each, with the current version's document.
CREATE TABLE pipelines (
    id TEXT NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,                                -- +
    name TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),          -- +
    description TEXT,
    config TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(config)),
    schedule TEXT,
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    removed_at TEXT                                         -- + out of the list; versions and jobs stay
);
CREATE UNIQUE INDEX idx_pipelines_name ON pipelines (namespace, name);

-- + Every version that ever was. A version never changes, because jobs are pinned to it.
CREATE TABLE pipeline_versions (
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id),
    version INTEGER NOT NULL CHECK (version >= 1),
    document TEXT NOT NULL CHECK (json_valid(document)),
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (pipeline_id, version)
);

-- The steps of the current version.
CREATE TABLE pipeline_steps (
    id TEXT NOT NULL PRIMARY KEY,                           -- from the pipeline's id and the step's name: it outlives versions
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    connector_type TEXT NOT NULL,
    config TEXT NOT NULL DEFAULT '{}',
    dependencies TEXT NOT NULL DEFAULT '[]',                -- ids of pipeline_steps
    retry_count INTEGER NOT NULL DEFAULT 3,
    timeout_seconds INTEGER NOT NULL DEFAULT 3600,
    order_index INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX idx_pipeline_steps_order ON pipeline_steps (pipeline_id, order_index);

CREATE TABLE job_executions (
    id TEXT NOT NULL PRIMARY KEY,
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id),
    pipeline_version INTEGER NOT NULL,                      -- +
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'queued', 'running', 'success', 'failed', 'cancelled', 'timeout')),
    trigger_type TEXT NOT NULL,
    triggered_by TEXT NOT NULL,
    scheduled_for TEXT,                                     -- +
    parameters TEXT NOT NULL DEFAULT '{}',
    context TEXT NOT NULL DEFAULT '{}',
    priority INTEGER NOT NULL DEFAULT 5,                    -- +
    concurrency_limit INTEGER,                              -- + of the pinned version
    idempotency_key TEXT UNIQUE,                            -- +
    waiting_since TEXT NOT NULL,                            -- + when it was accepted or last handed back
    started_at TEXT,
    completed_at TEXT,
    duration_ms INTEGER,
    worker_id TEXT,
    fence INTEGER NOT NULL DEFAULT 0,                       -- + the last claim's number
    commit_seq INTEGER NOT NULL DEFAULT 0,                  -- + the last commit applied under that fence
    lease_expires_at TEXT,                                  -- +
    cancel_requested TEXT,                                  -- + why its end was asked for
    retry_of TEXT,                                          -- +
    retry_attempt INTEGER NOT NULL DEFAULT 0,
    rows_processed INTEGER NOT NULL DEFAULT 0,              -- +
    bytes_transferred INTEGER NOT NULL DEFAULT 0,           -- +
    error_message TEXT,
    error_stack TEXT,
    created_at TEXT NOT NULL,
    FOREIGN KEY (pipeline_id, pipeline_version) REFERENCES pipeline_versions (pipeline_id, version),
    CHECK ((status = 'running') = (lease_expires_at IS NOT NULL))
);
CREATE INDEX idx_jobs_status ON job_executions (status, created_at DESC, id DESC);
CREATE INDEX idx_jobs_pipeline ON job_executions (pipeline_id, created_at DESC, id DESC);
CREATE INDEX idx_jobs_created ON job_executions (created_at DESC, id DESC);
-- What the dispatcher and the claimers walk: in the order in which jobs are taken, and nothing but those that wait.
CREATE INDEX idx_jobs_pending ON job_executions (priority DESC, created_at, id, waiting_since) WHERE status = 'pending';
CREATE INDEX idx_jobs_waiting ON job_executions (priority DESC, created_at, id, pipeline_id, concurrency_limit)
    WHERE status IN ('pending', 'queued');
CREATE INDEX idx_jobs_leases ON job_executions (lease_expires_at, id) WHERE status = 'running';
CREATE INDEX idx_jobs_slots ON job_executions (pipeline_id) WHERE status = 'running';

CREATE TABLE step_executions (
    id TEXT NOT NULL PRIMARY KEY,                           -- from the job's id, order_index and item_index
    job_id TEXT NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    step_id TEXT NOT NULL,                                  -- in pipeline_steps, unless a later version dropped the step
    order_index INTEGER NOT NULL,                           -- + position in the document
    item_index INTEGER NOT NULL DEFAULT -1,                 -- + position in for_each; -1 for the step itself
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'retrying', 'success', 'failed', 'timeout', 'cancelled', 'skipped')),
    progress INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    attempt INTEGER NOT NULL DEFAULT 0,                     -- +
    lost INTEGER NOT NULL DEFAULT 0,                        -- +
    next_run_at TEXT,                                       -- +
    started_at TEXT,
    completed_at TEXT,
    duration_ms INTEGER,
    input_data TEXT,                                        -- the item, for an item
    output_data TEXT,
    items TEXT,                                             -- + what for_each gave, for a step that fanned out
    item_count INTEGER,                                     -- +
    artifacts TEXT,                                         -- +
    logs_url TEXT,
    artifacts_url TEXT,
    rows_processed INTEGER NOT NULL DEFAULT 0,              -- +
    bytes_transferred INTEGER NOT NULL DEFAULT 0,           -- +
    skip_reason TEXT,                                       -- +
    error_class TEXT,                                       -- +
    error_message TEXT,
    error_stack TEXT,                                       -- +
    metrics TEXT NOT NULL DEFAULT '{}',
    created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX idx_steps_job ON step_executions (job_id, order_index, item_index);
-- What a claim reads: of a job with 100,000 pending steps, the few that are past it.
CREATE INDEX idx_steps_begun ON step_executions (job_id, order_index, item_index) WHERE status <> 'pending';

-- + The last checkpoint of each step execution.
CREATE TABLE step_checkpoints (
    job_id TEXT NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    order_index INTEGER NOT NULL,
    item_index INTEGER NOT NULL DEFAULT -1,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (job_id, order_index, item_index)
);

-- + Steps that failed for good.
CREATE TABLE dead_letters (
    job_id TEXT NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    order_index INTEGER NOT NULL,
    item_index INTEGER NOT NULL DEFAULT -1,
    step_name TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error_class TEXT NOT NULL,
    error_message TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (job_id, order_index, item_index)
);

-- + What is to be done after a job's end, written with the end.
CREATE TABLE job_hooks (
    job_id TEXT NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('trigger_pipeline', 'webhook')),
    target TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    created_at TEXT NOT NULL,
    PRIMARY KEY (job_id, position)
);
CREATE INDEX idx_hooks_pending ON job_hooks (created_at) WHERE status = 'pending';

-- + The jobs' logs, each numbered from 1 without gaps.
CREATE TABLE job_logs (
    job_id TEXT NOT NULL REFERENCES job_executions (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    step TEXT,
    item_index INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    timestamp TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, seq)
) WITHOUT ROWID;

CREATE TABLE credentials (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    connector_type TEXT NOT NULL,
    encrypted_data BLOB NOT NULL,
    created_by TEXT REFERENCES users (id),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL,
    user_id TEXT REFERENCES users (id),
    action TEXT NOT NULL,
    resource_type TEXT,
    resource_id TEXT,
    old_value TEXT,
    new_value TEXT,
    ip_address TEXT,
    user_agent TEXT
);
CREATE INDEX idx_audit_timestamp ON audit_log (timestamp DESC);
