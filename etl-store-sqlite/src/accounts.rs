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

use crate::store::SqliteStore;

/// The one writer locks nothing else.
pub(crate) const SQL: AccountsSql = etl_store_sql::accounts_sql! {
    uuid: "",
    time: "",
    text: "",
    format: "",
    lock: "",
    lock_users: "SELECT 1",
};

etl_store_sql::accounts_store!(SqliteStore, ask_beside);
