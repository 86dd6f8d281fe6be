//! Issuers: who makes tokens, for which tenants, and the keys that they publish. Owns the set of keys that
//! is replaced while a node runs; never fetches one.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::key::VerificationKey;
use crate::vocabulary::Tenant;

/// One who makes tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What stands in its tokens' `iss`.
    pub name: String,
    pub tenants: Tenants,
    /// The names under which it means this service; as `VerifierOptions::audience`, in its stead.
    pub audience: Vec<String>,
    /// Keys that it publishes, beside those that the configuration binds to it.
    pub published: Option<Published>,
}

/// The tenants that an issuer speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    Any,
    Listed(BTreeSet<Tenant>),
}

/// Keys that are read again and again.
#[derive(Debug, Clone)]
pub struct Published {
    pub source: KeySource,
    pub set: Arc<KeySet>,
}

/// Where keys are published, and how often they are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    pub place: KeyPlace,
    /// Where the answer says nothing of how long it is good.
    pub refresh: Duration,
    /// A key that is not known may cause one more fetch in so long.
    pub unknown_every: Duration,
    /// How long keys are good that cannot be fetched any more.
    pub keep: Duration,
}

/// A JWKS document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    File(PathBuf),
    Url {
        url: String,
        /// PEM of the roots to trust; without it, the system's.
        ca: Option<PathBuf>,
    },
}

/// Keys that can be replaced; shared by all who verify.
#[derive(Default)]
pub struct KeySet {
    /// `None`: there are none to be had; who signs cannot be told.
    keys: RwLock<Option<Arc<[VerificationKey]>>>,
}

impl Tenants {
    /// Whether the issuer speaks for the tenant.
    pub fn include(&self, tenant: &Tenant) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.contains(tenant),
        }
    }
}

impl KeySet {
    /// A set with keys in it.
    pub fn of(keys: Vec<VerificationKey>) -> Self {
        Self { keys: RwLock::new(Some(keys.into())) }
    }

    /// Puts others in place; `None`: those that were there are too old.
    pub fn replace(&self, keys: Option<Vec<VerificationKey>>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.map(Arc::from);
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Option<Arc<[VerificationKey]>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys()).finish()
    }
}
