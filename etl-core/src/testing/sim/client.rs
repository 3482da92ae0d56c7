//! Whoever triggers jobs and cancels them: asks again until it has an answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::scenario::Order;
use super::state::Sim;
use super::store::SimStore;
use super::trace::Who;
use crate::contract::store::{Catalog, JobStore, PutPipeline, StoreErrorKind, StoredPipeline};
use crate::model::{By, JobId, TriggerType};
use crate::runtime::{Intake, IntakeError, Trigger};

/// How long it waits before it asks again.
const AGAIN: Duration = Duration::from_millis(700);

/// Does what the scenario says. It ends when every trigger and every cancellation is answered.
pub(super) async fn run(sim: Arc<Sim>) {
    let mut pipelines = Vec::new();
    let scenario = &sim.scenario;
    for document in scenario.pipelines.iter().chain(&scenario.followers) {
        let put = PutPipeline {
            document: Arc::clone(document),
            expected_version: None,
            by: By::system(),
        };
        // Before the run, so to say: the catalog is not what is tried.
        let reference = sim.memory.put_pipeline(put).await;
        let stored = match reference {
            Ok(reference) => sim
                .memory
                .pipeline_version(reference.id, reference.version)
                .await
                .ok()
                .flatten(),
            Err(_) => None,
        };
        let Some(stored) = stored else {
            sim.require(Err("the catalog takes no pipeline".into()));
            return;
        };
        pipelines.push(stored);
    }
    let orders = sim.scenario.orders.iter().enumerate();
    let lives = orders.map(|(number, order)| {
        let pipeline = pipelines[order.of].clone();
        tokio::spawn(one(
            Arc::clone(&sim),
            number as u64 + 1,
            order.clone(),
            pipeline,
        ))
    });
    for life in lives.collect::<Vec<_>>() {
        if life.await.is_err() {
            sim.require(Err("the client fell".into()));
        }
    }
}

async fn one(sim: Arc<Sim>, number: u64, order: Order, pipeline: StoredPipeline) {
    sleep(order.at).await;
    let id = {
        let rng = &mut sim.lock().rng;
        // The shape of a UUIDv7 whose time is the job's number; the number is in its last digits, too.
        let (high, low) = ((number << 16) | 0x7000, (rng.next() >> 2) & !0xffff);
        JobId(Uuid::from_u64_pair(high, (1 << 63) | low | number))
    };
    let store = Arc::new(SimStore::new(&sim, Who::Client, None));
    let intake = Intake::new(store.clone());
    loop {
        let parameters = json!({ "go": number.is_multiple_of(2), "items": [1, 2] });
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        let mut trigger = Trigger::new(TriggerType::Api, By("client".into()), parameters);
        trigger.idempotency_key = order.keyed.then(|| format!("order {number}"));
        match intake.submit(id, &pipeline, trigger).await {
            Ok(_) => break,
            Err(IntakeError::Store(error)) if may_pass(error.kind) => sleep(AGAIN).await,
            Err(error) => return sim.require(Err(format!("I-2: trigger {number}: {error}"))),
        }
    }
    let Some(after) = order.cancel_after else {
        return;
    };
    sleep(after).await;
    loop {
        match store.cancel(id, "asked").await {
            Ok(_) => break,
            Err(error) if may_pass(error.kind) => sleep(AGAIN).await,
            Err(error) => return sim.require(Err(format!("I-9: cancelling {number}: {error}"))),
        }
    }
}

fn may_pass(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
    )
}
