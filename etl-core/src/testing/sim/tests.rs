//! The product keeps its laws in simulated worlds, and the laws see what is planted.

use super::{Bug, run, sweep, trace};

/// How many seeds a planted bug may stay unseen.
const WITHIN: u64 = 2_000;

#[test]
fn no_seed_breaks_a_law() {
    let swept = sweep(0..500, None, 1);
    if let Some(run) = swept.broken {
        panic!("{run}");
    }
    assert_eq!(swept.seeds, 500);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let (first, second) = (trace(seed, None), trace(seed, None));
        assert_eq!(first.lines, second.lines);
        assert_eq!(first.hash, second.hash);
    }
    assert_ne!(run(1, None).hash, run(2, None).hash);
}

/// Each bug with a seed that sees it; when the scenarios change, the test looks for another.
const SEEN_BY: &[(Bug, u64)] = &[
    (Bug::CompleteWithoutFence, 658),
    (Bug::UnguardedReaper, 0),
    (Bug::HeartbeatByJob, 67),
    (Bug::ReapIgnoresCancel, 6),
    (Bug::CancelSkipsRunning, 2),
    (Bug::UnknownIsSuccess, 1),
    (Bug::HintsAreTruth, 1),
    (Bug::CrashNotCounted, 0),
    (Bug::TakeoverStartsAgain, 9),
    (Bug::SlotsNotCounted, 3),
    (Bug::LetterApart, 0),
    (Bug::TrustTooLong, 12),
    (Bug::AcceptedTwice, 16),
    (Bug::ClaimWithoutCount, 0),
    (Bug::CheckpointOffByOne, 0),
    (Bug::ConfirmedTooEarly, 1),
    (Bug::GivenBackIsLost, 34),
    (Bug::HookSettledFirst, 1),
];

#[test]
fn every_planted_bug_is_seen_and_only_because_it_is_planted() {
    assert_eq!(SEEN_BY.len(), Bug::ALL.len());
    for (bug, seed) in SEEN_BY {
        let name = bug.name();
        let seen = Some(run(*seed, Some(*bug))).filter(|run| run.broken.is_some());
        let seen = seen.or_else(|| sweep(0..WITHIN, Some(*bug), 1).broken);
        let seen = seen.unwrap_or_else(|| panic!("{name} is not seen within {WITHIN} seeds"));
        let without = run(seen.seed, None);
        assert!(without.broken.is_none(), "{without}");
        let law = seen.broken.map(|broken| broken.law).unwrap_or_default();
        println!("{name}: seen by seed {}: {law}", seen.seed);
    }
}

/// Seeds that have found bugs of the product.
#[test]
fn seeds_that_found_a_bug_stay_silent() {
    // 121: who had lost a job stopped an attempt that the next owner had adopted.
    // 3908: not the product but the world: a crashed worker's attempts lived on until its task was polled.
    for seed in [121, 3908] {
        let run = run(seed, None);
        assert!(run.broken.is_none(), "{run}");
    }
}
