-- Credentials by namespace and name, sealed. The table was there before and nothing ever wrote to it, so it is made anew: a
-- name belongs to a namespace, and who made a credential is told as for pipelines.
DROP TABLE credentials;

CREATE TABLE credentials (
    id TEXT NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,                                -- +
    name TEXT NOT NULL,
    connector_type TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),          -- + how often it was sealed; the guard of every write
    key_id TEXT NOT NULL,                                   -- + the key that opens it
    encrypted_data BLOB NOT NULL,                           -- sealed outside of the database: it never has a key
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX idx_credentials_name ON credentials (namespace, name);
