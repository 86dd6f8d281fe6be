//! The scripts, each called by its digest and sent whole where a server does not know it: content
//! decides what runs, so nodes of two versions do not disturb each other. Owns the calls' errors.

use std::borrow::Cow;

use fred::clients::{Client, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::LuaInterface as _;
use fred::types::Value;
use meridian_core::seams::BackplaneError;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const HOT: &str = include_str!("scripts/hot.lua");

/// One script.
pub(crate) struct Script {
    text: Cow<'static, str>,
    sha: String,
}

/// All of them.
pub(crate) struct Scripts {
    pub(crate) apply: Script,
    pub(crate) trim: Script,
    pub(crate) evict: Script,
    pub(crate) drop: Script,
    pub(crate) repair: Script,
    pub(crate) advance: Script,
    pub(crate) heads: Script,
    pub(crate) read: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let hot = |own: &str| Script::new(format!("{HOT}\n{own}").into());
        Self {
            apply: hot(include_str!("scripts/apply.lua")),
            trim: hot(include_str!("scripts/trim.lua")),
            evict: hot(include_str!("scripts/evict.lua")),
            drop: hot(include_str!("scripts/drop.lua")),
            repair: Script::new(include_str!("scripts/repair.lua").into()),
            advance: Script::new(include_str!("scripts/advance.lua").into()),
            heads: Script::new(include_str!("scripts/heads.lua").into()),
            read: Script::new(include_str!("scripts/read.lua").into()),
        }
    }
}

impl Script {
    fn new(text: Cow<'static, str>) -> Self {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }

    /// Runs it where its keys are.
    pub(crate) async fn call(
        &self,
        client: &WithOptions<Client>,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, BackplaneError> {
        let known = client.evalsha(self.sha.as_str(), keys.clone(), args.clone()).await;
        let answer = match known {
            Err(error) if is_unknown_script(&error) => {
                client.eval(self.text.as_ref(), keys, args).await
            }
            answer => answer,
        };
        answer.map_err(|error| unavailable(&error))
    }
}

/// What a caller learns of a failure; what the operator should know is logged.
pub(crate) fn unavailable(error: &Error) -> BackplaneError {
    match error.kind() {
        ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Routing => {
            tracing::debug!(%error, "Redis did not answer");
        }
        _ => tracing::warn!(%error, "Redis refused a command"),
    }
    BackplaneError
}

/// An answer of another shape than the script's.
pub(crate) fn unexpected(what: &'static str) -> BackplaneError {
    tracing::error!(what, "Redis answered something else than was asked for");
    BackplaneError
}

fn is_unknown_script(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha1_in_hex() {
        let script = Script::new("return 1".into());
        assert_eq!(script.sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
