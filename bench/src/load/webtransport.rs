//! Subscribers over WebTransport.

use std::rc::Rc;

use anyhow::Result;
use meridian_client::raw::{Endpoint, WebTransport};
use meridian_core::protocol::decode_messages;
use tokio::time::{Instant, sleep_until};

use super::KEEP_ALIVE;
use super::shared::{Shared, answers, pong};
use crate::payload::Scanner;
use crate::target::{CODEC, LoadPlan};

/// Sessions share sockets, so that the load process does not drown in them.
const SOCKETS: usize = 8;

pub(super) fn endpoints(plan: &LoadPlan) -> Result<Vec<Rc<Endpoint>>> {
    let trust = plan.target.trust()?;
    (0..SOCKETS).map(|_| Ok(Rc::new(Endpoint::new(&trust)?))).collect()
}

/// Opens a session and counts what comes on it until it is lost.
pub(super) async fn hold(n: usize, endpoint: Rc<Endpoint>, shared: Rc<Shared>) -> Result<()> {
    let permit = shared.opening.acquire().await?;
    let url = format!("https://{}/v1/wt?codec={}", shared.plan.target.addr, CODEC.name());
    let mut session = Box::pin(WebTransport::connect(&endpoint, &url)).await?;
    session.send_frame(&shared.connect()).await?;
    wait_for(&mut session, 1).await?;
    if let Some(command) = shared.subscribe(n) {
        session.send_frame(&command).await?;
        wait_for(&mut session, 2).await?;
    }
    drop(permit);
    shared.opened();
    pump(session, &shared).await
}

async fn wait_for(session: &mut WebTransport, id: u64) -> Result<()> {
    loop {
        let (_, frame) = session.next_frame().await?;
        for message in decode_messages(CODEC, &frame)? {
            if answers(&message, id)? {
                return Ok(());
            }
        }
    }
}

async fn pump(mut session: WebTransport, shared: &Shared) -> Result<()> {
    let mut beat = Instant::now() + KEEP_ALIVE;
    loop {
        tokio::select! {
            frame = session.next_frame() => shared.count(&mut Scanner::default(), &frame?.1),
            () = sleep_until(beat) => {
                session.send_frame(&pong()).await?;
                beat = Instant::now() + KEEP_ALIVE;
            }
        }
    }
}
