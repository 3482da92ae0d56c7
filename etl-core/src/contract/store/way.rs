//! `concurrency.on_limit`: who gives way when a job is accepted while its pipeline is at its limit. A pure rule that every
//! store applies in the transaction that accepts the job; giving way is being cancelled.

use crate::model::{JobId, NewJob, OnLimit, TriggerType};

/// Whether somebody may have to give way for this job, so that a store has to look who is there.
pub fn is_made_for(job: &NewJob) -> bool {
    let on_limit = job.document.concurrency.map(|terms| terms.on_limit);
    // The fires of a backfill come all at once, to run one after the other: they wait, and don't count for others.
    on_limit.is_some_and(|on_limit| on_limit != OnLimit::Queue)
        && job.trigger_type != TriggerType::Backfill
}

/// Who is to be cancelled, and why, when `job` is accepted beside `others`: the jobs of its pipeline, in any version, that
/// wait or run and whose end nobody has asked for, oldest first, without those of backfills.
pub fn make(job: &NewJob, others: &[JobId]) -> Vec<(JobId, String)> {
    let Some(terms) = job.document.concurrency.filter(|_| is_made_for(job)) else {
        return Vec::new();
    };
    let excess = (others.len() + 1).saturating_sub(terms.limit as usize);
    match terms.on_limit {
        OnLimit::Skip if excess > 0 => {
            let reason = format!(
                "skipped: {} other jobs of the pipeline were on their way, and its concurrency limit is {}",
                others.len(),
                terms.limit
            );
            vec![(job.id, reason)]
        }
        OnLimit::CancelOldest => others
            .iter()
            .take(excess)
            .map(|other| {
                (
                    *other,
                    format!("job {} of the pipeline took its place", job.id),
                )
            })
            .collect(),
        OnLimit::Skip | OnLimit::Queue => Vec::new(),
    }
}
