//! A way in: what is asked, who may ask it, what answers, and how it is described. None can be written without its access.

use std::any::type_name;
use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::Api;
use super::openapi::{Described, Operation, Shapes};
use crate::identity::{Action, Permission, Resource};

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody: it is how they sign in.
    Open,
    /// Whoever has signed in.
    SignedIn,
    /// Whoever has signed in with a password: no API key makes another one, or changes a password.
    InPerson,
    /// Whoever has signed in and may do this.
    With(Permission),
}

impl Access {
    /// Whoever may do this to that.
    pub(super) const fn to(action: Action, resource: Resource) -> Self {
        Self::With(Permission::to(action, resource))
    }
}

/// A way in.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) handler: MethodRouter<Arc<Api>>,
    /// Whether a ticket in the query says who asks.
    pub(super) takes_ticket: bool,
    /// The module and the function that answer.
    pub(super) name: (&'static str, &'static str),
    /// One sentence for who reads the description.
    pub(super) summary: &'static str,
    /// Other good answers than the one that the handler's type tells.
    pub(super) also: &'static [StatusCode],
    pub(super) describe: fn(&mut Operation, &mut Shapes),
}

impl Route {
    pub(super) fn get<T: 'static, D>(
        path: &'static str,
        resource: Resource,
        handler: impl Handler<T, Arc<Api>> + Described<D>,
    ) -> Self {
        let access = Access::to(Action::Read, resource);
        Self::new(Method::GET, MethodFilter::GET, path, access, handler)
    }

    /// What everybody may look at who has signed in.
    pub(super) fn known<T: 'static, D>(
        path: &'static str,
        handler: impl Handler<T, Arc<Api>> + Described<D>,
    ) -> Self {
        Self::new(
            Method::GET,
            MethodFilter::GET,
            path,
            Access::SignedIn,
            handler,
        )
    }

    /// What belongs to whoever has signed in with a password.
    pub(super) fn own<T: 'static, D>(
        path: &'static str,
        handler: impl Handler<T, Arc<Api>> + Described<D>,
    ) -> Self {
        let access = Access::InPerson;
        Self::new(Method::GET, MethodFilter::GET, path, access, handler)
    }

    pub(super) fn post<T: 'static, D>(
        path: &'static str,
        access: Access,
        handler: impl Handler<T, Arc<Api>> + Described<D>,
    ) -> Self {
        Self::new(Method::POST, MethodFilter::POST, path, access, handler)
    }

    pub(super) fn put<T: 'static, D>(
        path: &'static str,
        access: Access,
        handler: impl Handler<T, Arc<Api>> + Described<D>,
    ) -> Self {
        Self::new(Method::PUT, MethodFilter::PUT, path, access, handler)
    }

    pub(super) fn delete<T: 'static, D>(
        path: &'static str,
        access: Access,
        handler: impl Handler<T, Arc<Api>> + Described<D>,
    ) -> Self {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, access, handler)
    }

    fn new<T: 'static, D, H: Handler<T, Arc<Api>> + Described<D>>(
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        Self {
            method,
            path,
            access,
            takes_ticket: false,
            handler: on(filter, handler),
            name: name_of::<H>(),
            summary: "",
            also: &[],
            describe: H::describe,
        }
    }

    /// What it does, in one sentence.
    pub(super) fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// A ticket in the query may say who asks, in place of the header.
    pub(super) fn by_ticket(mut self) -> Self {
        self.takes_ticket = true;
        self
    }

    /// Answers this as well, with the same content.
    pub(super) fn also(mut self, statuses: &'static [StatusCode]) -> Self {
        self.also = statuses;
        self
    }
}

/// `etl::api::jobs::list` is `("jobs", "list")`.
fn name_of<H>() -> (&'static str, &'static str) {
    let mut parts = type_name::<H>().rsplit("::");
    let function = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), function)
}
