//! Bugs that can be planted into the surroundings of the engine, to see that the laws see. Every one is a bug that some job
//! queue has had.

/// What is wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bug {
    /// A commit is taken under any fence.
    CompleteWithoutFence,
    /// The reaper takes jobs whose lease has not run out.
    UnguardedReaper,
    /// A lease is renewed for whoever had the job once.
    HeartbeatByJob,
    /// A job whose end was asked for goes back to waiting when its owner dies.
    ReapIgnoresCancel,
    /// The owner of a running job is never told that its end is asked for.
    CancelSkipsRunning,
    /// A commit whose outcome is unknown is taken for one that was applied.
    UnknownIsSuccess,
    /// Workers take only jobs that they had a hint of.
    HintsAreTruth,
    /// That an attempt was lost with its worker is not remembered.
    CrashNotCounted,
    /// Whoever takes a job over does not find the attempts that outlived its worker.
    TakeoverStartsAgain,
    /// `concurrency.limit` is forgotten.
    SlotsNotCounted,
    /// The dead letter is a second transaction, which the first does not wait for.
    LetterApart,
    /// A worker trusts its leases for longer than the store keeps them.
    TrustTooLong,
    /// Accepting a job and remembering who asked for it are two transactions.
    AcceptedTwice,
    /// A job that somebody has is given to somebody else.
    ClaimWithoutCount,
    /// The checkpoint that an attempt gets back is the last but one.
    CheckpointOffByOne,
    /// A commit is confirmed before it is remembered.
    ConfirmedTooEarly,
    /// An attempt that is given back with its job is counted as lost.
    GivenBackIsLost,
    /// A hook is settled before it is carried out.
    HookSettledFirst,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::CompleteWithoutFence,
        Self::UnguardedReaper,
        Self::HeartbeatByJob,
        Self::ReapIgnoresCancel,
        Self::CancelSkipsRunning,
        Self::UnknownIsSuccess,
        Self::HintsAreTruth,
        Self::CrashNotCounted,
        Self::TakeoverStartsAgain,
        Self::SlotsNotCounted,
        Self::LetterApart,
        Self::TrustTooLong,
        Self::AcceptedTwice,
        Self::ClaimWithoutCount,
        Self::CheckpointOffByOne,
        Self::ConfirmedTooEarly,
        Self::GivenBackIsLost,
        Self::HookSettledFirst,
    ];

    /// The name by which `cargo xtask sim --bug` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompleteWithoutFence => "complete-without-fence",
            Self::UnguardedReaper => "unguarded-reaper",
            Self::HeartbeatByJob => "heartbeat-by-job",
            Self::ReapIgnoresCancel => "reap-ignores-cancel",
            Self::CancelSkipsRunning => "cancel-skips-running",
            Self::UnknownIsSuccess => "unknown-is-success",
            Self::HintsAreTruth => "hints-are-truth",
            Self::CrashNotCounted => "crash-not-counted",
            Self::TakeoverStartsAgain => "takeover-starts-again",
            Self::SlotsNotCounted => "slots-not-counted",
            Self::LetterApart => "letter-apart",
            Self::TrustTooLong => "trust-too-long",
            Self::AcceptedTwice => "accepted-twice",
            Self::ClaimWithoutCount => "claim-without-count",
            Self::CheckpointOffByOne => "checkpoint-off-by-one",
            Self::ConfirmedTooEarly => "confirmed-too-early",
            Self::GivenBackIsLost => "given-back-is-lost",
            Self::HookSettledFirst => "hook-settled-first",
        }
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
