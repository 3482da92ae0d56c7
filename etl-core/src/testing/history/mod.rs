//! Random histories: the same operations on a store and on the memory store have to get the same answers, and to leave the
//! same rows. What neither author thought of is found here.

mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::StoreFixture;
use crate::model::{JobStatus, StepStatus};
use world::World;

/// One of the things that there are when its operation comes: the number is taken modulo how many there are.
pub type Pick = u16;

/// One operation of a history. Whatever it names is picked from what earlier operations made.
#[derive(Debug, Clone)]
pub enum Op {
    /// Stores one of four documents under one of two names.
    Put {
        /// Which name.
        pipeline: u8,
        /// Which document.
        shape: u8,
        /// The version that the writer has seen.
        expected: Option<u8>,
    },
    /// Removes a pipeline.
    Remove(u8),
    /// Submits a job.
    Submit {
        /// Of this pipeline version.
        of: Pick,
        /// With this priority.
        priority: u8,
        /// With one of a few keys.
        key: Option<u8>,
        /// With one of two bodies.
        body: u8,
        /// Under the id of this job, in place of a new one.
        again: Option<Pick>,
        /// With so many of its first steps taken over, fitting or not.
        taken: u8,
    },
    /// Says that hints were confirmed.
    Dispatched(Vec<Pick>),
    /// Asks for waiting jobs.
    Waiting {
        /// Which wait for so many milliseconds.
        older: u16,
        /// At most so many.
        limit: u8,
    },
    /// Claims jobs.
    Claim {
        /// As one of two workers.
        worker: u8,
        /// These, or whatever waits.
        named: Option<Vec<Pick>>,
        /// At most so many.
        limit: u8,
        /// For so many milliseconds.
        ttl: u16,
    },
    /// Renews leases.
    Renew {
        /// As one of two workers.
        worker: u8,
        /// These.
        leases: Vec<Pick>,
        /// For so many milliseconds.
        ttl: u16,
    },
    /// Commits a batch.
    Commit(Vec<CommitOp>),
    /// Cancels a job.
    Cancel(Pick),
    /// Reaps.
    Reap {
        /// Only this job.
        job: Option<Pick>,
        /// At most so many.
        limit: u8,
    },
    /// Lets so many milliseconds pass.
    Pass(u16),
    /// Adds log lines to these jobs.
    Append(Vec<Pick>),
    /// Stops and starts the store that is tried.
    Restart,
}

/// One commit of a batch.
#[derive(Debug, Clone)]
pub struct CommitOp {
    /// Under this lease.
    pub lease: Pick,
    /// With which number.
    pub seq: SeqOp,
    /// What it changes.
    pub changes: Vec<ChangeOp>,
}

/// The number of a commit, seen from the last that was applied under its lease.
#[derive(Debug, Clone, Copy)]
pub enum SeqOp {
    /// The next.
    Next,
    /// The last again.
    Again,
    /// The one before the last.
    Old,
    /// The next but one.
    Gap,
}

/// A step execution: its position and an item's, there or not.
pub type KeyOp = (u8, Option<u8>);

/// One change, legal or not.
#[derive(Debug, Clone)]
pub enum ChangeOp {
    /// One of the step moves that are legal as the job was before the batch.
    Legal(Pick),
    /// A step's move.
    Step {
        /// Which.
        key: KeyOp,
        /// Where to.
        to: StepStatus,
        /// Whether it brings every field of a patch.
        full: bool,
    },
    /// A fan-out.
    Expand {
        /// Of this step.
        step: u8,
        /// To so many items.
        items: u8,
    },
    /// A checkpoint.
    Checkpoint {
        /// Of this step execution.
        key: KeyOp,
        /// With this number.
        seq: u8,
    },
    /// A dead letter.
    Bury(KeyOp),
    /// A hook at this position.
    Hook(u8),
    /// The job's own move.
    Job(JobStatus),
}

fn keys() -> impl Strategy<Value = KeyOp> {
    (0..4u8, prop::option::weighted(0.4, 0..3u8))
}

fn changes() -> impl Strategy<Value = ChangeOp> {
    prop_oneof![
        12 => any::<Pick>().prop_map(ChangeOp::Legal),
        1 => (keys(), prop::sample::select(StepStatus::ALL), any::<bool>())
            .prop_map(|(key, to, full)| ChangeOp::Step { key, to, full }),
        2 => (0..4u8, 0..4u8).prop_map(|(step, items)| ChangeOp::Expand { step, items }),
        2 => (keys(), 0..6u8).prop_map(|(key, seq)| ChangeOp::Checkpoint { key, seq }),
        1 => keys().prop_map(ChangeOp::Bury),
        1 => (0..4u8).prop_map(ChangeOp::Hook),
        1 => prop::sample::select(JobStatus::ALL).prop_map(ChangeOp::Job),
    ]
}

fn commits() -> impl Strategy<Value = CommitOp> {
    let seq = prop_oneof![
        12 => Just(SeqOp::Next),
        2 => Just(SeqOp::Again),
        1 => Just(SeqOp::Old),
        1 => Just(SeqOp::Gap),
    ];
    (any::<Pick>(), seq, vec(changes(), 0..3)).prop_map(|(lease, seq, changes)| CommitOp {
        lease,
        seq,
        changes,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = || prop_oneof![Just(0u16), Just(100), Just(1000)];
    let picks = |most| vec(any::<Pick>(), 0..most);
    prop_oneof![
        2 => (0..2u8, 0..6u8, prop::option::weighted(0.3, 0..4u8))
            .prop_map(|(pipeline, shape, expected)| Op::Put { pipeline, shape, expected }),
        1 => (0..2u8).prop_map(Op::Remove),
        5 => (
            any::<Pick>(),
            0..3u8,
            prop::option::weighted(0.3, 0..3u8),
            0..2u8,
            prop::option::weighted(0.1, any::<Pick>()),
            prop_oneof![4 => Just(0u8), 1 => 0..4u8],
        )
            .prop_map(|(of, priority, key, body, again, taken)| Op::Submit {
                of,
                priority,
                key,
                body,
                again,
                taken,
            }),
        2 => picks(4).prop_map(Op::Dispatched),
        1 => (0..200u16, 0..4u8).prop_map(|(older, limit)| Op::Waiting { older, limit }),
        5 => (0..2u8, prop::option::weighted(0.4, picks(4)), 0..4u8, ttl())
            .prop_map(|(worker, named, limit, ttl)| Op::Claim { worker, named, limit, ttl }),
        3 => (0..2u8, picks(4), ttl())
            .prop_map(|(worker, leases, ttl)| Op::Renew { worker, leases, ttl }),
        14 => vec(commits(), 1..4).prop_map(Op::Commit),
        2 => any::<Pick>().prop_map(Op::Cancel),
        3 => (prop::option::weighted(0.3, any::<Pick>()), 0..4u8)
            .prop_map(|(job, limit)| Op::Reap { job, limit }),
        3 => (0..300u16).prop_map(Op::Pass),
        1 => picks(5).prop_map(Op::Append),
        1 => Just(Op::Restart),
    ]
}

/// Histories of up to `most` operations.
pub fn histories(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let first = (0..6u8).prop_map(|shape| Op::Put {
        pipeline: 0,
        shape,
        expected: None,
    });
    (first, vec(op(), 1..most)).prop_map(|(first, rest)| {
        let mut ops = vec![first];
        ops.extend(rest);
        ops
    })
}

/// Plays a history on a store of this fixture and on the memory store; panics at the first answer that differs, or if the rows
/// differ at the end.
pub async fn same_history(fixture: &dyn StoreFixture, ops: &[Op]) {
    let mut world = World::new(fixture).await;
    for (n, op) in ops.iter().enumerate() {
        world.play(n, op).await;
    }
    world.compare().await;
}

/// Tries random histories of up to 80 operations, as many as `PROPTEST_CASES` says, else 64.
///
/// # Panics
/// With the shortest history found that the store answers otherwise than the memory store.
pub fn check(fixture: &dyn StoreFixture) {
    assert!(
        fixture.facts().follows_clock,
        "a store with a clock of its own can't be compared"
    );
    let cases = std::env::var("PROPTEST_CASES").ok();
    let config = Config {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(64),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = TestRunner::new(config).run(&histories(80), |ops| {
        runtime.block_on(same_history(fixture, &ops));
        Ok::<(), TestCaseError>(())
    });
    if let Err(fault) = outcome {
        panic!("{fault}");
    }
}
