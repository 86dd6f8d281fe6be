//! A service of the application's own that is asked who may do what.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::stores::SecretText;
use super::url::ServiceUrl;
use crate::auth::MIN_SECRET_BYTES;
use crate::policy::Policies;
use crate::vocabulary::Channel;

/// `[authoriser]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAuthoriser {
    pub url: ServiceUrl,
    /// PEM of the roots to trust; without it, the system's.
    pub ca: Option<PathBuf>,
    /// Signs what is asked.
    pub secret: SecretText,
    /// 2 s: longer, and a person thinks that nothing happens.
    pub timeout: Duration,
    /// 60 s at most: what was taken away is gone within a minute.
    pub cache: Duration,
    /// 64: many sessions connect at once, and the service is not to be overrun.
    pub concurrency: usize,
    /// Empty: it is asked about every namespace.
    pub namespaces: BTreeSet<String>,
}

impl HttpAuthoriser {
    /// Reads all keys, so that all faults are told; `None`: there is none.
    pub(super) fn read(section: &mut Section<'_, '_>, policies: &Policies) -> Option<Self> {
        let url = section.optional("url", str::parse::<ServiceUrl>);
        let ca = section.text("ca").map(|text| section.base().join(text));
        let secret = secret(section);
        let timeout = Duration::from_millis(section.number("timeout_ms", 2000, 50..=30_000));
        let cache = Duration::from_secs(section.number("cache_s", 60, 0..=3600));
        let concurrency = section.size("concurrency", 64, 1..=4096);
        let namespaces = section.list("namespaces", |name| {
            let any = Channel::parse(&format!("{name}:x")).ok();
            match any.is_some_and(|channel| policies.of(&channel).is_some()) {
                true => Ok(name.to_owned()),
                false => Err("no such namespace; name it under `[namespaces]`"),
            }
        });
        if !section.has("url") {
            for key in ["secret", "secret_file", "namespaces", "ca"] {
                if section.has(key) {
                    section.fault("url", "missing: the address that is asked");
                    break;
                }
            }
            return None;
        }
        let secret = secret?;
        let namespaces = namespaces.into_iter().collect();
        Some(Self { url: url?, ca, secret, timeout, cache, concurrency, namespaces })
    }
}

fn secret(section: &mut Section<'_, '_>) -> Option<SecretText> {
    let text = section.text("secret").map(str::to_owned);
    let file = section.text("secret_file").map(|text| section.base().join(text));
    let (key, text) = match (text, file) {
        (Some(text), None) => ("secret", text),
        (None, Some(path)) => match std::fs::read_to_string(&path) {
            // An editor's or `echo`'s line end is not meant.
            Ok(text) => ("secret_file", text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                section.fault("secret_file", message);
                return None;
            }
        },
        (None, None) if !section.has("url") => return None,
        _ => {
            section.fault("secret", "needs exactly one of `secret` and `secret_file`");
            return None;
        }
    };
    if text.len() < MIN_SECRET_BYTES {
        section.fault(key, format!("needs at least {MIN_SECRET_BYTES} bytes"));
        return None;
    }
    Some(SecretText::new(text))
}
