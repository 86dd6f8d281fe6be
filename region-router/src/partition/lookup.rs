//! Finds heads that the router does not remember: in the history, else in the backplane where its
//! marker vouches for them. What neither can tell stays unknown; nothing waits long for it.

use std::time::Duration;

use meridian_core::vocabulary::{ChannelKey, Position, Prev};
use tokio::time::{Instant, timeout};

use super::context::Context;
use super::coverage::Coverage;

/// After a failed lookup the history is not asked for so long.
const SPARED: Duration = Duration::from_secs(1);

/// Remembers whether the history is worth asking.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    spared_until: Option<Instant>,
}

/// What the answer of a store is worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) coverage: Coverage,
    /// The last event kept: the backplane vouches for heads iff its marker is here.
    pub(super) last_kept: Position,
    /// The history's last commit failed.
    pub(super) history_down: bool,
}

impl Lookup {
    /// Heads of `missing`, as far as a store can tell them.
    pub(super) async fn heads(
        &mut self,
        context: &Context,
        missing: Vec<ChannelKey>,
        asked: Asked,
    ) -> Vec<(ChannelKey, Prev)> {
        if missing.is_empty() {
            return Vec::new();
        }
        if !asked.history_down && self.spared_until.is_none_or(|until| Instant::now() >= until) {
            let heads = context.history.heads(&context.stream.log, &missing);
            if let Ok(Ok(heads)) = timeout(context.options.lookup_timeout, heads).await {
                self.spared_until = None;
                let told = |key: ChannelKey| {
                    let head = asked.coverage.prev(heads.get(&key).copied());
                    (key, head)
                };
                return missing.into_iter().map(told).collect();
            }
            context.metering.history_failures.increment(1);
            self.spared_until = Some(Instant::now() + SPARED);
        }
        vouched_by_backplane(context, missing, asked.last_kept).await
    }
}

async fn vouched_by_backplane(
    context: &Context,
    missing: Vec<ChannelKey>,
    last_kept: Position,
) -> Vec<(ChannelKey, Prev)> {
    let heads = context.backplane.heads(&context.stream, &missing);
    let Ok(Ok(heads)) = timeout(context.options.lookup_timeout, heads).await else {
        return Vec::new();
    };
    let told = missing.into_iter().zip(heads).filter_map(|(key, hot)| {
        // No head there tells nothing: hot history is bounded.
        (hot.marker == Some(last_kept)).then_some((key, Prev::At(hot.head?)))
    });
    told.collect()
}
