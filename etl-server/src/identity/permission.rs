//! What a role may do: the one table of roles, resources and actions. What is not in it is forbidden.

use std::fmt;

use etl_core::model::Role;

/// What is acted on. A resource comes with its first route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Pipelines in all their versions.
    Pipelines,
    /// Jobs with their steps.
    Jobs,
    /// Connectors and their schemas: they tell nothing of anybody's data.
    Connectors,
    /// When pipelines run by themselves.
    Schedules,
    /// Credentials, without their secrets.
    Credentials,
    /// Users, their sessions and what they may do.
    Users,
    /// The audit log.
    Audit,
    /// Figures of what was done.
    Metrics,
    /// What failed for good.
    DeadLetters,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// To make one.
    Create,
    /// To look at it.
    Read,
    /// To make it different.
    Update,
    /// To take it away.
    Delete,
    /// To make a job of it.
    Execute,
    /// To ask for its end.
    Cancel,
    /// To do it once more.
    Retry,
    /// To stop it for a while, and to let it go on.
    Pause,
}

const RESOURCES: [Resource; 9] = [
    Resource::Pipelines,
    Resource::Jobs,
    Resource::Connectors,
    Resource::Schedules,
    Resource::Credentials,
    Resource::Users,
    Resource::Audit,
    Resource::Metrics,
    Resource::DeadLetters,
];
const ACTIONS: [Action; 8] = [
    Action::Create,
    Action::Read,
    Action::Update,
    Action::Delete,
    Action::Execute,
    Action::Cancel,
    Action::Retry,
    Action::Pause,
];

/// The right to do one thing. In text, as scopes of API keys name it: `jobs:read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) resource: Resource,
    pub(crate) action: Action,
}

impl Permission {
    /// The right to do this to that.
    pub(crate) const fn to(action: Action, resource: Resource) -> Self {
        Self { resource, action }
    }

    /// Whether this role has it.
    pub(crate) fn is_of(self, role: Role) -> bool {
        use Action::{Cancel, Create, Delete, Execute, Pause, Read, Retry, Update};
        let allowed: &[Action] = match (self.resource, role) {
            (Resource::Pipelines, Role::Admin) => &[Create, Read, Update, Delete, Execute],
            (Resource::Pipelines, Role::Operator) => &[Read, Execute],
            (Resource::Jobs, Role::Admin) => &[Read, Cancel, Retry],
            (Resource::Jobs, Role::Operator) => &[Read, Cancel],
            (Resource::Schedules, Role::Admin) => &[Create, Read, Update, Delete, Pause],
            (Resource::Schedules, Role::Operator) => &[Read, Pause],
            (Resource::DeadLetters, Role::Admin | Role::Operator) => &[Read, Update, Retry],
            (
                Resource::Pipelines | Resource::Jobs | Resource::Schedules | Resource::DeadLetters,
                Role::Viewer,
            )
            | (
                Resource::Connectors | Resource::Metrics,
                Role::Admin | Role::Operator | Role::Viewer,
            )
            | (Resource::Credentials, Role::Operator)
            | (Resource::Audit, Role::Admin) => &[Read],
            (Resource::Credentials | Resource::Users, Role::Admin) => {
                &[Create, Read, Update, Delete]
            }
            (Resource::Credentials, Role::Viewer)
            | (Resource::Users | Resource::Audit, Role::Operator | Role::Viewer) => &[],
        };
        allowed.contains(&self.action)
    }

    /// Everything that somebody may do: what scopes of API keys can name.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let every = RESOURCES
            .into_iter()
            .flat_map(|resource| ACTIONS.map(|action| Self::to(action, resource)));
        every.filter(|permission| permission.is_of(Role::Admin))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = match self.resource {
            Resource::Pipelines => "pipelines",
            Resource::Jobs => "jobs",
            Resource::Connectors => "connectors",
            Resource::Schedules => "schedules",
            Resource::Credentials => "credentials",
            Resource::Audit => "audit",
            Resource::Metrics => "metrics",
            Resource::DeadLetters => "dead_letters",
            Resource::Users => "users",
        };
        let action = match self.action {
            Action::Create => "create",
            Action::Read => "read",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::Execute => "execute",
            Action::Cancel => "cancel",
            Action::Retry => "retry",
            Action::Pause => "pause",
        };
        write!(f, "{resource}:{action}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_what_the_table_says_and_nothing_else() {
        // As the table's text has it: resource, and the actions of admin, operator and viewer.
        for (resource, admin, operator, viewer) in [
            (
                Resource::Pipelines,
                "create read update delete execute",
                "read execute",
                "read",
            ),
            (Resource::Jobs, "read cancel retry", "read cancel", "read"),
            (Resource::Connectors, "read", "read", "read"),
            (
                Resource::Schedules,
                "create read update delete pause",
                "read pause",
                "read",
            ),
            (
                Resource::Credentials,
                "create read update delete",
                "read",
                "",
            ),
            (Resource::Users, "create read update delete", "", ""),
            (Resource::Audit, "read", "", ""),
            (Resource::Metrics, "read", "read", "read"),
            (
                Resource::DeadLetters,
                "read update retry",
                "read update retry",
                "read",
            ),
        ] {
            for (role, expected) in [
                (Role::Admin, admin),
                (Role::Operator, operator),
                (Role::Viewer, viewer),
            ] {
                let permissions = ACTIONS.map(|action| Permission::to(action, resource));
                let allowed: Vec<String> = permissions
                    .into_iter()
                    .filter(|permission| permission.is_of(role))
                    .map(|permission| permission.to_string())
                    .collect();
                let expected: Vec<String> = expected
                    .split_whitespace()
                    .map(|action| {
                        let text = Permission::to(Action::Read, resource).to_string();
                        text.replace("read", action)
                    })
                    .collect();
                assert_eq!(allowed, expected, "{role} {resource:?}");
            }
        }
    }

    #[test]
    fn a_scope_is_something_that_somebody_may_do() {
        let all: Vec<String> = Permission::all().map(|one| one.to_string()).collect();
        assert!(all.contains(&"jobs:cancel".into()));
        assert!(!all.contains(&"connectors:delete".into()));
    }
}
