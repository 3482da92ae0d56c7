-- Credentials by namespace and name, sealed. The table was there before and nothing ever wrote to it, so it is made anew: a
-- name belongs to a namespace, and who made a credential is told as for pipelines.
DROP TABLE credentials;

CREATE TABLE credentials (
    id UUID NOT NULL PRIMARY KEY,
    namespace TEXT COLLATE "C" NOT NULL,                    -- +
    name TEXT COLLATE "C" NOT NULL,
    connector_type TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),           -- + how often it was sealed; the guard of every write
    key_id TEXT NOT NULL,                                   -- + the key that opens it
    encrypted_data BYTEA NOT NULL,                          -- sealed outside of the database: it never has a key
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX idx_credentials_name ON credentials (namespace, name);
