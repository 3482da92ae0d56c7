//! The connector contract: the author's side is typed, the engine's side erased; one blanket implementation joins them.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::StepContext;
use crate::model::{EffectClass, Report, StepError};

/// Does the work of a step.
///
/// # Contract
/// Between an author and the engine. The author gives two types and one async function; the engine derives the schemas,
/// checks and decodes the configuration, decrypts the credential, and calls [`run`](Self::run) once for each attempt.
///
/// - `run` MUST watch [`StepContext::cancelled`] (or be a future that may be dropped) and end within a second of it.
/// - `run` MUST NOT block the thread for long; blocking work goes to `tokio::task::spawn_blocking`.
/// - What it writes MUST follow the [`EffectClass`] that it declares, because recovery relies on it.
///
/// ```
/// use etl_core::contract::{Connector, NoCredential, StepContext};
/// use etl_core::model::{Report, StepError};
///
/// /// Says hello.
/// struct Hello;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct HelloConfig {
///     /// Whom to greet.
///     name: String,
/// }
///
/// impl Connector for Hello {
///     const NAME: &'static str = "hello";
///     type Config = HelloConfig;
///     type Credential = NoCredential;
///
///     async fn run(&self, config: HelloConfig, _: Option<NoCredential>, ctx: StepContext) -> Result<Report, StepError> {
///         ctx.info(format!("hello, {}", config.name)).await;
///         Ok(Report::rows(1).with_output(config.name))
///     }
/// }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// The `connector_type` that documents write.
    const NAME: &'static str;
    /// What the step's `config` holds. Doc comments become the schema's descriptions.
    type Config: DeserializeOwned + JsonSchema + Send + 'static;
    /// What the step's credential holds; [`NoCredential`] if it takes none.
    type Credential: DeserializeOwned + JsonSchema + Send + 'static;

    /// The connector's own version.
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// One sentence for `etl connectors`.
    fn description(&self) -> &'static str {
        ""
    }

    /// How often its effect may happen when attempts are lost and repeated.
    fn effects(&self, _config: &Self::Config) -> EffectClass {
        EffectClass::Idempotent
    }

    /// What the schema can't say about a configuration: a list of faults, each as (JSON pointer below `config`, message).
    fn check(&self, _config: &Self::Config) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Tries whether a credential is good: signs in where it leads to, and changes nothing there. A connector that knows no place
    /// without a step's configuration can only look at its shape, which was done before.
    ///
    /// # Errors
    /// Why it is not good. The message MUST NOT repeat anything of the credential.
    fn test(
        &self,
        _credential: Self::Credential,
    ) -> impl Future<Output = Result<Tested, StepError>> + Send {
        std::future::ready(Ok(Tested::Shape))
    }

    /// Runs one attempt to its end.
    ///
    /// # Errors
    /// Why it failed, with the class that decides what comes next.
    fn run(
        &self,
        config: Self::Config,
        credential: Option<Self::Credential>,
        ctx: StepContext,
    ) -> impl Future<Output = Result<Report, StepError>> + Send;
}

/// How far a credential was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tested {
    /// It opens, and has the shape that the connector takes.
    Shape,
    /// It was let in where it leads to.
    SignIn,
}

/// The credential of a connector that takes none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoCredential {}

/// What `etl connectors` shows of a connector.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConnectorInfo {
    /// The `connector_type` that documents write.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// JSON Schema (2020-12) of a step's `config`.
    pub config_schema: Value,
    /// JSON Schema (2020-12) of its credential; `null` if it takes none.
    pub credential_schema: Value,
}

/// A connector as the engine sees it, its types erased. Implemented for every [`Connector`]; not to be implemented by hand.
#[async_trait]
pub trait DynConnector: Send + Sync + 'static {
    /// Its description and schemas.
    fn info(&self) -> ConnectorInfo;
    /// JSON Schema of a step's `config`.
    fn config_schema(&self) -> Value;
    /// What the schema can't say about this configuration; nothing if it can't be decoded (then the schema says so).
    fn check(&self, config: &Value) -> Vec<(String, String)>;
    /// The effect class under this configuration; `None` if it can't be decoded (templates not rendered yet).
    fn effects(&self, config: &Value) -> Option<EffectClass>;
    /// Decodes and tries a credential.
    async fn test_dyn(&self, credential: Value) -> Result<Tested, StepError>;
    /// Decodes and runs one attempt.
    async fn run_dyn(
        &self,
        config: Arc<Value>,
        credential: Option<Value>,
        ctx: StepContext,
    ) -> Result<Report, StepError>;
}

#[async_trait]
impl<C: Connector> DynConnector for C {
    fn info(&self) -> ConnectorInfo {
        let takes_credential =
            std::any::TypeId::of::<C::Credential>() != std::any::TypeId::of::<NoCredential>();
        ConnectorInfo {
            name: C::NAME.into(),
            version: self.version().into(),
            description: self.description().into(),
            config_schema: self.config_schema(),
            credential_schema: if takes_credential {
                schema_of::<C::Credential>()
            } else {
                Value::Null
            },
        }
    }

    fn config_schema(&self) -> Value {
        schema_of::<C::Config>()
    }

    fn check(&self, config: &Value) -> Vec<(String, String)> {
        C::Config::deserialize(config)
            .map(|config| Connector::check(self, &config))
            .unwrap_or_default()
    }

    fn effects(&self, config: &Value) -> Option<EffectClass> {
        C::Config::deserialize(config)
            .ok()
            .map(|config| Connector::effects(self, &config))
    }

    async fn test_dyn(&self, credential: Value) -> Result<Tested, StepError> {
        self.test(decoded::<C>(credential)?).await
    }

    async fn run_dyn(
        &self,
        config: Arc<Value>,
        credential: Option<Value>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let config = C::Config::deserialize(&*config).map_err(|fault| {
            StepError::permanent(format!("config of a {} step: {fault}", C::NAME))
        })?;
        let credential = credential.map(decoded::<C>).transpose()?;
        self.run(config, credential, ctx).await
    }
}

/// The cause is left out on purpose: serde quotes what it read, and that is a secret here.
fn decoded<C: Connector>(credential: Value) -> Result<C::Credential, StepError> {
    C::Credential::deserialize(credential).map_err(|_| {
        StepError::auth(format!(
            "the credential does not have the shape that {} takes",
            C::NAME
        ))
    })
}

fn schema_of<T: JsonSchema>() -> Value {
    let schema: Schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.to_value()
}
