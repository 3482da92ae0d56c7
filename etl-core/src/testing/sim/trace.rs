//! What happened in a run, a line for each event. Lines are data and become text only when somebody reads them: a run has
//! thousands, and few are read.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::contract::store::LeaseState;
use crate::model::{AttemptKey, JobId, JobStatus, StepKey, StepStatus, Verdict};

/// How many lines a violation is told with.
const LAST: usize = 30;

/// Who did or met something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Who {
    /// Whoever triggers and cancels jobs.
    Client,
    /// The one who makes things go wrong.
    Chaos,
    /// A process, by the number of its start.
    Process(u32),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.pad("client"),
            Self::Chaos => f.pad("chaos"),
            Self::Process(id) => f.pad(&format!("w{id}")),
        }
    }
}

/// From here on jobs are numbered that hooks started: so much more than the job that left the hook.
pub(super) const FOLLOWERS: u64 = 1000;

/// The number of a job in its run, which its id carries.
pub(super) fn number(job: JobId) -> u64 {
    job.0.as_u64_pair().1 & 0xffff
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Accepted(JobId),
    KnownAlready(JobId),
    CancelAsked(JobId, JobStatus),
    Published(JobId, &'static str),
    Queued(JobId),
    Claimed(JobId, u64),
    Commit(JobId, u64, u64, Verdict),
    Job(JobId, JobStatus),
    Step(JobId, StepKey, u32, StepStatus),
    FansOut(JobId, u32, u32),
    Checkpoint(JobId, StepKey, u64),
    Letter(JobId, StepKey),
    Hook(JobId, u32),
    Settled(JobId, u32),
    Renewed(JobId, u64, LeaseState),
    Reaped(JobId),
    /// A call to the store that goes wrong.
    Fault(&'static str, &'static str),
    Start(AttemptKey, &'static str),
    Stop(AttemptKey),
    Effect(AttemptKey),
    Ends(AttemptKey, bool),
    Dropped(AttemptKey),
    Adopt(AttemptKey, bool),
    Ended(JobId, JobStatus),
    Up,
    Crash(u32),
    Freeze(u32, u64),
    Drain(u32),
    HandsBack,
    Leaves,
    Thaw(u32),
    Healthy,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let j = |job: JobId| format!("j{}", number(job));
        let at =
            |key: AttemptKey| format!("{} step {} attempt {}", j(key.job), key.step, key.attempt);
        match *self {
            Self::Accepted(job) => write!(f, "{} accepted", j(job)),
            Self::KnownAlready(job) => write!(f, "{} was accepted before", j(job)),
            Self::CancelAsked(job, now) => write!(f, "{} to be cancelled, it is {now}", j(job)),
            Self::Published(job, fate) => write!(f, "hint of {} {fate}", j(job)),
            Self::Queued(job) => write!(f, "{} is queued", j(job)),
            Self::Claimed(job, fence) => write!(f, "{} claimed, fence {fence}", j(job)),
            Self::Commit(job, fence, seq, verdict) => {
                write!(
                    f,
                    "{} commit {seq} under fence {fence}: {verdict:?}",
                    j(job)
                )
            }
            Self::Job(job, to) => write!(f, "    {} is {to}", j(job)),
            Self::Step(job, key, attempt, to) => {
                write!(f, "    {} step {key} attempt {attempt} is {to}", j(job))
            }
            Self::FansOut(job, step, items) => {
                write!(f, "    {} step {step} fans out to {items}", j(job))
            }
            Self::Checkpoint(job, key, seq) => {
                write!(f, "    {} step {key} checkpoint {seq}", j(job))
            }
            Self::Letter(job, key) => write!(f, "    {} step {key} dead letter", j(job)),
            Self::Hook(job, at) => write!(f, "    {} hook {at}", j(job)),
            Self::Settled(job, at) => write!(f, "{} hook {at} is settled", j(job)),
            Self::Renewed(job, fence, state) => {
                write!(f, "{} renewed under fence {fence}: {state:?}", j(job))
            }
            Self::Reaped(job) => write!(f, "{} taken from its owner", j(job)),
            Self::Fault(op, kind) => write!(f, "{op}: {kind}"),
            Self::Start(key, where_) => write!(f, "{} starts {where_}", at(key)),
            Self::Stop(key) => write!(f, "{} told to stop", at(key)),
            Self::Effect(key) => write!(f, "{} has its effect", at(key)),
            Self::Ends(key, well) => {
                write!(f, "{} {}", at(key), if well { "succeeds" } else { "fails" })
            }
            Self::Dropped(key) => write!(f, "{} is dropped", at(key)),
            Self::Adopt(key, found) => {
                let found = if found { "found" } else { "not found" };
                write!(f, "{} looked for: {found}", at(key))
            }
            Self::Ended(job, now) => write!(f, "{} let go as {now}", j(job)),
            Self::Up => f.write_str("starts"),
            Self::Crash(id) => write!(f, "w{id} crashes"),
            Self::Freeze(id, ms) => write!(f, "w{id} freezes for {ms} ms"),
            Self::Drain(id) => write!(f, "w{id} is told to stop"),
            Self::HandsBack => f.write_str("hands back what it has"),
            Self::Leaves => f.write_str("is done"),
            Self::Thaw(id) => write!(f, "w{id} goes on"),
            Self::Healthy => f.write_str("no more faults"),
        }
    }
}

/// One line with when and who.
#[derive(Debug, Clone, Copy)]
struct Entry {
    number: u64,
    at: Duration,
    who: Who,
    line: Line,
}

/// The events of a run: all of them as a hash, and the last ones or all of them to be read.
#[derive(Debug)]
pub(super) struct Trace {
    count: u64,
    hash: DefaultHasher,
    keep: usize,
    entries: VecDeque<Entry>,
}

impl Trace {
    pub(super) fn new(all: bool) -> Self {
        Self {
            count: 0,
            // Its keys are fixed, so that the same events have the same hash in every process.
            hash: DefaultHasher::new(),
            keep: if all { usize::MAX } else { LAST },
            entries: VecDeque::new(),
        }
    }

    pub(super) fn note(&mut self, at: Duration, who: Who, line: Line) {
        self.count += 1;
        let entry = Entry {
            number: self.count,
            at,
            who,
            line,
        };
        (at, who).hash(&mut self.hash);
        fingerprint(line, &mut self.hash);
        if self.entries.len() >= self.keep {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The lines that were kept, as text.
    pub(super) fn lines(&self) -> Vec<String> {
        let text = |entry: &Entry| {
            format!(
                "{:>6} {:>9.3} s  {:<6}  {}",
                entry.number,
                entry.at.as_secs_f64(),
                entry.who,
                entry.line
            )
        };
        self.entries.iter().map(text).collect()
    }
}

/// What a line says, without writing it.
fn fingerprint(line: Line, hash: &mut DefaultHasher) {
    std::mem::discriminant(&line).hash(hash);
    match line {
        Line::Accepted(job) | Line::KnownAlready(job) | Line::Queued(job) | Line::Reaped(job) => {
            job.hash(hash);
        }
        Line::CancelAsked(job, status) | Line::Job(job, status) | Line::Ended(job, status) => {
            (job, status).hash(hash);
        }
        Line::Published(job, fate) => (job, fate).hash(hash),
        Line::Claimed(job, fence) => (job, fence).hash(hash),
        Line::Commit(job, fence, seq, verdict) => {
            let verdict = match verdict {
                Verdict::Applied => None,
                Verdict::AlreadyApplied => Some(None),
                Verdict::Lost { now } => Some(Some(now)),
            };
            (job, fence, seq, verdict).hash(hash);
        }
        Line::Step(job, key, attempt, to) => (job, key, attempt, to).hash(hash),
        Line::FansOut(job, step, items) => (job, step, items).hash(hash),
        Line::Checkpoint(job, key, seq) => (job, key, seq).hash(hash),
        Line::Letter(job, key) => (job, key).hash(hash),
        Line::Hook(job, at) | Line::Settled(job, at) => (job, at).hash(hash),
        Line::Renewed(job, fence, state) => (job, fence, state as u8).hash(hash),
        Line::Fault(op, kind) => (op, kind).hash(hash),
        Line::Start(key, place) => (key, place).hash(hash),
        Line::Stop(key) | Line::Effect(key) | Line::Dropped(key) => key.hash(hash),
        Line::Ends(key, is) | Line::Adopt(key, is) => (key, is).hash(hash),
        Line::Up | Line::HandsBack | Line::Leaves | Line::Healthy => {}
        Line::Crash(id) | Line::Drain(id) | Line::Thaw(id) => id.hash(hash),
        Line::Freeze(id, ms) => (id, ms).hash(hash),
    }
}
