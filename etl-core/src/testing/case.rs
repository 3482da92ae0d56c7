//! A suite is a list of named cases, so that it can be run as tests with names and as a whole.

use futures_util::future::BoxFuture;

/// One law, as an async function that panics where a fixture breaks it.
pub(super) struct Case<F: ?Sized + 'static> {
    pub(super) name: &'static str,
    pub(super) run: for<'a> fn(&'a F) -> BoxFuture<'a, ()>,
}

/// Runs the case of this name.
pub(super) async fn run<F: ?Sized>(cases: &[Case<F>], name: &str, fixture: &F) {
    let case = cases
        .iter()
        .find(|case| case.name == name)
        .expect("invariant: tests are made from the same list as cases");
    (case.run)(fixture).await;
}

/// The list of a suite, from what its `__…_cases` macro hands over. A case that is not in that macro is dead code, which the
/// compiler reports.
macro_rules! case_list {
    (; $($group:ident { $($case:ident,)* })*) => {
        &[$($($crate::testing::case::Case {
            name: concat!(stringify!($group), "::", stringify!($case)),
            run: |fixture| Box::pin($group::$case(fixture)),
        },)*)*]
    };
}
pub(super) use case_list;
