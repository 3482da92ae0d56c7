//! The contract, for a store that has a writer and readers.

/// Implements `Accounts` for a store. `$ask` is how it asks its writer; `reading` gives a connection that reads, and `reading_now`
/// one that also knows the time.
#[macro_export]
macro_rules! accounts_store {
    ($store:ty, $ask:ident) => {
        $crate::accounts_store! { @impl $store; $ask;
            create_user(CreateUser) -> UserCreated,
            update_user(UpdateUser) -> UserWrite,
            remove_user(RemoveUser) -> UserWrite,
            end_sessions(EndSessions) -> bool,
            admit_login(AdmitLogin) -> LoginGate,
            login_succeeded(LoginSucceeded) -> bool,
            change_mfa(ChangeMfa) -> bool,
            open_session(OpenSession) -> Option<Session>,
            rotate_token(RotateToken) -> TokenRotation,
            revoke_session(RevokeSession) -> bool,
            create_api_key(CreateApiKey) -> Option<ApiKey>,
            revoke_api_key(RevokeApiKey) -> bool,
            put_token(PutToken) -> bool,
            take_token(TakeToken) -> Option<OneTimeToken>,
            fail_token(FailToken) -> Option<u32>,
            forget_ended(ForgetEnded) -> u64,
        }
    };
    (@impl $store:ty; $ask:ident; $($name:ident($input:ty) -> $output:ty,)+) => {
        #[::async_trait::async_trait]
        impl ::etl_core::contract::store::Accounts for $store {
            $(async fn $name(&self, request: $input) -> StoreResult<$output> {
                self.$ask(request).await
            })+

            async fn user(&self, id: UserId) -> StoreResult<Option<User>> {
                let found = accounts::user(&mut self.reading(), id).await;
                found.map_err(|fault| fault.of("user"))
            }

            async fn user_by_email(&self, email: &str) -> StoreResult<Option<User>> {
                let found = accounts::user_by_email(&mut self.reading(), email).await;
                found.map_err(|fault| fault.of("user_by_email"))
            }

            async fn users(&self, page: &PageRequest) -> StoreResult<Page<User>> {
                let found = accounts::users(&mut self.reading(), page).await;
                found.map_err(|fault| fault.of("users"))
            }

            async fn sessions(&self, user: UserId) -> StoreResult<Vec<Session>> {
                let found = accounts::sessions(&mut self.reading(), user).await;
                found.map_err(|fault| fault.of("sessions"))
            }

            async fn use_api_key(&self, hash: TokenHash) -> StoreResult<Option<(ApiKey, User)>> {
                let found = async { accounts::api_key(&mut self.reading_now().await?, hash).await };
                match found.await.map_err(|fault| fault.of("use_api_key"))? {
                    // Only a use that is to be noted is the writer's.
                    Some((_, true, _)) => self.$ask(hash).await,
                    Some((key, false, user)) => Ok(Some((key, user))),
                    None => Ok(None),
                }
            }

            async fn api_keys(&self, user: UserId) -> StoreResult<Vec<ApiKey>> {
                let found = accounts::api_keys(&mut self.reading(), user).await;
                found.map_err(|fault| fault.of("api_keys"))
            }

            async fn token(
                &self,
                hash: TokenHash,
                purpose: Purpose,
            ) -> StoreResult<Option<OneTimeToken>> {
                let found = async {
                    accounts::token(&mut self.reading_now().await?, hash, purpose).await
                };
                found.await.map_err(|fault| fault.of("token"))
            }
        }
    };
}
