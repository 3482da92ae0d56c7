//! The one writer: it owns the connection that writes, and turns whatever waits into one durable transaction.
//!
//! While a transaction is being made durable the next requests pile up; they become the next transaction together. So
//! many callers share one `fsync`, and a lone caller waits for no timer. Requests of one group are all in flight at the
//! same time, so they may be taken in any order: they are taken by kind, each kind with a few statements over all its
//! requests. Callers wait on a channel of their own; dropping one disturbs nothing (sqlx #4393).

use std::sync::Arc;

use etl_core::contract::store::{ClaimRequest, Claimed, Fire, Fired, LeaseState, PutPipeline};
use etl_core::contract::store::{FireOutcome, ReapRequest, Result as StoreResult, Submitted};
use etl_core::contract::{Clock, StoreErrorKind};
use etl_core::model::{Commit, JobId, JobStatus, LogLine, NewJob, PipelineRef, Timestamp, Verdict};
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{self, Documents, RemovePipeline};
use crate::error::{Fault, Result};
use crate::lease::{self, CancelRequest, RenewRequest};
use crate::lock::ServerLock;
use crate::schedules::{self, PauseRequest};
use crate::{claim, commit, journal, submit};

/// How many requests may wait before a caller waits for room, and how many one transaction takes at most.
const GROUP: usize = 1024;

/// How many rows the requests of one transaction write at most together: a thousand jobs of 100,000 steps are accepted one
/// after the other, and not from 10 GB of parameters. A request by itself may write more.
const ROWS: usize = 50_000;

/// A request with the way back to who made it.
#[derive(Debug)]
pub(crate) struct Call<I, O> {
    input: I,
    reply: oneshot::Sender<StoreResult<O>>,
}

/// The transaction that a group runs in.
pub(crate) struct Tx<'a> {
    /// Where statements run.
    pub(crate) conn: &'a mut SqliteConnection,
    /// The store's time, one reading for the whole group.
    pub(crate) now: Timestamp,
    /// Documents that were read before.
    pub(crate) documents: Arc<Documents>,
}

/// Answers of the requests of one kind, in their order: a refusal concerns one request and has changed nothing.
pub(crate) type Answers<O> = Vec<Result<O>>;

/// One line per kind of request, in the order in which a group takes them: what makes work for others comes first, and
/// a lease is renewed before it could be taken away.
macro_rules! requests {
    ($($kind:ident: $input:ty => $output:ty, $op:literal, $run:path, $rows:expr;)+) => {
        /// Requests that one transaction takes, by kind.
        #[derive(Debug, Default)]
        pub(crate) struct Group {
            /// About how many rows they write.
            rows: usize,
            $($kind: Vec<Call<$input, $output>>,)+
        }

        #[derive(Default)]
        struct GroupAnswers {
            $($kind: Answers<$output>,)+
        }

        $(impl Request for $input {
            type Output = $output;
            const OP: &'static str = $op;

            fn into_group(self, reply: oneshot::Sender<StoreResult<Self::Output>>) -> Group {
                let rows: fn(&Self) -> usize = $rows;
                Group { rows: rows(&self), $kind: vec![Call { input: self, reply }], ..Group::default() }
            }
        })+

        impl Group {
            /// Whether a transaction of these takes those as well.
            fn has_room_for(&self, other: &Self) -> bool {
                self.len() == 0 || self.rows + other.rows <= ROWS
            }

            fn absorb(&mut self, other: Self) {
                self.rows += other.rows;
                $(self.$kind.extend(other.$kind);)+
            }

            fn len(&self) -> usize {
                0 $(+ self.$kind.len())+
            }

            /// Groups of one request each.
            fn split(self) -> Vec<Self> {
                let mut singles = Vec::with_capacity(self.len());
                $(for call in self.$kind {
                    singles.push(Self { $kind: vec![call], ..Self::default() });
                })+
                singles
            }

            async fn run(&self, tx: &mut Tx<'_>) -> Result<GroupAnswers> {
                let mut answers = GroupAnswers::default();
                $(if !self.$kind.is_empty() {
                    let inputs: Vec<&$input> = self.$kind.iter().map(|call| &call.input).collect();
                    // Boxed: the compiler does not see through so many borrows that the whole is `Send`.
                    let run: BoxFuture<'_, Result<Answers<$output>>> = Box::pin($run(tx, &inputs));
                    answers.$kind = run.await?;
                })+
                Ok(answers)
            }

            // A caller that has gone wants no answer: a failed send is not an error.
            fn answer(self, answers: GroupAnswers) {
                $(for (call, answer) in self.$kind.into_iter().zip(answers.$kind) {
                    let _ = call.reply.send(answer.map_err(|fault| fault.of($op)));
                })+
            }

            fn fail(self, fault: &Fault) {
                $(for call in self.$kind {
                    let _ = call.reply.send(Err(fault.clone().of($op)));
                })+
            }
        }
    };
}

/// What the writer can be asked for.
pub(crate) trait Request {
    type Output;
    /// The operation's name in errors.
    const OP: &'static str;
    fn into_group(self, reply: oneshot::Sender<StoreResult<Self::Output>>) -> Group;
}

requests! {
    puts: PutPipeline => PipelineRef, "put_pipeline", catalog::put, |put| put.document.steps.len();
    removals: RemovePipeline => bool, "remove_pipeline", catalog::remove, |_| 1;
    pauses: PauseRequest => (), "pause", schedules::pause, |_| 1;
    fires: Fire => Fired, "fire", schedules::fire, fire_rows;
    submissions: NewJob => Submitted, "submit", submit::submit, |job| job.document.steps.len() + job.taken_over.len();
    cancellations: CancelRequest => JobStatus, "cancel", lease::cancel, |_| 1;
    dispatches: Vec<JobId> => (), "dispatched", submit::dispatched, Vec::len;
    commits: Vec<Commit> => Vec<Verdict>, "commit", commit::commit, |batch| batch.iter().map(|commit| commit.changes.len()).sum();
    renewals: RenewRequest => Vec<LeaseState>, "renew", lease::renew, |renewal| renewal.leases.len();
    reaps: ReapRequest => Vec<JobId>, "reap", lease::reap, |_| 1;
    claims: ClaimRequest => Vec<Claimed>, "claim", claim::claim, |_| 1;
    appends: Vec<LogLine> => (), "append", journal::append, Vec::len;
}

/// About how many rows a fire writes.
fn fire_rows(fire: &Fire) -> usize {
    match &fire.outcome {
        FireOutcome::Job(job) => job.document.steps.len() + 3,
        FireOutcome::Skipped(_) => 2,
    }
}

/// What comes over the channel.
#[derive(Debug)]
pub(crate) enum Message {
    Work(Box<Group>),
    /// Finish what waits, and stop.
    Close(oneshot::Sender<()>),
}

/// The way to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WriterHandle {
    messages: mpsc::Sender<Message>,
}

impl WriterHandle {
    pub(crate) async fn ask<R: Request>(&self, request: R) -> StoreResult<R::Output> {
        let (reply, answer) = oneshot::channel();
        let group = Box::new(request.into_group(reply));
        if self.messages.send(Message::Work(group)).await.is_err() {
            return Err(closed().of(R::OP));
        }
        // No answer at all: the runtime went down with the writer in it.
        answer
            .await
            .unwrap_or_else(|_| Err(Fault::new(StoreErrorKind::OutcomeUnknown).of(R::OP)))
    }

    /// Returns when everything asked before is answered and the writer has stopped.
    pub(crate) async fn close(&self) {
        let (done, stopped) = oneshot::channel();
        if self.messages.send(Message::Close(done)).await.is_ok() {
            let _ = stopped.await;
        } else {
            // Somebody else closes it; it has let go of everything when the channel is.
            self.messages.closed().await;
        }
    }
}

fn closed() -> Fault {
    Fault::said(StoreErrorKind::Unavailable, "the store is closed")
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

    /// Starts the writer on the current runtime; it ends with `close`, or when the last handle is gone.
    pub(crate) fn start(self) -> WriterHandle {
        let (messages, inbox) = mpsc::channel(GROUP);
        tokio::spawn(self.serve(inbox));
        WriterHandle { messages }
    }

    async fn serve(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut waiting = Vec::with_capacity(GROUP);
        let mut closers = Vec::new();
        while inbox.recv_many(&mut waiting, GROUP).await > 0 {
            let mut group = Group::default();
            for message in waiting.drain(..) {
                match message {
                    Message::Work(work) => {
                        if !group.has_room_for(&work) {
                            self.take(std::mem::take(&mut group)).await;
                        }
                        group.absorb(*work);
                    }
                    Message::Close(done) => {
                        // What is already in the channel is still taken.
                        inbox.close();
                        closers.push(done);
                    }
                }
            }
            self.take(group).await;
        }
        self.stop().await;
        // The lock is given back before anybody is told.
        drop(self);
        for done in closers {
            let _ = done.send(());
        }
    }

    /// Runs a group and answers it. If one request breaks it, nothing of it has happened, and each is run by itself.
    async fn take(&mut self, group: Group) {
        match self.transact(&group).await {
            Ok(answers) => group.answer(answers),
            Err(fault) if group.len() > 1 && is_one_requests_fault(fault.kind) => {
                for single in group.split() {
                    match self.transact(&single).await {
                        Ok(answers) => single.answer(answers),
                        Err(fault) => single.fail(&fault),
                    }
                }
            }
            Err(fault) => group.fail(&fault),
        }
    }

    async fn transact(&mut self, group: &Group) -> Result<GroupAnswers> {
        if group.len() == 0 {
            return Ok(GroupAnswers::default());
        }
        let result = self.try_transact(group).await;
        if result.is_err() {
            self.documents.forget();
        }
        if let Err(fault) = &result
            && !is_one_requests_fault(fault.kind)
        {
            tracing::warn!(error = ?fault, "the database failed; connecting anew");
            self.conn = None;
        }
        result
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

/// Whether the failure is about what was asked, and not about the place.
fn is_one_requests_fault(kind: StoreErrorKind) -> bool {
    !matches!(
        kind,
        StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
    )
}

#[cfg(test)]
mod tests;
