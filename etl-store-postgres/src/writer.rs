//! The writer of a process: a connection that writes in groups. Other processes have writers of their own; rows are locked in the
//! order of their ids, and what two of them can't both do is tried again.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{
    AdmitLogin, ChangeMfa, ClaimRequest, Claimed, CreateApiKey, CreateUser, CredentialWrite,
    EndSessions, FailToken, Fire, FireOutcome, Fired, ForgetEnded, LeaseState, LoginGate,
    LoginSucceeded, OpenSession, PutCredential, PutPipeline, PutToken, ReapRequest, RemoveUser,
    Reseal, RevokeApiKey, RevokeSession, RotateToken, SealAudit, SettleLetter, SettledHook,
    Submitted, TakeToken, TokenRotation, UpdateUser, UserCreated, UserWrite,
};
use etl_core::contract::{Clock, StoreErrorKind};
use etl_core::model::{
    ApiKey, Commit, JobId, JobStatus, LogLine, NewJob, OneTimeToken, PipelineRef, Session,
    Timestamp, TokenHash, User, Verdict,
};
use etl_store_sql::audit::Note;
use etl_store_sql::{Fault, PutOff, Result, Transactor, accounts, audit, dead_letters};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::catalog::{self, Documents, RemovePipeline};
use crate::credentials::{self, RemoveCredential};
use crate::lease::{self, CancelRequest, RenewRequest};
use crate::schedules::{self, PauseRequest};
use crate::{claim, commit, connect, journal, letters, put_off, submit};

/// How often a group is tried that another process's group got in the way of.
const TRIES: u32 = 5;

/// How long a group may take. A host that is gone says nothing at all, and all that is written waits for it; one that is there ends
/// each statement sooner (`statement_timeout`).
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);

/// The transaction that a group runs in.
pub(crate) struct Tx<'a> {
    /// Where statements run.
    pub(crate) conn: &'a mut PgConnection,
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
    options: PgConnectOptions,
    /// `None` after a failure that makes the connection doubtful: the next group opens a new one.
    conn: Option<PgConnection>,
    /// A clock to be followed in place of the database's own.
    clock: Option<Arc<dyn Clock>>,
    documents: Arc<Documents>,
}

impl Writer {
    pub(crate) fn new(
        options: PgConnectOptions,
        clock: Option<Arc<dyn Clock>>,
        documents: Arc<Documents>,
    ) -> Self {
        Self {
            options,
            conn: None,
            clock,
            documents,
        }
    }

    async fn try_transact(&mut self, group: &Group) -> Result<GroupAnswers> {
        if self.conn.is_none() {
            self.conn = Some(connect::writable(&self.options).await?);
        }
        // Taken out, so that whatever breaks off in between leaves no half a transaction to the next group (sqlx #4393).
        let Some(mut conn) = self.conn.take() else {
            return Err(Fault::new(StoreErrorKind::Unavailable));
        };
        let transact = transact(&mut conn, group, self.clock.as_deref(), &self.documents);
        let result = tokio::time::timeout(ANSWERED_WITHIN, transact)
            .await
            .unwrap_or_else(|_| {
                Err(Fault::said(
                    StoreErrorKind::OutcomeUnknown,
                    "the server does not answer in time",
                ))
            });
        if result.as_ref().err().is_none_or(Fault::is_of_one_request) {
            self.conn = Some(conn);
        }
        result
    }
}

async fn transact(
    conn: &mut PgConnection,
    group: &Group,
    clock: Option<&dyn Clock>,
    documents: &Arc<Documents>,
) -> Result<GroupAnswers> {
    let mut transaction = conn.begin().await?;
    let now = match clock {
        Some(clock) => clock.now(),
        None => connect::now(&mut transaction).await?,
    };
    let mut tx = Tx {
        conn: &mut transaction,
        now,
        documents: Arc::clone(documents),
    };
    let answers = match group.run(&mut tx).await {
        Ok(answers) => answers,
        Err(fault) => {
            if fault.is_of_one_request() || fault.is_conflict() {
                transaction.rollback().await?;
            }
            return Err(fault);
        }
    };
    transaction
        .commit()
        .await
        .map_err(|error| Fault::from(error).in_commit())?;
    Ok(answers)
}

impl Transactor for Writer {
    type Group = Group;

    async fn transact(&mut self, group: &Group) -> Result<GroupAnswers> {
        let mut tries = 1;
        loop {
            let result = self.try_transact(group).await;
            let Err(fault) = result else {
                return result;
            };
            self.documents.forget();
            if fault.is_conflict() && tries < TRIES {
                tries += 1;
                continue;
            }
            if !fault.is_of_one_request() {
                tracing::warn!(error = ?fault, "the database failed; connecting anew");
            }
            return Err(fault);
        }
    }

    async fn stop(&mut self) {
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.close().await
        {
            tracing::debug!(%error, "the connection did not close");
        }
    }
}
