//! The writer of a process: it turns whatever waits into one transaction.
//!
//! While a transaction is being made durable the next requests pile up; they become the next transaction together. So
//! many callers share one flush, and a lone caller waits for no timer. Requests of one group are all in flight at the
//! same time, so they may be taken in any order: they are taken by kind, each kind with a few statements over all its
//! requests. Callers wait on a channel of their own; dropping one disturbs nothing (sqlx #4393).

use std::future::Future;
use std::sync::Arc;

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::Result as StoreResult;
use etl_core::model::Actor;
use tokio::sync::{mpsc, oneshot};

use crate::fault::{Fault, Result};

/// How many requests may wait before a caller waits for room, and how many one transaction takes at most.
const GROUP: usize = 1024;

/// How many rows the requests of one transaction write at most together: a thousand jobs of 100,000 steps are accepted one
/// after the other, and not from 10 GB of parameters. A request by itself may write more.
pub const ROWS: usize = 50_000;

/// A request with the way back to who made it.
#[derive(Debug)]
pub struct Call<I, O> {
    /// What is asked for.
    pub input: I,
    /// Who asks, if it is somebody whose changes are noted.
    pub actor: Option<Arc<Actor>>,
    /// Where the answer goes. A caller that has gone wants none: a failed send is not an error.
    pub reply: oneshot::Sender<StoreResult<O>>,
}

/// Answers of the requests of one kind, in their order: a refusal concerns one request and has changed nothing.
pub type Answers<O> = Vec<Result<O>>;

/// What a writer can be asked for; `G` is what its transactions take.
pub trait Request<G>: Sized {
    /// The answer.
    type Output;
    /// The operation's name in errors.
    const OP: &'static str;
    /// A group of this alone.
    fn into_group(self, reply: oneshot::Sender<StoreResult<Self::Output>>) -> G;
}

/// Requests that one transaction takes. [`requests!`](crate::requests) makes it.
pub trait Group: Default + Send + Sync + 'static {
    /// The answers to all.
    type Answers: Send;
    /// Whether a transaction of these takes those as well.
    fn has_room_for(&self, other: &Self) -> bool;
    /// Takes those in.
    fn absorb(&mut self, other: Self);
    /// How many.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Groups of one request each.
    fn split(self) -> Vec<Self>;
    /// Tells the answers.
    fn answer(self, answers: Self::Answers);
    /// Tells all that it failed.
    fn fail(self, fault: &Fault);
}

/// What runs groups: a connection, and what belongs to it.
pub trait Transactor: Send + 'static {
    /// What it runs.
    type Group: Group;
    /// Runs a group as one transaction. On an error nothing of it has happened, or the error says that this is not known.
    fn transact(
        &mut self,
        group: &Self::Group,
    ) -> impl Future<Output = Result<<Self::Group as Group>::Answers>> + Send;
    /// Lets go of the database.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;
}

/// What comes over the channel.
#[derive(Debug)]
enum Message<G> {
    Work(Box<G>),
    /// Finish what waits, and stop.
    Close(oneshot::Sender<()>),
}

/// The way to the writer; cheap to clone.
#[derive(Debug)]
pub struct WriterHandle<G> {
    messages: mpsc::Sender<Message<G>>,
}

impl<G> Clone for WriterHandle<G> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
        }
    }
}

impl<G: Group> WriterHandle<G> {
    /// Starts a writer on the current runtime; it ends with [`close`](Self::close), or when the last handle is gone.
    pub fn start(transactor: impl Transactor<Group = G>) -> Self {
        let (messages, inbox) = mpsc::channel(GROUP);
        tokio::spawn(serve(transactor, inbox));
        Self { messages }
    }

    /// Asks for something, and waits for the answer.
    ///
    /// # Errors
    /// What the database answers; `Unavailable` when the writer is closed.
    pub async fn ask<R: Request<G>>(&self, request: R) -> StoreResult<R::Output> {
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
    pub async fn close(&self) {
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

async fn serve<T: Transactor>(mut transactor: T, mut inbox: mpsc::Receiver<Message<T::Group>>) {
    let mut waiting = Vec::with_capacity(GROUP);
    let mut closers = Vec::new();
    while inbox.recv_many(&mut waiting, GROUP).await > 0 {
        let mut group = T::Group::default();
        for message in waiting.drain(..) {
            match message {
                Message::Work(work) => {
                    if !group.has_room_for(&work) {
                        take(&mut transactor, std::mem::take(&mut group)).await;
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
        take(&mut transactor, group).await;
    }
    transactor.stop().await;
    // What it holds is given back before anybody is told.
    drop(transactor);
    for done in closers {
        let _ = done.send(());
    }
}

/// Runs a group and answers it. If one request breaks it, nothing of it has happened, and each is run by itself.
async fn take<T: Transactor>(transactor: &mut T, group: T::Group) {
    if group.is_empty() {
        return;
    }
    match transactor.transact(&group).await {
        Ok(answers) => group.answer(answers),
        Err(fault) if group.len() > 1 && fault.is_of_one_request() => {
            for single in group.split() {
                match transactor.transact(&single).await {
                    Ok(answers) => single.answer(answers),
                    Err(fault) => single.fail(&fault),
                }
            }
        }
        Err(fault) => group.fail(&fault),
    }
}

/// Makes the `Group` of a store, one line per kind of request, in the order in which a transaction takes them: what makes work
/// for others comes first, and a lease is renewed before it could be taken away. `$run` takes the transaction and the requests
/// of its kind, `$rows` says about how many rows one of them writes, and what is `noted` goes into the audit log.
#[macro_export]
macro_rules! requests {
    (@noted $self:ident $answers:ident $noted:ident $kind:ident) => {
        $crate::audit::collect(&$self.$kind, &$answers.$kind, &mut $noted)
    };
    ($tx:ident; $($kind:ident: $input:ty => $output:ty, $op:literal, $run:path, $rows:expr $(, $noted:ident)?;)+) => {
        /// Requests that one transaction takes, by kind.
        #[derive(Debug, Default)]
        pub(crate) struct Group {
            /// About how many rows they write.
            rows: usize,
            $($kind: Vec<$crate::Call<$input, $output>>,)+
        }

        #[derive(Default)]
        pub(crate) struct GroupAnswers {
            $($kind: $crate::Answers<$output>,)+
        }

        $(impl $crate::Request<Group> for $input {
            type Output = $output;
            const OP: &'static str = $op;

            fn into_group(
                self,
                reply: ::tokio::sync::oneshot::Sender<::etl_core::contract::store::Result<$output>>,
            ) -> Group {
                let rows: fn(&Self) -> usize = $rows;
                Group { rows: rows(&self), $kind: vec![$crate::Call { input: self, actor: ::etl_core::contract::actor(), reply }], ..Group::default() }
            }
        })+

        impl Group {
            async fn run(&self, tx: &mut $tx<'_>) -> $crate::Result<GroupAnswers> {
                let mut answers = GroupAnswers::default();
                let mut noted = Vec::new();
                $(if !self.$kind.is_empty() {
                    let inputs: Vec<&$input> = self.$kind.iter().map(|call| &call.input).collect();
                    // Boxed: the compiler does not see through so many borrows that the whole is `Send`.
                    let run: ::futures_util::future::BoxFuture<'_, $crate::Result<$crate::Answers<$output>>> =
                        Box::pin($run(tx, &inputs));
                    answers.$kind = run.await?;
                    $($crate::requests!(@$noted self answers noted $kind);)?
                })+
                if !noted.is_empty() {
                    $crate::audit::insert(tx, &noted).await?;
                }
                Ok(answers)
            }
        }

        impl $crate::Group for Group {
            type Answers = GroupAnswers;

            fn has_room_for(&self, other: &Self) -> bool {
                $crate::Group::len(self) == 0 || self.rows + other.rows <= $crate::ROWS
            }

            fn absorb(&mut self, other: Self) {
                self.rows += other.rows;
                $(self.$kind.extend(other.$kind);)+
            }

            fn len(&self) -> usize {
                0 $(+ self.$kind.len())+
            }

            fn split(self) -> Vec<Self> {
                let mut singles = Vec::with_capacity($crate::Group::len(&self));
                $(for call in self.$kind {
                    singles.push(Self { $kind: vec![call], ..Self::default() });
                })+
                singles
            }

            fn answer(self, answers: GroupAnswers) {
                $(for (call, answer) in self.$kind.into_iter().zip(answers.$kind) {
                    let _ = call.reply.send(answer.map_err(|fault| fault.of($op)));
                })+
            }

            fn fail(self, fault: &$crate::Fault) {
                $(for call in self.$kind {
                    let _ = call.reply.send(Err(fault.clone().of($op)));
                })+
            }
        }
    };
}
