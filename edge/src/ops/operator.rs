//! Who asks on the admin listener: the roles of operators, each with the rights of those below. Owns whose
//! token counts for which tenant; what it allows is each request's affair.

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use meridian_core::auth::Identity;
use meridian_core::protocol::Code;
use meridian_core::vocabulary::Tenant;

use crate::node::Node;

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Look at what only operators see.
    Viewer,
    /// Change how the node works, and who may use it.
    Operator,
    /// All there is.
    Admin,
}

/// An operator, as their token says.
#[derive(Debug)]
pub(crate) struct Operator {
    /// For the log.
    pub(crate) name: String,
    identity: Identity,
}

/// Why a request is not an operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAllowed {
    #[error("an operator's token is needed: Authorization: Bearer …")]
    NoToken,
    #[error("the token is not good")]
    BadToken,
    #[error("the token lacks the role `{}`", .0.role())]
    Role(Level),
    #[error("the token's issuer does not speak for that tenant")]
    Tenant,
    #[error("the token's issuer does not speak for all tenants, and this concerns them all")]
    AllTenants,
}

impl Level {
    const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The role in a token.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Self::Viewer => "meridian-viewer",
            Self::Operator => "meridian-operator",
            Self::Admin => "meridian-admin",
        }
    }
}

impl NotAllowed {
    pub(crate) fn answer(self) -> (StatusCode, Code) {
        match self {
            Self::NoToken | Self::BadToken => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Self::Role(_) | Self::Tenant | Self::AllTenants => {
                (StatusCode::FORBIDDEN, Code::Forbidden)
            }
        }
    }
}

impl Operator {
    /// Who asks, if they have the rights of a level.
    pub(crate) async fn of(
        node: &Node,
        headers: &HeaderMap,
        level: Level,
    ) -> Result<Self, NotAllowed> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|text| text.strip_prefix("Bearer "));
        let token = token.ok_or(NotAllowed::NoToken)?;
        let identity = node.tokens.verify(token).await.map_err(|_| NotAllowed::BadToken)?;
        let suffices = |of: &Level| *of >= level && identity.roles.contains(of.role());
        if !Level::ALL.iter().any(suffices) {
            return Err(NotAllowed::Role(level));
        }
        let name = format!("{}/{}", identity.tenant, identity.user);
        Ok(Self { name, identity })
    }

    /// The same for what concerns the clients of every tenant.
    pub(crate) async fn of_all(
        node: &Node,
        headers: &HeaderMap,
        level: Level,
    ) -> Result<Self, NotAllowed> {
        let operator = Self::of(node, headers, level).await?;
        match node.tokens.verifier().speaks_for_all(&operator.identity.issuer) {
            true => Ok(operator),
            false => Err(NotAllowed::AllTenants),
        }
    }

    /// Whether the operator's word counts for a tenant: an issuer gives no rights over tenants that it
    /// does not speak for.
    pub(crate) fn check_tenant(&self, node: &Node, tenant: &Tenant) -> Result<(), NotAllowed> {
        match node.tokens.verifier().speaks_for(&self.identity.issuer, tenant) {
            true => Ok(()),
            false => Err(NotAllowed::Tenant),
        }
    }
}
