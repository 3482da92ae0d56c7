//! The one writer: it owns the connection that writes.

use std::sync::Arc;

use etl_core::contract::Clock;
use etl_core::contract::store::{
    AdmitLogin, ChangeMfa, ClaimRequest, Claimed, CreateApiKey, CreateUser, CredentialWrite,
    EndSessions, FailToken, Fire, FireOutcome, Fired, ForgetEnded, LeaseState, LoginGate,
    LoginSucceeded, OpenSession, PutCredential, PutPipeline, PutToken, ReapRequest, RemoveUser,
    Reseal, RevokeApiKey, RevokeSession, RotateToken, SealAudit, SettleLetter, SettledHook,
    Submitted, TakeToken, TokenRotation, UpdateUser, UserCreated, UserWrite,
};
use etl_core::model::{
    ApiKey, Commit, JobId, JobStatus, LogLine, NewJob, OneTimeToken, PipelineRef, Session,
    Timestamp, TokenHash, User, Verdict,
};
use etl_store_sql::audit::Note;
use etl_store_sql::{Fault, PutOff, Result, Transactor, accounts, audit, dead_letters};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::catalog::{self, Documents, RemovePipeline};
use crate::credentials::{self, RemoveCredential};
use crate::lease::{self, CancelRequest, RenewRequest};
use crate::lock::ServerLock;
use crate::log_days::{self, DropLines};
use crate::retention::{self, ForgetJobs, LogArchived};
use crate::schedules::{self, PauseRequest};
use crate::{claim, commit, journal, letters, put_off, submit};

/// The transaction that a group runs in.
pub(crate) struct Tx<'a> {
    /// Where statements run.
    pub(crate) conn: &'a mut SqliteConnection,
    /// The store's time, one reading for the whole group.
    pub(crate) now: Timestamp,
    /// Documents that were read before.
    pub(crate) documents: Arc<Documents>,
}

etl_store_sql::requests! {
    Tx;
    puts: PutPipeline => PipelineRef, "put_pipeline", catalog::put, |put| put.document.steps.len(), noted;
    removals: RemovePipeline => bool, "remove_pipeline", catalog::remove, |_| 1, noted;
    secrets: PutCredential => CredentialWrite, "put_credential", credentials::put, |_| 1, noted;
    reseals: Reseal => CredentialWrite, "reseal_credential", credentials::reseal, |_| 1;
    forgotten: RemoveCredential => bool, "remove_credential", credentials::remove, |_| 1, noted;
    pauses: PauseRequest => (), "pause", schedules::pause, |_| 1, noted;
    fires: Fire => Fired, "fire", schedules::fire, fire_rows;
    settlements: SettledHook => (), "settle_hook", letters::settle, |_| 1;
    unreadable: PutOff => (), "put_off", put_off::put_off, |rows| rows.schedules.len() + rows.hooks.len();
    submissions: NewJob => Submitted, "submit", submit::submit, |job| job.document.steps.len() + job.taken_over.len(), noted;
    cancellations: CancelRequest => JobStatus, "cancel", lease::cancel, |_| 1, noted;
    dispatches: Vec<JobId> => (), "dispatched", submit::dispatched, Vec::len;
    commits: Vec<Commit> => Vec<Verdict>, "commit", commit::commit, commit_rows;
    renewals: RenewRequest => Vec<LeaseState>, "renew", lease::renew, |renewal| renewal.leases.len();
    reaps: ReapRequest => Vec<JobId>, "reap", lease::reap, |_| 1;
    claims: ClaimRequest => Vec<Claimed>, "claim", claim::claim, |_| 1;
    archived: LogArchived => (), "log_archived", retention::archived, |_| 1;
    forgotten_jobs: ForgetJobs => u64, "forget_jobs", retention::forget, |_| retention::BATCH * 100;
    forgotten_lines: DropLines => u64, "log days", log_days::drop_lines, |_| log_days::BATCH as usize;
    users_made: CreateUser => UserCreated, "create_user", accounts::create_user, |_| 1, noted;
    users_edited: UpdateUser => UserWrite, "update_user", accounts::update_user, |_| 1, noted;
    users_removed: RemoveUser => UserWrite, "remove_user", accounts::remove_user, |_| 1, noted;
    sessions_ended: EndSessions => bool, "end_sessions", accounts::end_sessions, |_| 1, noted;
    logins: AdmitLogin => LoginGate, "admit_login", accounts::admit_login, |_| 1;
    logins_succeeded: LoginSucceeded => bool, "login_succeeded", accounts::login_succeeded, |_| 1;
    factors: ChangeMfa => bool, "change_mfa", accounts::change_mfa, |_| 1, noted;
    sessions_opened: OpenSession => Option<Session>, "open_session", accounts::open_session, |_| 1, noted;
    rotations: RotateToken => TokenRotation, "rotate_token", accounts::rotate_token, |_| 1;
    sessions_revoked: RevokeSession => bool, "revoke_session", accounts::revoke_session, |_| 1, noted;
    keys_made: CreateApiKey => Option<ApiKey>, "create_api_key", accounts::create_api_key, |_| 1, noted;
    keys_used: TokenHash => Option<(ApiKey, User)>, "use_api_key", accounts::use_api_key, |_| 1;
    keys_revoked: RevokeApiKey => bool, "revoke_api_key", accounts::revoke_api_key, |_| 1, noted;
    tokens_put: PutToken => bool, "put_token", accounts::put_token, |_| 1;
    tokens_taken: TakeToken => Option<OneTimeToken>, "take_token", accounts::take_token, |_| 1;
    tokens_failed: FailToken => Option<u32>, "fail_token", accounts::fail_token, |_| 1;
    ended: ForgetEnded => u64, "forget_ended", accounts::forget_ended, |_| 1;
    letters_settled: SettleLetter => bool, "settle_letter", dead_letters::settle, |_| 1, noted;
    notes: Note => (), "note", audit::note, |_| 1;
    seals: SealAudit => bool, "seal", audit::seal, |seal| seal.rows.len();
    appends: Vec<LogLine> => (), "append", journal::append, Vec::len;
}

/// About how many rows commits write.
#[allow(clippy::ptr_arg, reason = "what a request is")]
fn commit_rows(batch: &Vec<Commit>) -> usize {
    let rows = batch.iter();
    rows.map(|commit| commit.changes.len() + commit.lines.len())
        .sum()
}

/// About how many rows a fire writes.
fn fire_rows(fire: &Fire) -> usize {
    match &fire.outcome {
        FireOutcome::Job(job) => job.document.steps.len() + 3,
        FireOutcome::Skipped(_) => 2,
    }
}

/// The writer's own state.
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    /// `None` after a failure that makes the connection doubtful: the next group opens a new one.
    conn: Option<SqliteConnection>,
    clock: Arc<dyn Clock>,
    documents: Arc<Documents>,
    /// Held as long as somebody could write. Without it another process is the database's server.
    lock: Option<ServerLock>,
}

impl Writer {
    pub(crate) fn new(
        options: SqliteConnectOptions,
        conn: SqliteConnection,
        clock: Arc<dyn Clock>,
        documents: Arc<Documents>,
        lock: Option<ServerLock>,
    ) -> Self {
        Self {
            options,
            conn: Some(conn),
            clock,
            documents,
            lock,
        }
    }

    async fn try_transact(&mut self, group: &Group) -> Result<GroupAnswers> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            None => self.conn.insert(self.options.connect().await?),
        };
        // IMMEDIATE: a canceller in another process may be writing; a read that turns into a write could not wait for it.
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
        let mut tx = Tx {
            conn: &mut transaction,
            now: self.clock.now(),
            documents: self.documents.clone(),
        };
        // On an error the transaction rolls back as it is dropped.
        let answers = group.run(&mut tx).await?;
        transaction
            .commit()
            .await
            .map_err(|error| Fault::from(error).in_commit())?;
        Ok(answers)
    }
}

impl Transactor for Writer {
    type Group = Group;

    async fn transact(&mut self, group: &Group) -> Result<GroupAnswers> {
        let result = self.try_transact(group).await;
        if let Err(fault) = &result {
            self.documents.forget();
            if !fault.is_of_one_request() {
                tracing::warn!(error = ?fault, "the database failed; connecting anew");
                self.conn = None;
            }
        }
        result
    }

    /// Leaves the database as one file, without a log to go through at the next start.
    async fn stop(&mut self) {
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        if self.lock.is_some() {
            let checkpoint = sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn);
            if let Err(error) = checkpoint.await {
                tracing::warn!(%error, "the log of the database was not folded in at the end");
            }
        }
        if let Err(error) = conn.close().await {
            tracing::warn!(%error, "the database did not close");
        }
    }
}

#[cfg(test)]
mod tests;
