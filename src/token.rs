//! `meridian token`: makes a token for development or for an operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use meridian_core::auth::{Claims, Grant, SigningKey, mint};
use meridian_core::config::Config;
use meridian_core::vocabulary::{Channel, DeviceId, Tenant, UserId};

use crate::configuration;

/// Make a token and print it
///
/// The key comes from a configuration (`--config`, an HS256 key in it), from a secret or from a private
/// key's PEM file. With `--config` the key's issuer and the audience are filled in, and the token is
/// checked as the node would.
#[derive(Debug, Args)]
#[command(after_help = HELP, group(ArgGroup::new("source").required(true).multiple(true)))]
pub(crate) struct Options {
    /// The tenant
    #[arg(long)]
    tenant: String,
    /// The user (`sub`)
    #[arg(long)]
    user: String,
    /// The device
    #[arg(long)]
    device: Option<String>,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A permission; may be repeated
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Actions on channels (`flights:*=subscribe,publish`); may be repeated
    #[arg(long = "grant", value_name = "PATTERN=ACTIONS")]
    grants: Vec<Grant>,
    /// A channel to which the server subscribes the session; may be repeated
    #[arg(long = "subscribe", value_name = "CHANNEL")]
    subscribe: Vec<String>,
    /// How long it is good: 90s, 15m, 1h, 7d, or `never`
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Ttl,
    /// The issuer (`iss`) [default: the one that the configured key is bound to]
    #[arg(long)]
    issuer: Option<String>,
    /// The audience (`aud`) [default: the first in the configuration]
    #[arg(long)]
    audience: Option<String>,
    /// The token's id (`jti`)
    #[arg(long, value_name = "ID")]
    token_id: Option<String>,
    /// Take the key from this configuration
    #[arg(long, value_name = "FILE", group = "source")]
    config: Option<PathBuf>,
    /// The id of the key (`kid`) [default: the configuration's only HS256 key]
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// An HS256 secret; others on this machine can see it, so prefer --secret-file
    #[arg(long, group = "source", conflicts_with_all = ["secret_file", "pem"])]
    secret: Option<Secret>,
    /// A file with an HS256 secret
    #[arg(long, value_name = "FILE", group = "source", conflicts_with = "pem")]
    secret_file: Option<PathBuf>,
    /// A file with a private key (PKCS#8): P-256 for ES256, RSA for RS256, or Ed25519 for EdDSA
    #[arg(long, value_name = "FILE", group = "source")]
    pem: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  meridian token --config meridian.toml --tenant demo --user ann
  meridian token --secret-file secret.txt --tenant demo --user board --role viewer --ttl 7d
  meridian token --pem private.pem --key main --tenant demo --user feeder \\
      --grant 'flights:*=subscribe,publish' --subscribe flights:SFO

A private key for --pem:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out private.pem
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem     (or RS256)
  openssl genpkey -algorithm ED25519 -out private.pem                               (or EdDSA)
  openssl pkey -in private.pem -pubout -out public.pem     (the node's `pem_file`)";

/// Text that `Debug` does not show.
#[derive(Clone)]
struct Secret(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ttl {
    Milliseconds(u64),
    Never,
}

/// Prints a token.
pub(crate) fn run(options: &Options) -> Result<()> {
    let config =
        options.config.as_deref().map(|file| configuration::load(Some(file))).transpose()?;
    let key = signing_key(options, config.as_ref())?;
    let now_ms =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let now_ms = u64::try_from(now_ms.as_millis()).context("the clock is beyond all dates")?;
    let token = mint(&key, &claims(options, config.as_ref(), &key)?, now_ms)?;
    if let Some(config) = &config {
        let checked = config.auth.verifier().verify(&token, now_ms);
        checked.context("a node of this configuration would refuse the token")?;
    }
    println!("{token}");
    Ok(())
}

fn claims(options: &Options, config: Option<&Config>, key: &SigningKey) -> Result<Claims> {
    let channel = |text: &String| Channel::parse(text).context("--subscribe");
    let auth = config.map(|config| &config.auth);
    let configured =
        auth.and_then(|auth| auth.keys.iter().find(|k| k.verification.id() == key.id()));
    let issuer = configured.and_then(|key| key.verification.issuer());
    let audience = auth.and_then(|auth| auth.options.audience.first());
    Ok(Claims {
        tenant: Tenant::parse(&options.tenant).context("--tenant")?,
        user: UserId::parse(&options.user).context("--user")?,
        device: options.device.as_deref().map(DeviceId::parse).transpose().context("--device")?,
        issuer: options.issuer.clone().or(issuer.map(str::to_owned)),
        audience: options.audience.clone().or(audience.cloned()),
        roles: options.roles.iter().cloned().collect(),
        permissions: options.permissions.iter().cloned().collect(),
        grants: options.grants.clone(),
        subscribe: options.subscribe.iter().map(channel).collect::<Result<_>>()?,
        token_id: options.token_id.clone(),
        ttl_ms: match options.ttl {
            Ttl::Milliseconds(ms) => Some(ms),
            Ttl::Never => None,
        },
    })
}

fn signing_key(options: &Options, config: Option<&Config>) -> Result<SigningKey> {
    // Without an id the token names no key, and a node tries all that it has.
    let id = options.key.clone().unwrap_or_default();
    if let Some(Secret(secret)) = &options.secret {
        return SigningKey::hs256(id, secret.as_bytes()).context("--secret");
    }
    if let Some(file) = &options.secret_file {
        let secret = read(file)?;
        let secret = secret.trim_end_matches(['\r', '\n']);
        return SigningKey::hs256(id, secret.as_bytes()).context("--secret-file");
    }
    if let Some(file) = &options.pem {
        return SigningKey::from_pem(id, &read(file)?).context("--pem");
    }
    configured_key(options, config.context("no key: give --config, --secret-file or --pem")?)
}

fn configured_key(options: &Options, config: &Config) -> Result<SigningKey> {
    let signing = config.auth.keys.iter().filter_map(|key| key.signing.as_ref());
    let mut named =
        signing.filter(|key| options.key.as_deref().is_none_or(|id| key.id() == id)).cloned();
    match (named.next(), named.next(), &options.key) {
        (Some(key), None, _) => Ok(key),
        (None, _, Some(id)) => bail!(
            "the configuration has no HS256 key `{id}`; for another algorithm give the private key with --pem"
        ),
        (None, _, None) => bail!(
            "the configuration has no HS256 key to sign with; add one under [[auth.keys]], or give \
             --secret-file or --pem"
        ),
        (Some(_), Some(_), _) => {
            bail!("the configuration has several HS256 keys; choose with --key")
        }
    }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn parse_ttl(text: &str) -> Result<Ttl, String> {
    if text == "never" {
        return Ok(Ttl::Never);
    }
    let refuse = || "must be a number and s, m, h or d, such as 90s, 15m, 1h or 7d".to_owned();
    let (number, unit_ms) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1_000),
        Some((at, 'm')) => (&text[..at], 60_000),
        Some((at, 'h')) => (&text[..at], 3_600_000),
        Some((at, 'd')) => (&text[..at], 86_400_000),
        _ => return Err(refuse()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(unit_ms).filter(|ms| *ms > 0).map(Ttl::Milliseconds).ok_or_else(refuse)
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_to_live() {
        assert_eq!(parse_ttl("90s"), Ok(Ttl::Milliseconds(90_000)));
        assert_eq!(parse_ttl("7d"), Ok(Ttl::Milliseconds(7 * 86_400_000)));
        assert_eq!(parse_ttl("never"), Ok(Ttl::Never));
        for bad in ["", "h", "1", "0s", "-1h", "1w", "99999999999999999999d", "1é"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
