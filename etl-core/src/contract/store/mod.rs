//! The store contract, split by who asks and not by table.

mod accounts;
mod audit;
pub mod audited;
mod catalog;
mod credentials;
mod error;
mod figures;
mod hooks;
mod jobs;
mod journal;
mod letters;
mod retention;
mod schedules;
pub mod way;

pub use accounts::{
    Accounts, AdmitLogin, ChangeMfa, CreateApiKey, CreateUser, EndSessions, FailToken, ForgetEnded,
    LoginGate, LoginSucceeded, MAX_TOKEN_DATA, OpenSession, Others, PutToken, RemoveUser,
    RevokeApiKey, RevokeSession, RotateToken, ServerStore, TakeToken, TokenRotation, UpdateUser,
    UserCreated, UserWrite,
};
pub use audit::{AuditLog, SealAudit};
pub use audited::Audited;
pub use catalog::{Catalog, PipelineFilter, PutPipeline, StoredPipeline};
pub use credentials::{CredentialStore, CredentialWrite, PutCredential, Reseal, SealedCredential};
pub use error::{Result, StoreError, StoreErrorKind};
pub use figures::Figures;
pub use hooks::{HookStore, SettledHook, WaitingHook};
pub use jobs::{ClaimRequest, Claimed, JobStore, LeaseState, ReapRequest, Submitted};
pub use journal::Journal;
pub use letters::{LetterStore, SettleLetter};
pub use retention::RetentionStore;
pub use schedules::{Due, Fire, FireOutcome, Fired, ScheduleStore};

/// What a deployment must not forget. Implemented for whatever has all the roles; never by hand.
///
/// # Contract
/// Between the runtime and a database. Conformance: `etl_core::store_conformance!`; the in-memory store is the reference.
pub trait Store:
    JobStore
    + Catalog
    + ScheduleStore
    + CredentialStore
    + HookStore
    + RetentionStore
    + Journal
    + Figures
{
}

impl<T> Store for T where
    T: JobStore
        + Catalog
        + ScheduleStore
        + CredentialStore
        + HookStore
        + RetentionStore
        + Journal
        + Figures
        + ?Sized
{
}
