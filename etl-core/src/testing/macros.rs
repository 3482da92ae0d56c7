//! One call makes a test of every case. The lists of cases are here and nowhere else.

/// Makes a test of every law that a [`Store`](crate::contract::Store) has to keep, on a
/// [`StoreFixture`](crate::testing::StoreFixture).
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::__store_cases! {
            ($crate::__tests)
            (store_conformance, $crate::testing::store::run, $fixture)
        }
    };
}

/// Makes a test of every law that [`Accounts`](crate::contract::store::Accounts) have to keep, on an
/// [`AccountsFixture`](crate::testing::AccountsFixture).
#[macro_export]
macro_rules! accounts_conformance {
    ($fixture:expr) => {
        $crate::__accounts_cases! {
            ($crate::__tests)
            (accounts_conformance, $crate::testing::accounts::run, $fixture)
        }
    };
}

/// Makes a test of every law that an [`AuditLog`](crate::contract::store::AuditLog) has to keep, on an
/// [`AuditFixture`](crate::testing::AuditFixture).
#[macro_export]
macro_rules! audit_conformance {
    ($fixture:expr) => {
        $crate::__audit_cases! {
            ($crate::__tests)
            (audit_conformance, $crate::testing::audit::run, $fixture)
        }
    };
}

/// Makes a test of every law that a [`Queue`](crate::contract::Queue) has to keep, on a
/// [`QueueFixture`](crate::testing::QueueFixture).
#[macro_export]
macro_rules! queue_conformance {
    ($fixture:expr) => {
        $crate::__queue_cases! {
            ($crate::__tests)
            (queue_conformance, $crate::testing::queue::run, $fixture)
        }
    };
}

/// Makes a test of every law that an [`EventBus`](crate::contract::EventBus) has to keep, on an
/// [`EventBusFixture`](crate::testing::EventBusFixture).
#[macro_export]
macro_rules! event_bus_conformance {
    ($fixture:expr) => {
        $crate::__event_bus_cases! {
            ($crate::__tests)
            (event_bus_conformance, $crate::testing::events::run, $fixture)
        }
    };
}

/// Makes a test of every law that an [`Executor`](crate::contract::Executor) has to keep, on an
/// [`ExecutorFixture`](crate::testing::ExecutorFixture).
#[macro_export]
macro_rules! executor_conformance {
    ($fixture:expr) => {
        $crate::__executor_cases! {
            ($crate::__tests)
            (executor_conformance, $crate::testing::executor::run, $fixture)
        }
    };
}

/// Makes a test of random histories: a store that follows its clock has to answer each as the memory store does. As many are
/// tried as `PROPTEST_CASES` says, else 64.
#[macro_export]
macro_rules! store_history {
    ($fixture:expr) => {
        #[test]
        fn the_store_answers_every_history_as_the_memory_store_does() {
            $crate::testing::history::check(&($fixture));
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ($module:ident, $run:path, $fixture:expr; $($group:ident { $($case:ident,)* })*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(mod $group {
                #[allow(unused_imports)]
                use super::*;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let name = concat!(stringify!($group), "::", stringify!($case));
                        $run(name, &($fixture)).await;
                    }
                )*
            })*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_cases {
    (($($callback:tt)*) ($($args:tt)*)) => {
        $($callback)* ! { $($args)*;
            submit {
                a_job_begins_pending_with_a_pending_row_for_each_step,
                the_same_key_and_body_is_the_same_job,
                the_same_key_with_another_body_makes_nothing,
                the_same_id_is_the_same_job,
                a_job_of_an_unknown_pipeline_version_is_refused,
                a_job_keeps_the_version_that_it_was_accepted_with,
                everything_said_of_a_job_is_kept,
                results_that_are_taken_over_are_successes_from_the_start,
                results_that_do_not_fit_are_refused,
                a_job_over_the_limit_is_skipped_where_its_pipeline_says_so,
                jobs_of_a_backfill_wait_and_nobody_gives_way_to_them,
                the_oldest_jobs_give_way_where_their_pipeline_says_so,
                racing_jobs_over_the_limit_leave_as_many_as_it_says,
                jobs_that_wait_are_told_by_age_and_order,
                dispatched_moves_pending_jobs_and_no_other,
            }
            claim {
                a_claim_gives_a_larger_fence,
                the_highest_priority_comes_first_then_the_oldest,
                only_jobs_that_wait_are_claimed_and_each_once,
                the_first_claim_starts_the_job,
                a_pipeline_at_its_limit_is_passed_over,
                a_job_is_passed_over_at_a_limit_of_its_own,
                a_claim_by_tags_passes_over_jobs_without_any_of_them,
                the_end_of_a_job_makes_room_under_the_limit,
                the_snapshot_has_everything_that_is_past_pending,
                two_claimers_never_get_the_same_job,
                racing_claimers_keep_the_limit,
            }
            lease {
                a_renewed_lease_is_not_reaped,
                a_lease_that_ran_out_untaken_is_as_good_as_any,
                a_lease_that_was_taken_is_lost,
                a_lease_is_of_the_worker_that_claimed_it,
                leases_are_answered_in_the_order_asked,
                a_job_that_its_owner_hands_back_waits_as_it_is,
            }
            cancel {
                a_job_that_waits_is_cancelled_at_once,
                a_job_that_was_handed_back_ends_with_its_open_steps,
                the_owner_of_a_running_job_is_asked_to_end_it,
                a_job_whose_end_was_asked_for_ends_when_it_is_handed_back,
                an_ended_job_is_left_alone,
                what_is_not_there_can_not_be_cancelled,
            }
            commit {
                a_commit_under_an_old_fence_is_lost_and_changes_nothing,
                a_commit_sent_again_is_already_applied,
                only_the_transitions_of_the_table_are_taken,
                an_owner_makes_the_moves_that_the_table_gives_it,
                a_job_moves_once_in_a_commit,
                a_gap_in_seq_is_illegal,
                each_claim_counts_commits_from_one,
                a_commit_is_known_again_after_its_job_was_handed_back,
                nothing_is_committed_to_an_ended_job,
                a_lost_commit_does_not_disturb_the_others,
                an_illegal_change_refuses_the_whole_batch,
                racing_commits_of_one_lease_are_applied_once,
            }
            change {
                a_step_keeps_what_it_is_given,
                a_step_has_its_times_from_the_commits,
                a_due_time_lasts_while_a_step_is_retrying,
                a_skipped_step_says_why,
                fanning_out_gives_a_pending_row_for_each_item,
                only_a_pending_step_fans_out,
                ten_thousand_items_fan_out_and_end,
                checkpoints_are_of_running_steps_and_count_up,
                dead_letters_and_hooks_are_remembered,
                the_end_of_a_job_has_its_figures,
            }
            reap {
                a_job_whose_lease_ran_out_waits_again,
                a_job_whose_end_was_asked_for_is_never_revived,
                an_ended_job_is_not_reaped,
                leases_that_ran_out_first_are_reaped_first,
                racing_reapers_move_a_job_once,
                a_reaper_and_an_owner_that_renews_never_both_win,
            }
            value {
                awkward_values_come_back_equal,
                the_largest_values_are_kept,
                nothing_is_forgotten_by_a_restart,
            }
            catalog {
                a_changed_document_is_a_new_version,
                a_document_put_again_is_no_new_version_whatever_numbers_it_has,
                a_version_says_who_wrote_it,
                a_stale_writer_is_refused,
                a_removed_pipeline_keeps_its_versions,
                the_list_is_by_namespace_and_name_in_pages,
                racing_writers_get_a_version_each,
            }
            schedule {
                a_schedule_comes_and_goes_with_its_pipeline,
                what_is_due_is_not_lost_by_a_change_of_a_step,
                a_schedule_is_due_when_the_job_of_its_fire_starts,
                what_is_due_comes_earliest_first_and_no_more_than_asked_for,
                a_due_schedule_has_its_pipelines_current_version,
                a_fire_its_job_and_the_next_fire_become_true_together,
                a_fire_that_is_left_out_says_why,
                a_fire_under_an_old_rev_is_lost_and_changes_nothing,
                a_nominal_time_makes_one_job_however_often_it_comes,
                a_fire_whose_job_is_refused_changes_nothing,
                a_paused_schedule_is_not_due_and_makes_nothing_up,
                schedules_are_listed_by_namespace_and_name_in_pages,
                racing_schedulers_decide_a_fire_once,
                schedules_that_can_not_be_read_take_nobodys_place,
            }
            credential {
                a_credential_comes_back_as_it_was_put,
                a_write_by_an_old_version_changes_nothing,
                a_write_sent_again_is_written,
                sealing_anew_never_undoes_what_was_stored_since,
                one_that_was_removed_is_gone_and_comes_back_as_another,
                credentials_are_listed_by_namespace_and_name_in_pages,
                racing_writers_of_a_credential_write_each_version_once,
            }
            hook {
                hooks_wait_oldest_first_until_they_are_settled,
                only_hooks_that_are_there_are_settled,
                hooks_that_can_not_be_read_take_nobodys_place,
            }
            retention {
                a_job_is_forgotten_with_all_that_is_its,
                a_job_that_has_not_ended_is_not_forgotten,
                a_job_is_kept_while_hooks_wait_or_another_repeats_it,
                expired_jobs_are_listed_oldest_first_in_pages,
                logs_wait_to_be_archived_from_the_end_of_their_job_on,
            }
            figures {
                the_backlog_is_the_jobs_that_wait_up_to_a_number,
                jobs_and_steps_are_counted_from_a_time_on,
            }
            journal {
                lines_are_kept_in_order_and_numbered_by_job,
                lines_of_an_ended_job_are_kept,
                a_log_has_no_gap_whoever_appends,
                jobs_are_listed_newest_first_in_pages,
                a_list_of_jobs_can_be_restricted,
                steps_are_listed_by_position_in_pages,
                a_page_has_between_1_and_500_items,
                what_is_not_there_is_nothing,
                a_strange_cursor_is_not_found,
            }
            event {
                the_lines_of_a_commit_become_true_with_it,
                a_commit_that_is_not_applied_says_nothing,
                a_move_that_the_store_makes_by_itself_is_told_once,
                what_a_store_tells_has_the_state_and_the_time,
                racing_commits_and_lines_leave_no_gap,
            }
            unknown {
                a_commit_whose_answer_was_lost_is_already_applied,
                a_job_over_a_failing_store_ends_as_over_a_good_one,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __accounts_cases {
    (($($callback:tt)*) ($($args:tt)*)) => {
        $($callback)* ! { $($args)*;
            user {
                a_user_comes_back_as_made,
                an_address_is_one_users_whatever_its_capitals,
                the_first_user_is_the_first_of_all,
                an_edit_by_an_old_version_changes_nothing,
                what_was_handed_out_stops_counting_with_password_role_and_activity,
                the_last_active_admin_stays,
                racing_admins_never_all_go,
                users_are_listed_by_age_in_pages,
            }
            login {
                failed_sign_ins_wait_longer_and_longer,
                a_sign_in_that_succeeds_forgets_failures,
                racing_guesses_are_all_counted,
                a_second_factor_counts_once_it_is_confirmed,
                a_step_of_a_code_is_taken_once_and_never_an_earlier_one,
                a_recovery_code_is_taken_once,
            }
            session {
                a_token_is_exchanged_for_the_next,
                a_lost_answer_can_be_asked_for_again_within_ten_seconds,
                a_token_that_two_have_ends_its_session,
                a_session_ends_when_it_is_not_used_and_after_its_time,
                a_session_is_ended_by_its_user_alone,
                what_raises_the_epoch_ends_all_sessions,
                sessions_go_with_their_user,
                racing_exchanges_of_a_token_never_leave_two_branches,
            }
            token {
                a_key_is_found_by_its_hash_with_its_user,
                the_use_of_a_key_is_noted_once_a_minute,
                a_key_is_revoked_by_its_user_alone,
                a_one_time_token_is_taken_once,
                a_token_ends_with_its_last_try,
                an_expired_token_is_as_if_it_were_not_there,
                what_raises_the_epoch_ends_one_time_tokens,
                a_one_time_token_is_refused_that_can_not_be_kept,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __audit_cases {
    (($($callback:tt)*) ($($args:tt)*)) => {
        $($callback)* ! { $($args)*;
            changes {
                a_change_is_noted_with_who_made_it,
                what_was_refused_is_not_noted,
                every_kind_of_change_is_noted_and_no_secret,
            }
            letters {
                letters_are_listed_newest_first_in_pages_by_what_they_are_about,
                requeueing_a_letter_settles_the_open_letters_of_its_job,
                of_many_who_settle_a_letter_one_does,
            }
            rows {
                rows_are_listed_newest_first_in_pages_by_what_they_are_about,
                rows_are_taken_into_the_chain_once_and_stay_as_they_are,
                of_two_who_seal_at_once_one_does,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_cases {
    (($($callback:tt)*) ($($args:tt)*)) => {
        $($callback)* ! { $($args)*;
            deliver {
                hints_come_out_in_the_order_they_went_in,
                the_highest_priority_comes_first,
                no_more_come_than_are_asked_for,
                who_asks_early_waits,
                a_call_that_is_given_up_loses_nothing,
                racing_workers_get_each_hint_once,
            }
            keep {
                what_is_not_acknowledged_comes_again,
                what_is_not_acknowledged_wakes_who_waits,
                dead_letters_are_not_delivered_as_hints,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __event_bus_cases {
    (($($callback:tt)*) ($($args:tt)*)) => {
        $($callback)* ! { $($args)*;
            watch {
                a_watcher_gets_what_comes_after_it,
                a_watcher_of_one_job_gets_no_other,
                events_of_a_job_come_in_order_to_every_watcher,
                a_call_that_is_given_up_loses_nothing,
                every_kind_of_event_comes_as_it_was_sent,
            }
            miss {
                nobody_has_to_watch,
                a_slow_watcher_holds_nobody_up_and_is_told_what_it_missed,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __executor_cases {
    (($($callback:tt)*) ($($args:tt)*)) => {
        $($callback)* ! { $($args)*;
            say {
                a_result_comes_once_and_last,
                a_large_output_comes_whole,
                an_attempt_gets_all_that_it_is_given,
                everything_that_is_said_comes_in_order,
                a_failure_keeps_its_class_message_and_place,
                a_panic_fails_its_attempt_and_no_other,
                an_unknown_connector_or_configuration_is_refused,
                a_flood_of_lines_comes_whole_and_waits_for_its_reader,
                a_call_that_is_given_up_loses_nothing,
                whoever_talks_after_the_result_is_not_heard,
                an_artifact_is_below_its_attempts_own_prefix,
            }
            stop {
                an_attempt_that_listens_ends_when_it_is_asked,
                an_attempt_that_does_not_listen_is_stopped,
                an_attempt_that_never_stops_talking_is_stopped,
                an_attempt_that_blocks_its_thread_is_given_up,
                an_attempt_can_be_stopped_before_it_is_heard,
                an_attempt_that_has_ended_can_be_stopped_in_vain,
                attempts_are_stopped_one_by_one,
            }
            keep {
                an_attempt_outlives_its_run_or_ends_with_it,
                starting_what_runs_attaches_to_it,
                adopting_starts_nothing,
                what_was_cleared_is_gone,
                settling_is_allowed_again_and_again,
            }
        }
    };
}
