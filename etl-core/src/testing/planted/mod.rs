//! Stores with a bug in each, to see that the suite sees. Every bug is one that some job queue has had.

mod store;

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreFixture;
use crate::contract::{Clock, Store};
use store::Planted;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// A commit is taken under any fence.
    FenceUnchecked,
    /// A commit is taken with any number.
    SeqUnchecked,
    /// A job is taken from its owner before the lease has run out.
    ReapIgnoresExpiry,
    /// Only so many jobs are reaped as asked for, but the wrong ones or more.
    ReapIgnoresLimit,
    /// A write to an ended job is taken.
    TerminalOverwritten,
    /// A job whose end was asked for goes back to waiting when its worker dies.
    CancelRevives,
    /// The owner of a job is never told that its end is asked for.
    CancelNotTold,
    /// Every claim gives the same fence.
    SameFence,
    /// A job that somebody has is given to somebody else.
    HandedOutTwice,
    /// Who has lost a lease is told that it holds it.
    LostIsHeld,
    /// `concurrency.limit` is not looked at.
    LimitForgotten,
    /// Every job over its pipeline's limit waits.
    OnLimitForgotten,
    /// The same key makes a second job.
    KeyForgotten,
    /// A job runs the latest version of its pipeline.
    LatestVersion,
    /// Each commit of a batch is taken by itself, also if a later one is illegal.
    OneByOne,
    /// A lost commit loses those behind it.
    LostStopsTheBatch,
    /// An illegal commit is told as a lost one.
    IllegalIsLost,
    /// A checkpoint is not kept.
    CheckpointForgotten,
    /// A dead letter is not kept.
    LetterForgotten,
    /// A hook is not kept.
    HookForgotten,
    /// Jobs are dispatched again at once, however young.
    AgeIgnored,
    /// A page of log lines begins with the last line of the page before.
    LinesRepeat,
    /// A commit is sent without what it says.
    LinesForgotten,
    /// What a commit says is said whatever becomes of it.
    LinesWithoutCommit,
    /// A list ends with its first page.
    PageIsAll,
    /// A writer that has seen an old version overwrites the new one.
    StaleWriterWins,
    /// A fire is decided however often its schedule has changed since it was seen.
    RevUnchecked,
    /// A settled hook waits on.
    HookUnsettled,
    /// The job of a fire is made, and the fire is not remembered with it.
    FireForgotten,
    /// A job's own limit is not looked at.
    MaxActiveForgotten,
    /// A job is forgotten whatever is still to be done for it.
    ForgottenTooSoon,
    /// A credential is sealed anew over whatever was stored since it was read.
    ResealUnchecked,
}

/// Makes stores with this bug.
pub(super) struct PlantedFixture(pub(super) Bug);

#[async_trait]
impl StoreFixture for PlantedFixture {
    async fn fresh(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        Arc::new(Planted::new(self.0, clock))
    }

    async fn reopen(&self, store: Arc<dyn Store>, _: Arc<dyn Clock>) -> Arc<dyn Store> {
        store
    }
}

mod tests {
    use super::super::{history, store};
    use super::{Bug, PlantedFixture};

    /// Each bug with the law that it breaks, and whether random histories meet it too.
    const PLANTED: &[(Bug, &str, bool)] = &[
        (
            Bug::FenceUnchecked,
            "commit::a_commit_under_an_old_fence_is_lost_and_changes_nothing",
            true,
        ),
        (
            Bug::SeqUnchecked,
            "commit::a_commit_sent_again_is_already_applied",
            true,
        ),
        (
            Bug::ReapIgnoresExpiry,
            "lease::a_renewed_lease_is_not_reaped",
            true,
        ),
        (
            Bug::ReapIgnoresLimit,
            "reap::leases_that_ran_out_first_are_reaped_first",
            true,
        ),
        (
            Bug::TerminalOverwritten,
            "commit::nothing_is_committed_to_an_ended_job",
            true,
        ),
        (
            Bug::CancelRevives,
            "reap::a_job_whose_end_was_asked_for_is_never_revived",
            true,
        ),
        (
            Bug::CancelNotTold,
            "cancel::the_owner_of_a_running_job_is_asked_to_end_it",
            true,
        ),
        (Bug::SameFence, "claim::a_claim_gives_a_larger_fence", false),
        (
            Bug::HandedOutTwice,
            "claim::only_jobs_that_wait_are_claimed_and_each_once",
            true,
        ),
        (
            Bug::LostIsHeld,
            "lease::a_lease_that_was_taken_is_lost",
            true,
        ),
        (
            Bug::LimitForgotten,
            "claim::a_pipeline_at_its_limit_is_passed_over",
            true,
        ),
        (
            Bug::OnLimitForgotten,
            "submit::a_job_over_the_limit_is_skipped_where_its_pipeline_says_so",
            true,
        ),
        (
            Bug::KeyForgotten,
            "submit::the_same_key_and_body_is_the_same_job",
            true,
        ),
        (
            Bug::LatestVersion,
            "submit::a_job_keeps_the_version_that_it_was_accepted_with",
            true,
        ),
        (
            Bug::OneByOne,
            "commit::an_illegal_change_refuses_the_whole_batch",
            true,
        ),
        (
            Bug::LostStopsTheBatch,
            "commit::a_lost_commit_does_not_disturb_the_others",
            true,
        ),
        (
            Bug::IllegalIsLost,
            "commit::only_the_transitions_of_the_table_are_taken",
            true,
        ),
        (
            Bug::CheckpointForgotten,
            "claim::the_snapshot_has_everything_that_is_past_pending",
            true,
        ),
        (
            Bug::LetterForgotten,
            "change::dead_letters_and_hooks_are_remembered",
            true,
        ),
        (
            Bug::HookForgotten,
            "change::dead_letters_and_hooks_are_remembered",
            true,
        ),
        (
            Bug::AgeIgnored,
            "submit::jobs_that_wait_are_told_by_age_and_order",
            true,
        ),
        (
            Bug::LinesRepeat,
            "journal::lines_are_kept_in_order_and_numbered_by_job",
            false,
        ),
        (
            Bug::PageIsAll,
            "journal::steps_are_listed_by_position_in_pages",
            false,
        ),
        (
            Bug::StaleWriterWins,
            "catalog::a_stale_writer_is_refused",
            true,
        ),
        (
            Bug::RevUnchecked,
            "schedule::a_fire_under_an_old_rev_is_lost_and_changes_nothing",
            false,
        ),
        (
            Bug::HookUnsettled,
            "hook::hooks_wait_oldest_first_until_they_are_settled",
            false,
        ),
        (
            Bug::FireForgotten,
            "schedule::a_fire_its_job_and_the_next_fire_become_true_together",
            false,
        ),
        (
            Bug::MaxActiveForgotten,
            "claim::a_job_is_passed_over_at_a_limit_of_its_own",
            false,
        ),
        (
            Bug::ForgottenTooSoon,
            "retention::a_job_is_kept_while_hooks_wait_or_another_repeats_it",
            false,
        ),
        (
            Bug::LinesForgotten,
            "event::the_lines_of_a_commit_become_true_with_it",
            true,
        ),
        (
            Bug::LinesWithoutCommit,
            "event::a_commit_that_is_not_applied_says_nothing",
            true,
        ),
        (
            Bug::ResealUnchecked,
            "credential::sealing_anew_never_undoes_what_was_stored_since",
            false,
        ),
    ];

    /// Whether a store with this bug passes a case.
    async fn passes(bug: Bug, case: &'static str) -> bool {
        let trial = async move { store::run(case, &PlantedFixture(bug)).await };
        tokio::spawn(trial).await.is_ok()
    }

    #[tokio::test]
    async fn the_suite_sees_every_planted_bug() {
        for &(bug, case, _) in PLANTED {
            assert!(!passes(bug, case).await, "{case} does not see {bug:?}");
        }
    }

    #[tokio::test]
    async fn a_store_without_a_planted_bug_passes() {
        for case in store::cases() {
            assert!(passes(Bug::None, case).await, "{case}");
        }
    }

    #[test]
    fn histories_meet_the_planted_bugs_and_no_other() {
        history::check(&PlantedFixture(Bug::None));
        for &(bug, _, met) in PLANTED {
            let fixture = PlantedFixture(bug);
            let trial = std::panic::AssertUnwindSafe(|| history::check(&fixture));
            let seen = std::panic::catch_unwind(trial).is_err();
            assert!(seen || !met, "no history meets {bug:?}");
        }
    }
}
