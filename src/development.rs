//! What a development node assumes where its configuration says nothing: a key of its own, and a few
//! namespaces to play with. Nothing of this exists outside `dev`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use meridian_core::auth::{Claims, SigningKey, VerificationKey, mint};
use meridian_core::config::{AuthKey, Config};
use meridian_core::policy::{DeliveryClass, Policies, Policy, Rule};
use meridian_core::vocabulary::{Namespace, Tenant, UserId};

use crate::dev::Demo;

/// The tenant that a development node's own token and demo belong to.
pub(crate) const TENANT: &str = "demo";
const KEY_FILE: &str = "development.key";
const KEY_ID: &str = "development";
const TOKEN_DAYS: u64 = 30;

/// The node's own HS256 key, kept in its data folder so that tokens outlive a restart.
pub(crate) fn key(dir: &Path) -> Result<AuthKey> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(KEY_FILE);
    let secret = match std::fs::read_to_string(&path) {
        Ok(secret) => secret,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_secret(&path)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let secret = secret.trim().as_bytes();
    Ok(AuthKey {
        verification: VerificationKey::hs256(KEY_ID, secret)?,
        signing: Some(SigningKey::hs256(KEY_ID, secret)?),
    })
}

fn make_secret(path: &Path) -> Result<String> {
    let bytes: [u8; 32] = rand::random();
    let secret = hex(&bytes);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file =
        options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(secret.as_bytes())?;
    Ok(secret)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token that may do everything in the development namespaces, signed by the first key that can.
pub(crate) fn token(config: &Config, now_ms: u64) -> Result<String> {
    let key = config
        .auth
        .keys
        .iter()
        .find_map(|key| key.signing.as_ref())
        .context("no key of the configuration can sign a development token")?;
    let tenant = Tenant::parse(TENANT)?;
    let user = UserId::parse("developer")?;
    let claims = Claims {
        audience: config.auth.options.audience.first().cloned(),
        ttl_ms: Some(TOKEN_DAYS * 86_400_000),
        ..Claims::new(tenant, user)
    };
    Ok(mint(key, &claims, now_ms / 1000 * 1000)?)
}

/// The configured namespaces, and a few to play with where none is configured.
pub(crate) fn policies(configured: &Policies, demo: Option<Demo>) -> Policies {
    let mut all: BTreeMap<Namespace, Policy> = BTreeMap::new();
    let mut add = |name: &str, class, rule: Rule| {
        let name = Namespace::parse(name).expect("invariant: literals within the grammar");
        let allowed = BTreeSet::from([rule]);
        let policy =
            Policy { class, subscribe: allowed.clone(), publish: allowed, ..Policy::default() };
        all.insert(name, policy);
    };
    if configured.iter().all(|(name, _)| name.as_str() == "$user") {
        add("demo", DeliveryClass::Strict, Rule::Tenant);
        add("typing", DeliveryClass::Ephemeral, Rule::Tenant);
    }
    if demo == Some(Demo::Flights) {
        add("flights", DeliveryClass::Strict, Rule::Tenant);
    }
    all.extend(configured.iter().map(|(name, policy)| (name.clone(), policy.clone())));
    Policies::new(all)
}
