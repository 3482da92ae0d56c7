-- Who may sign in, and what with. The table `users` was there before and nothing ever wrote to it. What somebody did stays known
-- when they are gone: a row of the audit log names its user and does not hold them.
ALTER TABLE audit_log DROP CONSTRAINT audit_log_user_id_fkey;
DROP TABLE users;

CREATE TABLE users (
    id UUID NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,                         -- the address without its capitals
    password_hash TEXT NOT NULL,                            -- PHC text
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    is_active BOOLEAN NOT NULL,
    version BIGINT NOT NULL,                                -- the guard of the next edit
    epoch BIGINT NOT NULL,                                  -- what was handed out before it was raised counts no more
    failed_logins BIGINT NOT NULL,
    locked_until TIMESTAMPTZ,
    last_login_at TIMESTAMPTZ,
    mfa_sealed BYTEA,                                       -- sealed outside of the database
    mfa_confirmed_at TIMESTAMPTZ,
    mfa_last_step BIGINT,
    recovery_codes BYTEA NOT NULL,                          -- SHA-256 hashes, one after the other
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX idx_users_admins ON users (role) WHERE role = 'admin';

-- Sign-ins.
CREATE TABLE sessions (
    id UUID NOT NULL PRIMARY KEY,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    idle_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    ends_at TIMESTAMPTZ NOT NULL                                 -- the first of the three, for who forgets what is over
);
CREATE INDEX idx_sessions_user ON sessions (user_id, id);
CREATE INDEX idx_sessions_end ON sessions (ends_at);

-- Refresh tokens by their SHA-256. One of a session is good: the one that was not exchanged.
CREATE TABLE refresh_tokens (
    hash BYTEA NOT NULL PRIMARY KEY,
    session_id UUID NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    exchanged_at TIMESTAMPTZ,
    successor BYTEA
);
CREATE INDEX idx_refresh_session ON refresh_tokens (session_id);

CREATE TABLE api_keys (
    id UUID NOT NULL PRIMARY KEY,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,                                   -- how it begins
    hash BYTEA NOT NULL UNIQUE,                             -- SHA-256 of all of it
    scopes TEXT NOT NULL,                                   -- a JSON list
    expires_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX idx_api_keys_user ON api_keys (user_id, id);

CREATE TABLE one_time_tokens (
    hash BYTEA NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    user_id UUID REFERENCES users (id) ON DELETE CASCADE,
    data TEXT NOT NULL,                                     -- JSON
    tries_left BIGINT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX idx_one_time_tokens_user ON one_time_tokens (user_id);
CREATE INDEX idx_one_time_tokens_end ON one_time_tokens (expires_at);
