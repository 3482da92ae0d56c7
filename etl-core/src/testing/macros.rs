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
            }
            claim {
                a_claim_gives_a_larger_fence,
                the_highest_priority_comes_first_then_the_oldest,
            }
            commit {
                a_commit_under_an_old_fence_is_lost_and_changes_nothing,
                a_commit_sent_again_is_already_applied,
                only_the_transitions_of_the_table_are_taken,
            }
        }
    };
}
