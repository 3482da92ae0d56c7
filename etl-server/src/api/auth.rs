//! `/auth`: signing in and out, and what somebody changes of how they sign in.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::model::{Page, Role, SessionId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::Done;
use super::body::Body;
use super::extract::Id;
use super::problem::Problem;
use super::route::{Access, Route};
use super::users::{ShownSession, email, sessions_of};
use crate::identity::{
    ACCESS_TOKEN_LIFE, Client, Enrolment, Permission, Principal, Secret, SignedIn, Tokens,
    Verification,
};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/auth/login", Access::Open, login)
            .says("Signs in with a password, or asks for the second factor"),
        Route::post("/api/v1/auth/setup", Access::Open, setup)
            .says("Makes the first admin and signs them in"),
        Route::post("/api/v1/auth/refresh", Access::Open, refresh)
            .says("The next access token and refresh token of a session"),
        Route::post("/api/v1/auth/logout", Access::InPerson, logout)
            .says("Ends the session that asks"),
        Route::known("/api/v1/auth/me", me).says("Who has signed in, and what they may do"),
        Route::own("/api/v1/auth/sessions", sessions)
            .says("The sessions of whoever asks, the newest first"),
        Route::delete("/api/v1/auth/sessions/{id}", Access::InPerson, end_session)
            .says("Ends a session of whoever asks"),
        Route::post("/api/v1/auth/password", Access::InPerson, password)
            .says("Another password: every session ends and a new one begins"),
        Route::post("/api/v1/auth/mfa/enroll", Access::InPerson, enroll)
            .says("A new second factor, which is on once its first code was right"),
        Route::post("/api/v1/auth/mfa/verify", Access::Open, verify)
            .says("A code: goes on with a sign-in, or turns a new second factor on"),
        Route::post("/api/v1/auth/mfa/disable", Access::InPerson, disable)
            .says("No second factor any more: every session ends and a new one begins"),
    ]
}

/// Who signs in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    #[schemars(length(max = 254))]
    email: String,
    #[schemars(length(max = 128))]
    password: Secret,
}

/// The first admin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstAdmin {
    /// The set-up token that `etl serve` prints while there is no user.
    token: Secret,
    #[schemars(length(max = 254))]
    email: String,
    #[schemars(length(min = 12, max = 128))]
    password: Secret,
}

/// How a session goes on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    refresh_token: Secret,
}

/// A code of the second factor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    /// What asked for the code.
    mfa_token: Secret,
    /// Six digits, or a recovery code.
    #[schemars(length(max = 64))]
    code: Secret,
}

/// The password again, of whoever has signed in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    #[schemars(length(max = 128))]
    password: Secret,
}

/// The password again, and a code of the second factor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgainWithCode {
    #[schemars(length(max = 128))]
    password: Secret,
    /// Six digits, or a recovery code.
    #[schemars(length(max = 64))]
    code: Secret,
}

/// Another password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    #[schemars(length(max = 128))]
    current_password: Secret,
    #[schemars(length(min = 12, max = 128))]
    new_password: Secret,
}

/// What whoever has signed in goes on with.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TokenPair {
    /// For the header `Authorization`.
    access_token: Secret,
    /// Good once, for the next pair.
    refresh_token: Secret,
    /// Seconds that the access token is good.
    expires_in: u64,
    /// `Bearer`
    token_type: &'static str,
}

/// What comes of the right password.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SignInAnswer {
    SignedIn(TokenPair),
    /// A code is asked for.
    Challenged {
        /// To be sent with the code.
        mfa_token: Secret,
    },
}

/// What comes of the right code.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum CodeAnswer {
    SignedIn(TokenPair),
    /// The second factor is on.
    On {
        /// Each of them is good once in place of a code.
        recovery_codes: Vec<Secret>,
    },
}

/// A new second factor, which is on once its first code was right.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct NewFactor {
    /// In base32, for an app.
    secret: Secret,
    /// The same for a QR code.
    otpauth_url: Secret,
    /// To be sent with the first code.
    mfa_token: Secret,
}

/// Who has signed in.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Me {
    id: UserId,
    email: String,
    role: Role,
    /// Whether a second factor is asked for.
    mfa_enabled: bool,
    /// None for an API key.
    session_id: Option<SessionId>,
    /// What they may do.
    permissions: Vec<String>,
}

impl From<Tokens> for TokenPair {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access,
            refresh_token: tokens.refresh,
            expires_in: ACCESS_TOKEN_LIFE.as_secs(),
            token_type: "Bearer",
        }
    }
}

pub(super) async fn login(
    State(api): State<Arc<Api>>,
    Extension(client): Extension<Client>,
    Body(body): Body<SignIn>,
) -> Result<Json<SignInAnswer>, Problem> {
    let identity = &api.identity;
    let signed_in = identity
        .sign_in(&body.email, &body.password, &client)
        .await?;
    Ok(Json(match signed_in {
        SignedIn::Session(tokens) => SignInAnswer::SignedIn(tokens.into()),
        SignedIn::Challenge(mfa_token) => SignInAnswer::Challenged { mfa_token },
    }))
}

pub(super) async fn setup(
    State(api): State<Arc<Api>>,
    Extension(client): Extension<Client>,
    Body(body): Body<FirstAdmin>,
) -> Result<Json<TokenPair>, Problem> {
    let email = email(&body.email)?;
    let set_up = api
        .identity
        .set_up(&body.token, email, &body.password, &client);
    Ok(Json(set_up.await?.into()))
}

pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    Extension(client): Extension<Client>,
    Body(body): Body<Refresh>,
) -> Result<Json<TokenPair>, Problem> {
    let tokens = api.identity.refresh(&body.refresh_token, &client).await?;
    Ok(Json(tokens.into()))
}

/// Ends the session that asks.
pub(super) async fn logout(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
) -> Result<Done, Problem> {
    if let Some(session) = principal.session() {
        api.identity.end_session(principal.user, session).await?;
    }
    Ok(Done)
}

pub(super) async fn me(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Me>, Problem> {
    let user = api.accounts.user(principal.user).await?;
    let user = user.ok_or_else(Problem::not_found)?;
    let permissions = Permission::all().filter(|permission| principal.may(*permission));
    Ok(Json(Me {
        id: principal.user,
        permissions: permissions
            .map(|permission| permission.to_string())
            .collect(),
        session_id: principal.session(),
        role: principal.role,
        mfa_enabled: user.mfa.is_on(),
        email: user.email,
    }))
}

/// The sessions of whoever asks that are not forgotten yet, the newest first, in one page.
pub(super) async fn sessions(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Page<ShownSession>>, Problem> {
    sessions_of(&api, principal.user).await.map(Json)
}

/// Ends one of them.
pub(super) async fn end_session(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(session): Id<SessionId>,
) -> Result<Done, Problem> {
    let ended = api.identity.end_session(principal.user, session).await?;
    ended.then_some(Done).ok_or_else(Problem::not_found)
}

/// Another password. Every session ends, and a new one begins.
pub(super) async fn password(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Extension(client): Extension<Client>,
    Body(body): Body<NewPassword>,
) -> Result<Json<TokenPair>, Problem> {
    let changed = api.identity.change_password(
        principal.user,
        &body.current_password,
        &body.new_password,
        &client,
    );
    Ok(Json(changed.await?.into()))
}

pub(super) async fn enroll(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Extension(client): Extension<Client>,
    Body(body): Body<Again>,
) -> Result<Json<NewFactor>, Problem> {
    let enrolled = api.identity.enrol(principal.user, &body.password, &client);
    let Enrolment {
        secret,
        url,
        challenge,
    } = enrolled.await?;
    Ok(Json(NewFactor {
        secret,
        otpauth_url: url,
        mfa_token: challenge,
    }))
}

pub(super) async fn verify(
    State(api): State<Arc<Api>>,
    Extension(client): Extension<Client>,
    Body(body): Body<Code>,
) -> Result<Json<CodeAnswer>, Problem> {
    let verified = api
        .identity
        .verify(&body.mfa_token, &body.code, &client)
        .await?;
    Ok(Json(match verified {
        Verification::Session(tokens) => CodeAnswer::SignedIn(tokens.into()),
        Verification::On(recovery_codes) => CodeAnswer::On { recovery_codes },
    }))
}

/// No second factor any more. Every session ends, and a new one begins.
pub(super) async fn disable(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Extension(client): Extension<Client>,
    Body(body): Body<AgainWithCode>,
) -> Result<Json<TokenPair>, Problem> {
    let disabled = api
        .identity
        .disable_mfa(principal.user, &body.password, &body.code, &client);
    Ok(Json(disabled.await?.into()))
}
