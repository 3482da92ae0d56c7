//! The services of one process, made of its backends and not yet running. `service` puts them into loops.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::announcer::Announcer;
use super::dispatcher::Dispatcher;
use super::driver::Shared;
use super::keeper::{Held, Keeper};
use super::launcher::Launcher;
use super::reaper::Reaper;
use super::recorder::Recorder;
use super::settings::{Backends, OwnJobs, Settings};
use super::slots::Slots;
use super::worker::Worker;
use crate::contract::store::JobStore;
use crate::model::WorkerId;

/// What a process consists of.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) worker: Worker,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) reaper: Reaper,
    pub(crate) recorder: Recorder,
    pub(crate) announcer: Announcer,
    /// The jobs that the worker holds.
    pub(crate) held: Held,
    /// The jobs that this process was handed.
    pub(crate) own: OwnJobs,
    /// To be cancelled when jobs under way are to be given back as they are.
    pub(crate) hand_back: CancellationToken,
}

impl Services {
    /// The services of the worker `id`.
    pub(crate) fn new(id: WorkerId, backends: &Backends, settings: &Settings) -> Self {
        let store: Arc<dyn JobStore> = backends.store.clone();
        let (recorder, logs) = Recorder::new(backends.store.clone(), Arc::clone(&backends.events));
        let (announcer, notices) = Announcer::new(Arc::clone(&backends.events));
        let hand_back = CancellationToken::new();
        let launcher = Launcher::new(backends.clone(), logs, settings.grace);
        let shared = Arc::new(Shared {
            backends: backends.clone(),
            launcher: Arc::new(launcher),
            notices,
            slots: Slots::new(settings.max_steps),
            margin: settings.heartbeat,
            hand_back: hand_back.clone(),
        });
        let (own, held) = (OwnJobs::default(), Held::default());
        let worker = Worker::new(id, shared, settings.clone(), held.clone(), own.clone());
        Self {
            keeper: Arc::new(worker.keeper()),
            dispatcher: Dispatcher::new(Arc::clone(&store), Arc::clone(&backends.queue)),
            reaper: Reaper::new(store, settings.lease),
            worker,
            recorder,
            announcer,
            held,
            own,
            hand_back,
        }
    }
}
