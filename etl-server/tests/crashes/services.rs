//! A PostgreSQL and a RabbitMQ that may be killed: a set of `scripts/services` beside the one that all other tests share.

use std::fs::File;
use std::process::{Command, Stdio};

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use nix::fcntl::{Flock, FlockArg};

/// The queues of hints, as the program names them.
pub const QUEUES: [&str; 3] = ["etl.jobs.high", "etl.jobs.normal", "etl.jobs.low"];

/// The two, up, and nobody else's until this is dropped.
pub struct Services {
    pub postgres: String,
    pub broker: String,
    set: Set,
    _lock: Flock<File>,
}

impl Services {
    /// Starts what is not up. They go on running, so that the next test finds them.
    pub fn up() -> Self {
        let set = Set::new();
        let path = std::env::temp_dir().join(format!("etl-crashes-{}.lock", set.offset));
        let file = File::create(path).unwrap();
        let lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
        set.script(&["up", "postgres", "rabbitmq"]);
        let told = set.command(&["env"]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let value = |name: &str| {
            let prefix = format!("export {name}=");
            let line = told.lines().find_map(|line| line.strip_prefix(&prefix));
            // The shell's quoting is of no concern here but for what it does to `%2f`, which is nothing.
            line.unwrap().replace('\\', "")
        };
        Self {
            postgres: value("ETL_TEST_POSTGRES_URL"),
            broker: value("ETL_TEST_AMQP_URL"),
            set,
            _lock: lock,
        }
    }

    /// Ends a system as a power cut would.
    pub fn kill(&self, system: &str) {
        self.set.script(&["kill", system]);
    }

    /// Starts it, and returns when it answers.
    pub fn start(&self, system: &str) {
        self.set.script(&["start", system]);
    }

    /// Takes away what another test left in the queues. They themselves stay: RabbitMQ 3.10 can't start a queue again, after it
    /// was killed, that was deleted and made anew shortly before (`could not be restarted {error,enoent}`).
    pub async fn empty_queues(&self) {
        if self.operator().await.try_purge().await.is_err() {
            // Not there yet, or one that was not started again.
            self.operator().await.delete_queues().await;
        }
    }

    pub async fn operator(&self) -> Operator {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.broker, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Operator {
            _connection: connection,
            channel,
        }
    }
}

/// What an operator of the broker can do.
pub struct Operator {
    _connection: Connection,
    channel: Channel,
}

impl Operator {
    async fn delete_queues(&self) {
        for queue in QUEUES {
            let options = QueueDeleteOptions::default();
            let deleted = self.channel.queue_delete(queue.into(), options).await;
            deleted.unwrap();
        }
    }

    /// How many hints were in the queues that now are empty.
    pub async fn purge(&self) -> u32 {
        self.try_purge().await.unwrap()
    }

    async fn try_purge(&self) -> lapin::Result<u32> {
        let mut purged = 0;
        for queue in QUEUES {
            let options = QueuePurgeOptions::default();
            purged += self.channel.queue_purge(queue.into(), options).await?;
        }
        Ok(purged)
    }

    /// How many hints wait in the queue of usual jobs, and how many workers listen to it.
    pub async fn counts(&self) -> (u32, u32) {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared =
            self.channel
                .queue_declare("etl.jobs.normal".into(), passive, FieldTable::default());
        let queue = declared.await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }
}

/// Which set of systems. Two checkouts that are tested at the same time wait for each other, unless this tells them apart.
struct Set {
    offset: String,
}

impl Set {
    fn new() -> Self {
        Self {
            offset: std::env::var("ETL_CRASH_OFFSET").unwrap_or_else(|_| "700".into()),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/services");
        let mut command = Command::new(script);
        command
            .args(arguments)
            .env("ETL_SERVICES_OFFSET", &self.offset)
            .stdin(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) {
        // No pipes: the systems that it starts would hold them open.
        let mut command = self.command(arguments);
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "scripts/services {arguments:?}: {status}");
    }
}
