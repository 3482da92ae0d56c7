//! Jobs whose time is over.

use std::sync::Arc;
use std::time::Duration;

use etl_core::artifact::ArtifactStorage;
use etl_core::contract::Store;
use etl_core::memory::MemoryStore;
use etl_core::model::*;
use etl_core::runtime::Retention;
use etl_core::sdk::Etl;
use etl_core::testing::TokioClock;
use etl_core::testing::faults::{Fault, Flaky};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;

use crate::probe::*;

const HOUR: Duration = Duration::from_hours(1);

/// A job that has ended, and where its first attempt left a file.
async fn a_job_with_a_file(etl: &Etl) -> (JobId, Path) {
    let pipeline = pipeline("p", vec![step("a", &[], json!({}))]);
    let outcome = etl.run(&pipeline, none()).await.unwrap();
    let key = AttemptKey {
        job: outcome.job.id,
        step: StepKey::step(0),
        attempt: 1,
    };
    let storage = &etl.backends().storage;
    let name = ArtifactName::new("out.csv").unwrap();
    let location = storage.area(&key).location(&name);
    storage.store().put(&location, "x".into()).await.unwrap();
    (outcome.job.id, location)
}

async fn is_known(store: &dyn Store, job: JobId) -> bool {
    store.job(job).await.unwrap().is_some()
}

#[tokio::test(start_paused = true)]
async fn old_jobs_are_forgotten_with_their_artifacts_and_young_ones_stay() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let etl = builder(&probe, &clock).keep_jobs(HOUR * 5).build();
    let (old, old_file) = a_job_with_a_file(&etl).await;
    tokio::time::sleep(HOUR * 4).await;
    let (young, young_file) = a_job_with_a_file(&etl).await;
    assert!(is_known(&**etl.store(), old).await, "not yet");
    tokio::time::sleep(HOUR * 3).await;
    assert!(!is_known(&**etl.store(), old).await);
    assert!(is_known(&**etl.store(), young).await);
    let files = etl.backends().storage.store();
    assert!(files.head(&old_file).await.is_err());
    assert!(files.head(&young_file).await.is_ok());
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_known_until_its_artifacts_are_gone() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let folder = tempfile::tempdir().unwrap();
    let storage = ArtifactStorage::folder(folder.path()).unwrap();
    let etl = builder(&probe, &clock).store(memory.clone()).build();
    let (stuck, _) = a_job_with_a_file(&etl).await;
    let (interrupted, _) = a_job_with_a_file(&etl).await;
    etl.shutdown().await;
    let at = |job: JobId| folder.path().join("jobs").join(job.to_string());
    std::fs::create_dir_all(at(interrupted).join("0/1")).unwrap();
    // What is no folder can't be removed as one.
    std::fs::write(at(stuck), "").unwrap();
    tokio::time::sleep(HOUR).await;

    // The store goes away after the artifacts are gone: the job is found again.
    let flaky = Arc::new(Flaky::by_plan(
        memory.clone(),
        [Fault::None, Fault::Refused],
    ));
    let retention = Retention::new(flaky, storage.clone(), HOUR / 2);
    assert!(retention.tick().await.is_err());
    assert!(!at(interrupted).exists());
    assert!(is_known(&*memory, interrupted).await);
    assert_eq!(retention.tick().await.unwrap(), 1);
    assert!(!is_known(&*memory, interrupted).await);

    assert!(is_known(&*memory, stuck).await);
    std::fs::remove_file(at(stuck)).unwrap();
    assert_eq!(retention.tick().await.unwrap(), 1);
    assert!(!is_known(&*memory, stuck).await);
}
