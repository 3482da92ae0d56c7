//! The statements, in the dialects of two databases.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Every statement about accounts.
        #[derive(Debug)]
        pub struct AccountsSql {
            $($(#[$doc])* pub $name: &'static str,)+
        }

        impl AccountsSql {
            /// All of them by name.
            pub fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

statements! {
    /// Lets nobody else change who administers, up to the end of the transaction.
    lock_users,
    /// Whether there is any user.
    any_user,
    /// A user.
    user,
    /// The same, which nobody else may change meanwhile.
    user_to_change,
    /// A user by the key of the address.
    user_by_email,
    /// Users after an id.
    users,
    /// How many others are active admins.
    other_admins,
    /// A new user.
    insert_user,
    /// All of a user.
    write_user,
    /// A user with all that is theirs.
    remove_user,
    /// The end of a user's sessions.
    revoke_sessions,
    /// The end of a user's one-time tokens.
    drop_tokens,
    /// A session.
    session,
    /// The same, which nobody else may change meanwhile.
    session_to_change,
    /// The sessions of a user.
    sessions,
    /// A new session.
    insert_session,
    /// What changes of a session.
    write_session,
    /// A refresh token.
    refresh,
    /// A new refresh token.
    insert_refresh,
    /// That a refresh token was exchanged.
    exchange_refresh,
    /// An API key by its hash.
    key,
    /// An API key by its id.
    key_by_id,
    /// The API keys of a user.
    keys,
    /// A new API key.
    insert_key,
    /// That an API key was used.
    note_key,
    /// An API key of a user goes.
    remove_key,
    /// A one-time token.
    token,
    /// The same, which nobody else may change meanwhile.
    token_to_change,
    /// A new one-time token.
    insert_token,
    /// How many tries a one-time token has left.
    write_token,
    /// A one-time token goes.
    remove_token,
    /// A one-time token that is good goes to who asks.
    take_token,
    /// One-time tokens that are over.
    forget_tokens,
    /// Sessions that are over.
    forget_sessions,
}

/// The statements in a dialect: casts of a text to an id and to a time, of an id to text, a function that makes a text of a time, what
/// locks rows that are read, and what locks all users.
#[macro_export]
macro_rules! accounts_sql {
    (uuid: $u:literal, time: $t:literal, text: $s:literal, format: $f:literal, lock: $l:literal, lock_users: $lock:literal $(,)?) => {
        $crate::AccountsSql {
            lock_users: $lock,
            any_user: "SELECT id FROM users LIMIT 1",
            user: concat!("SELECT ", $crate::accounts_sql!(@user $s, $f), " FROM users WHERE id = $1", $u),
            user_to_change: concat!("SELECT ", $crate::accounts_sql!(@user $s, $f), " FROM users WHERE id = $1", $u, $l),
            user_by_email: concat!("SELECT ", $crate::accounts_sql!(@user $s, $f), " FROM users WHERE email_key = $1"),
            users: concat!(
                "SELECT ", $crate::accounts_sql!(@user $s, $f), " FROM users WHERE id > $1", $u, " ORDER BY id LIMIT $2"
            ),
            other_admins: concat!(
                "SELECT count(*) FROM users WHERE role = 'admin' AND is_active AND id <> $1", $u
            ),
            insert_user: concat!(
                "INSERT INTO users (id, email, email_key, password_hash, role, is_active, version, epoch, failed_logins, locked_until, \
                 last_login_at, mfa_sealed, mfa_confirmed_at, mfa_last_step, recovery_codes, created_at, updated_at) \
                 VALUES ($1", $u, ", $2, $3, $4, $5, $6 > 0, $7, $8, $9, $10", $t, ", $11", $t, ", $12, $13", $t, ", $14, $15, $16",
                $t, ", $17", $t, ")"
            ),
            write_user: concat!(
                "UPDATE users SET email = $2, email_key = $3, password_hash = $4, role = $5, is_active = $6 > 0, version = $7, \
                 epoch = $8, failed_logins = $9, locked_until = $10", $t, ", last_login_at = $11", $t, ", mfa_sealed = $12, \
                 mfa_confirmed_at = $13", $t, ", mfa_last_step = $14, recovery_codes = $15, created_at = $16", $t,
                ", updated_at = $17", $t, " WHERE id = $1", $u
            ),
            remove_user: concat!("DELETE FROM users WHERE id = $1", $u),
            revoke_sessions: concat!(
                "UPDATE sessions SET revoked_at = $2", $t, ", ends_at = CASE WHEN ends_at < $2", $t, " THEN ends_at ELSE $2", $t,
                " END WHERE user_id = $1", $u, " AND revoked_at IS NULL"
            ),
            drop_tokens: concat!("DELETE FROM one_time_tokens WHERE user_id = $1", $u),
            session: concat!("SELECT ", $crate::accounts_sql!(@session $s, $f), " FROM sessions WHERE id = $1", $u),
            session_to_change: concat!(
                "SELECT ", $crate::accounts_sql!(@session $s, $f), " FROM sessions WHERE id = $1", $u, $l
            ),
            sessions: concat!(
                "SELECT ", $crate::accounts_sql!(@session $s, $f), " FROM sessions WHERE user_id = $1", $u, " ORDER BY id DESC"
            ),
            insert_session: concat!(
                "INSERT INTO sessions (id, user_id, client, created_at, last_used_at, expires_at, idle_at, ends_at) VALUES ($1", $u,
                ", $2", $u, ", $3, $4", $t, ", $5", $t, ", $6", $t, ", $7", $t, ", $8", $t, ")"
            ),
            write_session: concat!(
                "UPDATE sessions SET client = $2, last_used_at = $3", $t, ", idle_at = $4", $t, ", revoked_at = $5", $t,
                ", ends_at = $6", $t, " WHERE id = $1", $u
            ),
            refresh: concat!(
                "SELECT session_id", $s, ", ", $f, "(exchanged_at), successor FROM refresh_tokens WHERE hash = $1"
            ),
            insert_refresh: concat!("INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2", $u, ")"),
            exchange_refresh: concat!(
                "UPDATE refresh_tokens SET exchanged_at = $2", $t, ", successor = $3 WHERE hash = $1"
            ),
            key: concat!("SELECT ", $crate::accounts_sql!(@key $s, $f), " FROM api_keys WHERE hash = $1"),
            key_by_id: concat!("SELECT ", $crate::accounts_sql!(@key $s, $f), " FROM api_keys WHERE id = $1", $u),
            keys: concat!(
                "SELECT ", $crate::accounts_sql!(@key $s, $f), " FROM api_keys WHERE user_id = $1", $u, " ORDER BY id DESC"
            ),
            insert_key: concat!(
                "INSERT INTO api_keys (id, user_id, name, prefix, hash, scopes, expires_at, created_at) VALUES ($1", $u, ", $2", $u,
                ", $3, $4, $5, $6, $7", $t, ", $8", $t, ")"
            ),
            note_key: concat!("UPDATE api_keys SET last_used_at = $2", $t, " WHERE id = $1", $u),
            remove_key: concat!("DELETE FROM api_keys WHERE id = $1", $u, " AND user_id = $2", $u),
            token: concat!(
                "SELECT ", $crate::accounts_sql!(@token $s, $f), " FROM one_time_tokens WHERE hash = $1"
            ),
            token_to_change: concat!(
                "SELECT ", $crate::accounts_sql!(@token $s, $f), " FROM one_time_tokens WHERE hash = $1", $l
            ),
            insert_token: concat!(
                "INSERT INTO one_time_tokens (hash, purpose, user_id, data, tries_left, expires_at) VALUES ($1, $2, $3", $u,
                ", $4, $5, $6", $t, ")"
            ),
            write_token: "UPDATE one_time_tokens SET tries_left = $2 WHERE hash = $1",
            remove_token: "DELETE FROM one_time_tokens WHERE hash = $1",
            take_token: concat!(
                "DELETE FROM one_time_tokens WHERE hash = $1 AND purpose = $2 AND expires_at > $3", $t, " RETURNING ",
                $crate::accounts_sql!(@token $s, $f)
            ),
            forget_tokens: concat!("DELETE FROM one_time_tokens WHERE expires_at <= $1", $t),
            forget_sessions: concat!("DELETE FROM sessions WHERE ends_at <= $1", $t),
        }
    };
    (@user $s:literal, $f:literal) => {
        concat!(
            "id", $s, ", email, password_hash, role, CASE WHEN is_active THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END, version, \
             epoch, failed_logins, ", $f, "(locked_until), ", $f, "(last_login_at), mfa_sealed, ", $f, "(mfa_confirmed_at), \
             mfa_last_step, recovery_codes, ", $f, "(created_at), ", $f, "(updated_at)"
        )
    };
    (@session $s:literal, $f:literal) => {
        concat!(
            "id", $s, ", user_id", $s, ", client, ", $f, "(created_at), ", $f, "(last_used_at), ", $f, "(expires_at), ", $f,
            "(idle_at), ", $f, "(revoked_at)"
        )
    };
    (@key $s:literal, $f:literal) => {
        concat!(
            "id", $s, ", user_id", $s, ", name, prefix, hash, scopes, ", $f, "(expires_at), ", $f, "(last_used_at), ", $f,
            "(created_at)"
        )
    };
    (@token $s:literal, $f:literal) => {
        concat!("hash, purpose, user_id", $s, ", data, tries_left, ", $f, "(expires_at)")
    };
}
