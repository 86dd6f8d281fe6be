//! Decisions: may this holder do that on this channel? Owns the meaning of a policy's rules. Anything that
//! is not allowed is denied, and a namespace that does not exist is denied in the same way as one that
//! is forbidden.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Action, Identity};
use crate::policy::{Policies, Policy, Rule};
use crate::vocabulary::Channel;

/// An authoriser's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
    /// No answer could be had; ask again later. Nothing is allowed meanwhile.
    Unavailable,
}

/// Decides what a token's holder may do.
///
/// Asked before every subscribe and publish, and again for each subscription after a refresh, on every
/// transport. An answer holds for the identity that it was asked for and no other. An implementation
/// bounds its own time and answers `Unavailable` rather than wait; dropping the future changes nothing.
#[async_trait]
pub trait Authoriser: Send + Sync {
    /// Whether `identity` may do `action` on `channel` of its own tenant.
    async fn authorise(&self, identity: &Identity, action: Action, channel: &Channel) -> Decision;
}

/// Decides by the policies of the node alone; never unavailable.
#[derive(Debug, Clone)]
pub struct PolicyAuthoriser {
    policies: Arc<Policies>,
}

impl PolicyAuthoriser {
    /// An authoriser by these policies.
    pub fn new(policies: Arc<Policies>) -> Self {
        Self { policies }
    }

    /// Whether `identity` may do `action` on `channel` of its own tenant. Allocates nothing.
    pub fn decide(&self, identity: &Identity, action: Action, channel: &Channel) -> bool {
        self.policies.of(channel).is_some_and(|policy| {
            rules(policy, action).iter().any(|rule| holds(rule, identity, action, channel))
        })
    }
}

#[async_trait]
impl Authoriser for PolicyAuthoriser {
    async fn authorise(&self, identity: &Identity, action: Action, channel: &Channel) -> Decision {
        if self.decide(identity, action, channel) { Decision::Allow } else { Decision::Deny }
    }
}

fn rules(policy: &Policy, action: Action) -> &std::collections::BTreeSet<Rule> {
    match action {
        Action::Subscribe => &policy.subscribe,
        Action::Publish => &policy.publish,
    }
}

fn holds(rule: &Rule, identity: &Identity, action: Action, channel: &Channel) -> bool {
    match rule {
        Rule::Tenant => true,
        Rule::User(user) => identity.user.as_str() == user,
        Rule::Role(role) => identity.roles.contains(role),
        Rule::Permission(permission) => identity.permissions.contains(permission),
        Rule::Owner => identity.user.as_str() == channel.name(),
        Rule::Granted => identity.grants.iter().any(|grant| grant.allows(action, channel)),
    }
}
