//! Keys and what a token must fulfil. A secret goes from here into a key and nowhere else.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::issuers;
use super::reader::Section;
use crate::auth::{
    Algorithm, Issuer, KeyError, SigningKey, VerificationKey, Verifier, VerifierOptions,
};

/// Each key may be tried for a token that names none.
const MAX_KEYS: usize = 16;
const MAX_TEXT_BYTES: usize = 128;
const MAX_LIFETIME_S: u64 = 10 * 365 * 86_400;

/// `[auth]`
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// Empty: nobody's token is accepted.
    pub keys: Vec<AuthKey>,
    /// No audience; 30 s of leeway, more than synchronised clocks differ; `exp` required, since a stolen
    /// token would be good for ever; no bound on lifetimes, which are the issuer's affair.
    pub options: VerifierOptions,
    /// Empty: of no issuer is more known than its keys.
    pub issuers: Vec<Issuer>,
    /// `None`: no cookie is read.
    pub cookie: Option<String>,
}

/// One of `auth.keys`.
#[derive(Debug, Clone)]
pub struct AuthKey {
    pub verification: VerificationKey,
    /// A shared secret signs as well; a public key does not.
    pub signing: Option<SigningKey>,
}

impl Auth {
    /// The verifier of these keys. All verifiers of one configuration share the keys that issuers
    /// publish.
    pub fn verifier(&self) -> Verifier {
        let keys = self.keys.iter().map(|key| key.verification.clone()).collect();
        Verifier::new(keys, self.options.clone()).with_issuers(self.issuers.clone())
    }

    /// Whether any token can be accepted.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.issuers.iter().any(|issuer| issuer.published.is_some())
    }

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let keys = section.sections("keys", read_key);
        if keys.len() > MAX_KEYS {
            section.fault("keys", format!("must have at most {MAX_KEYS} keys"));
        }
        let keys: Vec<AuthKey> = keys.into_iter().flatten().collect();
        let mut ids = BTreeSet::new();
        for key in &keys {
            let id = key.verification.id();
            if !ids.insert(id) {
                section.fault("keys", format!("two keys have the id `{id}`"));
            }
        }
        let options = read_options(section);
        let issuers = issuers::read(section, &keys, &options.audience);
        let cookie = section.optional("cookie", cookie_name);
        Self { options, keys, issuers, cookie }
    }
}

/// A token by RFC 9110 §5.6.2.
fn cookie_name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !text.is_empty() && text.len() <= MAX_TEXT_BYTES && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("must be a cookie's name: letters, digits, `_`, `-` and the like"),
    }
}

fn read_options(section: &mut Section<'_, '_>) -> VerifierOptions {
    let options = VerifierOptions {
        audience: section.list("audience", plain_text),
        leeway_ms: 1000 * section.number("leeway_s", 30, 0..=600),
        require_expiry: section.flag("require_expiry", true),
        max_lifetime_ms: match section.number("max_lifetime_s", 0, 0..=MAX_LIFETIME_S) {
            0 => None,
            seconds => Some(1000 * seconds),
        },
    };
    if options.max_lifetime_ms.is_some() && !options.require_expiry {
        section.fault("require_expiry", "must be true where `max_lifetime_s` is set");
    }
    options
}

/// Where a key's text stands.
const SECRETS: [&str; 3] = ["secret", "secret_base64", "secret_file"];
const PUBLIC_KEYS: [&str; 2] = ["pem", "pem_file"];

fn read_key(section: &mut Section<'_, '_>) -> Option<AuthKey> {
    let id = required(section, "id", plain_text);
    let algorithm = required(section, "algorithm", |text| {
        Algorithm::parse(text).ok_or("must be `HS256`, `ES256`, `RS256` or `EdDSA`")
    });
    let issuer = section.optional("issuer", plain_text);
    let mut given = Vec::new();
    for key in SECRETS.into_iter().chain(PUBLIC_KEYS) {
        if let Some(text) = section.text(key) {
            given.push((key, text));
        }
    }
    let (id, algorithm) = (id?, algorithm?);
    let (meant, names) = match algorithm {
        Algorithm::Hs256 => (&SECRETS[..], "one of `secret`, `secret_base64` and `secret_file`"),
        _ => (&PUBLIC_KEYS[..], "one of `pem` and `pem_file`"),
    };
    let [(key, text)] = given[..] else {
        section.fault("algorithm", format!("{algorithm} needs exactly {names}"));
        return None;
    };
    if !meant.contains(&key) {
        section.fault(key, format!("not for {algorithm}, which needs {names}"));
        return None;
    }
    match make_key(section, &id, algorithm, key, text) {
        Ok(AuthKey { verification, signing }) => Some(AuthKey {
            verification: match issuer {
                Some(issuer) => verification.bound_to(issuer),
                None => verification,
            },
            signing,
        }),
        Err(message) => {
            section.fault(key, message);
            None
        }
    }
}

fn make_key(
    section: &Section<'_, '_>,
    id: &str,
    algorithm: Algorithm,
    key: &str,
    text: &str,
) -> Result<AuthKey, String> {
    let file = || {
        let path = section.base().join(text);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    match key {
        "secret" => secret_key(id, text.as_bytes()),
        "secret_base64" => STANDARD
            .decode(text.trim())
            .map_err(|_| KeyError::BadBase64.to_string())
            .and_then(|secret| secret_key(id, &secret)),
        // An editor's or `echo`'s line end is not meant.
        "secret_file" => secret_key(id, file()?.trim_end_matches(['\r', '\n']).as_bytes()),
        "pem" => public_key(id, algorithm, text),
        _ => public_key(id, algorithm, &file()?),
    }
}

fn secret_key(id: &str, secret: &[u8]) -> Result<AuthKey, String> {
    let verification = VerificationKey::hs256(id, secret).map_err(|error| error.to_string())?;
    let signing = SigningKey::hs256(id, secret).map_err(|error| error.to_string())?;
    Ok(AuthKey { verification, signing: Some(signing) })
}

fn public_key(id: &str, algorithm: Algorithm, pem: &str) -> Result<AuthKey, String> {
    let verification = VerificationKey::from_pem(id, algorithm, pem);
    let verification = verification.map_err(|error| error.to_string())?;
    Ok(AuthKey { verification, signing: None })
}

pub(super) fn required<T>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let value = section.optional(key, parse);
    if !section.has(key) {
        section.fault(key, "missing");
    }
    value
}

pub(super) fn plain_text(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("must not be empty"),
        text if text.len() > MAX_TEXT_BYTES => Err("must have at most 128 bytes"),
        text if text.chars().any(char::is_control) => Err("must not have control characters"),
        text => Ok(text.to_owned()),
    }
}
