//! A process of subscribers: holds its connections cheaply, finds the times in what comes without
//! decoding it, and counts. Does as its orders say.

mod shared;
mod websocket;
mod webtransport;

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::clock::monotonic_ns;
use crate::control::{LoadAnswer, LoadOrder, Orders};
use crate::limits;
use crate::target::{LoadPlan, Transport};
use shared::Shared;

/// Each connection says something this often: a server drops a client that is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) async fn run() -> Result<()> {
    let mut orders = Orders::new();
    let plan: LoadPlan = orders.next().await?.context("a plan comes first")?;
    limits::check_open_files(plan.connections)?;
    let shared = Rc::new(Shared::new(plan));
    let opening = monotonic_ns();
    let mut connections = open_all(&shared)?;
    let mut ready = false;
    loop {
        tokio::select! {
            () = shared.wait_open(), if !ready => {
                ready = true;
                orders.answer(&LoadAnswer::Ready { opening_ns: monotonic_ns() - opening }).await?;
            }
            order = orders.next() => match order? {
                Some(order) => obey(order, &shared, &mut orders).await?,
                None => return Ok(()),
            },
            Some(ended) = connections.join_next() => {
                let ended = ended?;
                if !ready {
                    ended.context("opening connections")?;
                }
                shared.lost();
            }
        }
    }
}

fn open_all(shared: &Rc<Shared>) -> Result<JoinSet<Result<()>>> {
    let mut tasks = JoinSet::new();
    match shared.plan.transport {
        Transport::WebSocket => {
            let options = websocket::options(&shared.plan)?;
            for n in 0..shared.plan.connections {
                let options = options[n % options.len()].clone();
                tasks.spawn_local(websocket::hold(n, options, shared.clone()));
            }
        }
        Transport::WebTransport => {
            let endpoints = webtransport::endpoints(&shared.plan)?;
            for n in 0..shared.plan.connections {
                let endpoint = endpoints[n % endpoints.len()].clone();
                tasks.spawn_local(webtransport::hold(n, endpoint, shared.clone()));
            }
        }
    }
    Ok(tasks)
}

async fn obey(order: LoadOrder, shared: &Shared, orders: &mut Orders) -> Result<()> {
    match order {
        LoadOrder::Reset => {
            shared.reset();
            orders.answer(&LoadAnswer::Zeroed).await
        }
        LoadOrder::Report => orders.answer(&shared.report()).await,
        LoadOrder::Go { expect } => {
            let begun = monotonic_ns();
            shared.go();
            let deliveries = shared.wait_for(expect).await;
            let elapsed_ns = shared.last_ns().saturating_sub(begun);
            orders.answer(&LoadAnswer::Done { deliveries, elapsed_ns }).await
        }
    }
}
