//! `etl serve`: the deployment's process, in one or more roles, until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etl_core::contract::{Credentials, EventBus, NoCredentials, Queue};
use etl_core::runtime::{Backends, Runtime, Scope, Settings, SystemClock};
use etl_metrics::Metrics;
use tokio::task::JoinHandle;

use super::interrupts::Interrupts;
use crate::api::{self, Api, Proxies};
use crate::archive::Archiver;
use crate::args::{Role, ServeArgs};
use crate::audit::{self, Sealer};
use crate::config::Config;
use crate::deployment::{self, OpenStore};
use crate::failure::{Exit, Failure};
use crate::health;
use crate::identity::Secret;
use crate::listener;
use crate::live::Live;
use crate::metrics::{self, Scraped};
use crate::view::say;

/// How often schedules are looked at.
const SCHEDULE_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn execute(config: &Config, args: &ServeArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let roles = Roles::of(&args.roles);
    let mut config = config.clone();
    if !args.tags.is_empty() {
        config.tags.clone_from(&args.tags);
    }
    let opening = deployment::serve(&config);
    let metrics = Metrics::new();
    let store = interrupts.unless_interrupted(opening).await?;
    let store = store.timed(&metrics);
    let served = serve(&config, &store, roles, metrics, &mut interrupts).await;
    store.close().await;
    served.map(|()| Exit::Success)
}

/// What this process does.
#[derive(Debug, Clone, Copy)]
struct Roles {
    api: bool,
    worker: bool,
    scheduler: bool,
}

impl Roles {
    fn of(named: &[Role]) -> Self {
        let has = |role| named.is_empty() || named.contains(&Role::All) || named.contains(&role);
        Self {
            api: has(Role::Api),
            worker: has(Role::Worker),
            scheduler: has(Role::Scheduler),
        }
    }

    fn names(self) -> String {
        let names = [
            (self.api, "api"),
            (self.worker, "worker"),
            (self.scheduler, "scheduler"),
        ];
        let names = names
            .into_iter()
            .filter_map(|(is, name)| is.then_some(name));
        names.collect::<Vec<_>>().join(", ")
    }
}

async fn serve(
    config: &Config,
    store: &OpenStore,
    roles: Roles,
    metrics: Metrics,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    // A wrong key is told before anything listens. Who runs no jobs needs none.
    let credentials: Arc<dyn Credentials> = if roles.worker {
        deployment::credentials(config, store).await?
    } else {
        Arc::new(NoCredentials)
    };
    let identity = if roles.api {
        Some(deployment::identity(config, store).await?)
    } else {
        None
    };
    let setup_token = match &identity {
        Some(identity) => identity.setup_token().await?,
        None => None,
    };
    let queue = deployment::queue(config, store)?;
    let events = deployment::events(config, store)?;
    let draining = Arc::new(AtomicBool::new(false));
    let (listener, bound) = listener::listen("bind", &config.bind).await?;
    let scraped = Arc::new(Scraped::new(
        metrics.clone(),
        Arc::clone(store.store()),
        Arc::clone(&draining),
    ));
    let scraping = match &config.metrics_bind {
        Some(bind) => {
            let (listener, bound) = listener::listen("metrics_bind", bind).await?;
            tracing::info!(address = %bound, "metrics");
            Some(listener::serve(
                listener,
                metrics::router(Arc::clone(&scraped)),
            ))
        }
        None => None,
    };
    let mut app = health::router(Arc::clone(store.store()), Arc::clone(&draining));
    let live = Live::start(Arc::clone(store.store()), Arc::clone(&events));
    if let Some(identity) = &identity {
        app = app.merge(api::router(Api {
            store: Arc::clone(store.store()),
            // Hints that stay in a process without a worker would only pile up.
            queue: (roles.worker || deployment::has_workers(config)?).then(|| Arc::clone(&queue)),
            storage: deployment::artifacts(config)?,
            vault: deployment::vault(config, store)?,
            audit: store.audit(),
            letters: store.letters(),
            registry: Arc::new(deployment::registry()),
            accounts: store.accounts(),
            identity: Arc::clone(identity),
            authenticate: Arc::clone(identity) as _,
            limits: deployment::limits(config)?,
            proxies: Proxies::new(config.trusted_proxies.clone()),
            live: Arc::clone(&live),
            allowed_origins: config.allowed_origins.clone(),
        }));
    }
    // What is served says how much goes on here, which strangers need not know.
    if scraping.is_none() && bound.ip().is_loopback() {
        app = app.merge(metrics::router(Arc::clone(&scraped)));
    }
    let listening = listener::serve(listener, app);
    // Others leave their jobs to it. With tags it would leave some lying.
    if roles.worker && config.tags.is_empty() {
        deployment::announce_worker(config)?;
    }
    let runtime = if roles.worker || roles.scheduler {
        Some(start(
            config,
            store,
            (queue, events),
            roles,
            metrics,
            credentials,
        )?)
    } else {
        None
    };
    if let Some(runtime) = runtime.as_ref().filter(|_| roles.worker) {
        scraped.works(runtime.load(), config.max_jobs.get().into());
    }
    let archiver = if config.log_archive && runtime.is_some() {
        Some(Archiver::new(store, deployment::artifacts(config)?).start())
    } else {
        None
    };
    tracing::info!(roles = roles.names(), address = %bound, "serving");
    if let Some(token) = setup_token {
        ask_for_first_admin(&token);
    }
    let tidying = match &identity {
        Some(identity) => {
            let identity = Arc::clone(identity);
            Some(tokio::spawn(async move { identity.keep_tidy().await }))
        }
        None => None,
    };

    let sealing = if roles.api {
        seal_audit(config, store).await?
    } else {
        None
    };

    interrupts.next().await;
    draining.store(true, Ordering::SeqCst);
    tracing::info!(
        seconds = config.drain_seconds,
        "stopping: jobs under way may end; once more to give them back at once"
    );
    if let Some(runtime) = runtime {
        let patience = tokio::time::sleep(Duration::from_secs(config.drain_seconds));
        runtime
            .shutdown_when(async {
                tokio::select! {
                    () = patience => {}
                    () = interrupts.next() => {}
                }
            })
            .await;
    }
    for task in [archiver, tidying, sealing].into_iter().flatten() {
        task.abort();
    }
    live.stop();
    listening.stop().await;
    if let Some(scraping) = scraping {
        scraping.stop().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Takes the audit log's rows into its chain, if there is a key for it.
async fn seal_audit(config: &Config, store: &OpenStore) -> Result<Option<JoinHandle<()>>, Failure> {
    let vault = deployment::vault(config, store)?;
    if !audit::has_key(&vault).await? {
        tracing::warn!(
            "a passphrase is no key for the audit log's chain: changes of the log are not found (`etl audit verify`)"
        );
        return Ok(None);
    }
    let sealer = Sealer::new(store.audit(), vault, deployment::artifacts(config)?);
    Ok(Some(sealer.start()))
}

/// Says how the first admin is made, as long as there is nobody. It is said to whoever started this, and is no line of the log.
fn ask_for_first_admin(token: &Secret) {
    say(&format!(
        "There is no user yet. Whoever has this token makes the first admin, within a day:\n  {}\nPOST /api/v1/auth/setup \
         takes it with \"email\" and \"password\". `etl user create EMAIL --role admin` needs none.",
        token.expose()
    ));
}

fn start(
    config: &Config,
    store: &OpenStore,
    (queue, events): (Arc<dyn Queue>, Arc<dyn EventBus>),
    roles: Roles,
    metrics: Metrics,
    credentials: Arc<dyn Credentials>,
) -> Result<Runtime, Failure> {
    let backends = Backends {
        store: Arc::clone(store.store()),
        queue,
        events,
        credentials,
        storage: deployment::artifacts(config)?,
        registry: Arc::new(deployment::registry()),
        clock: Arc::new(SystemClock),
        observer: Some(Arc::new(metrics)),
    };
    let defaults = Settings::default();
    let settings = Settings {
        scope: Scope::All,
        // A scheduler hands out what waits and takes nothing itself.
        max_jobs: if roles.worker {
            config.max_jobs.get().into()
        } else {
            0
        },
        tags: config.tags.clone(),
        max_steps: config
            .max_steps
            .map_or(defaults.max_steps, |steps| steps.get().into()),
        keep_jobs: config.keep_jobs(),
        schedule: roles.scheduler.then_some(SCHEDULE_EVERY),
        ..defaults
    };
    Ok(Runtime::start(backends, settings))
}
