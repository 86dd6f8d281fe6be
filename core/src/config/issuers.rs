//! Issuers: for which tenants and audiences each speaks, and where its keys are published.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::auth::{AuthKey, plain_text, required};
use super::reader::Section;
use super::url::ServiceUrl;
use crate::auth::{Issuer, Jwks, KeyPlace, KeySet, KeySource, Published, Tenants};
use crate::vocabulary::Tenant;

/// A node asks each of them for its keys.
const MAX_ISSUERS: usize = 32;
const DAY_S: u64 = 86_400;

/// Reads `auth.issuers`. `audience` is that of whoever names none.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    keys: &[AuthKey],
    audience: &[String],
) -> Vec<Issuer> {
    let issuers = section.sections("issuers", |section| read_issuer(section, keys, audience));
    if issuers.len() > MAX_ISSUERS {
        section.fault("issuers", format!("must have at most {MAX_ISSUERS} issuers"));
    }
    let issuers: Vec<Issuer> = issuers.into_iter().flatten().collect();
    for (at, issuer) in issuers.iter().enumerate() {
        if issuers[..at].iter().any(|other| other.name == issuer.name) {
            section.fault("issuers", format!("two issuers have the name `{}`", issuer.name));
        }
    }
    issuers
}

fn read_issuer(
    section: &mut Section<'_, '_>,
    keys: &[AuthKey],
    audience: &[String],
) -> Option<Issuer> {
    let name = required(section, "name", plain_text);
    let tenants = tenants(section);
    let own_audience = section.list("audience", plain_text);
    let audience = if section.has("audience") { own_audience } else { audience.to_vec() };
    let published = published(section);
    let (name, tenants) = (name?, tenants?);
    let bound = keys.iter().any(|key| key.verification.issuer() == Some(&name));
    if !bound && !section.has("jwks_url") && !section.has("jwks_file") {
        section.fault("name", "no keys: give `jwks_url`, `jwks_file` or one of `auth.keys`");
    }
    Some(Issuer { name, tenants, audience, published })
}

fn tenants(section: &mut Section<'_, '_>) -> Option<Tenants> {
    let listed = section.list("tenants", |text| match text {
        "*" => Ok(None),
        text => Tenant::parse(text).map(Some),
    });
    if listed.is_empty() {
        section.fault("tenants", "missing: name the tenants that it speaks for; `*` is any");
        return None;
    }
    let (named, any): (Vec<_>, Vec<_>) = listed.into_iter().partition(Option::is_some);
    if named.is_empty() {
        return Some(Tenants::Any);
    }
    if !any.is_empty() {
        section.fault("tenants", "`*` stands alone");
    }
    Some(Tenants::Listed(named.into_iter().flatten().collect()))
}

fn published(section: &mut Section<'_, '_>) -> Option<Published> {
    let url = section.optional("jwks_url", str::parse::<ServiceUrl>);
    let file = section.text("jwks_file").map(|text| section.base().join(text));
    let ca = section.text("ca").map(|text| section.base().join(text));
    let seconds = |s| Duration::from_secs(s);
    let refresh = seconds(section.number("refresh_s", 300, 1..=DAY_S));
    let unknown_every = seconds(section.number("unknown_key_s", 10, 1..=3600));
    let keep = seconds(section.number("keep_s", DAY_S, 60..=30 * DAY_S));
    if section.has("jwks_url") && section.has("jwks_file") {
        section.fault("jwks_file", "either this or `jwks_url`");
        return None;
    }
    if let Some(ca) = &ca {
        match url.as_ref().is_some_and(ServiceUrl::is_https) {
            true if !ca.is_file() => section.fault("ca", format!("no file at {}", ca.display())),
            true => {}
            false => section.fault("ca", "only for a `jwks_url` that is https"),
        }
    }
    let (place, set) = match (url, file) {
        (Some(url), _) => (KeyPlace::Url { url: url.as_str().to_owned(), ca }, KeySet::default()),
        (None, Some(file)) => {
            let keys = file_keys(&file);
            let keys = keys.map_err(|message| section.fault("jwks_file", message)).ok()?;
            (KeyPlace::File(file), KeySet::of(keys.keys))
        }
        (None, None) => return None,
    };
    let source = KeySource { place, refresh, unknown_every, keep };
    Some(Published { source, set: Arc::new(set) })
}

fn file_keys(file: &PathBuf) -> Result<Jwks, String> {
    let text = std::fs::read(file);
    let text = text.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Jwks::parse(&text).map_err(|error| error.to_string())
}
