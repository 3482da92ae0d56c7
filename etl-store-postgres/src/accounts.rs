//! Users and what they sign in with: the dialect. The rest is `etl_store_sql::accounts`.

use etl_core::contract::store::{
    AdmitLogin, ChangeMfa, CreateApiKey, CreateUser, EndSessions, FailToken, ForgetEnded,
    LoginGate, LoginSucceeded, OpenSession, PutToken, RemoveUser, Result as StoreResult,
    RevokeApiKey, RevokeSession, RotateToken, TakeToken, TokenRotation, UpdateUser, UserCreated,
    UserWrite,
};
use etl_core::model::{
    ApiKey, OneTimeToken, Page, PageRequest, Purpose, Session, TokenHash, User, UserId,
};
use etl_store_sql::{AccountsSql, accounts};

use crate::store::PostgresStore;

/// Who administers is changed by one transaction at a time. The number is this store's own for it.
pub(crate) const SQL: AccountsSql = etl_store_sql::accounts_sql! {
    uuid: "::uuid",
    time: "::timestamptz",
    text: "::text",
    format: "etl_text",
    lock: " FOR UPDATE",
    lock_users: "SELECT pg_advisory_xact_lock(hashtext(current_schema()), 7301)",
};

etl_store_sql::accounts_store!(PostgresStore, ask);
