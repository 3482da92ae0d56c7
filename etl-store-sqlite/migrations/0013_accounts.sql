-- Who may sign in, and what with. The table `users` was there before and nothing ever wrote to it. What somebody did stays known
-- when they are gone: a row of the audit log names its user and does not hold them.
CREATE TABLE audit_log_next (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL,
    user_id TEXT,
    action TEXT NOT NULL,
    resource_type TEXT,
    resource_id TEXT,
    old_value TEXT,
    new_value TEXT,
    ip_address TEXT,
    user_agent TEXT
);
INSERT INTO audit_log_next SELECT * FROM audit_log;
DROP TABLE audit_log;
ALTER TABLE audit_log_next RENAME TO audit_log;
CREATE INDEX idx_audit_timestamp ON audit_log (timestamp DESC);
DROP TABLE users;

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,                         -- the address without its capitals
    password_hash TEXT NOT NULL,                            -- PHC text
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    version INTEGER NOT NULL,                                -- the guard of the next edit
    epoch INTEGER NOT NULL,                                  -- what was handed out before it was raised counts no more
    failed_logins INTEGER NOT NULL,
    locked_until TEXT,
    last_login_at TEXT,
    mfa_sealed BLOB,                                       -- sealed outside of the database
    mfa_confirmed_at TEXT,
    mfa_last_step INTEGER,
    recovery_codes BLOB NOT NULL,                          -- SHA-256 hashes, one after the other
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_users_admins ON users (role) WHERE role = 'admin';

-- Sign-ins.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client TEXT NOT NULL,
    created_at TEXT NOT NULL,
    last_used_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    idle_at TEXT NOT NULL,
    revoked_at TEXT,
    ends_at TEXT NOT NULL                                 -- the first of the three, for who forgets what is over
) WITHOUT ROWID;
CREATE INDEX idx_sessions_user ON sessions (user_id, id);
CREATE INDEX idx_sessions_end ON sessions (ends_at);

-- Refresh tokens by their SHA-256. One of a session is good: the one that was not exchanged.
CREATE TABLE refresh_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    exchanged_at TEXT,
    successor BLOB
) WITHOUT ROWID;
CREATE INDEX idx_refresh_session ON refresh_tokens (session_id);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,                                   -- how it begins
    hash BLOB NOT NULL UNIQUE,                             -- SHA-256 of all of it
    scopes TEXT NOT NULL,                                   -- a JSON list
    expires_at TEXT,
    last_used_at TEXT,
    created_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_api_keys_user ON api_keys (user_id, id);

CREATE TABLE one_time_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    data TEXT NOT NULL,                                     -- JSON
    tries_left INTEGER NOT NULL,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_one_time_tokens_user ON one_time_tokens (user_id);
CREATE INDEX idx_one_time_tokens_end ON one_time_tokens (expires_at);
