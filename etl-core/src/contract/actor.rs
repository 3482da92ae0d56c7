//! Who acts in a piece of work, so that no call has to hand it on and none can forget it.

use std::sync::Arc;

use crate::model::Actor;

tokio::task_local! {
    static ACTOR: Arc<Actor>;
}

/// Does some work as this actor: what stores change in it they note in the [audit log](super::store::AuditLog). Tasks that the work
/// starts act as nobody.
pub async fn acting<F: Future>(actor: Arc<Actor>, work: F) -> F::Output {
    ACTOR.scope(actor, work).await
}

/// Who acts here, if somebody does.
pub fn actor() -> Option<Arc<Actor>> {
    ACTOR.try_with(Arc::clone).ok()
}
