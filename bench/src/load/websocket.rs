//! Subscribers over WebSocket (and over the floor's sockets, which only look like one).

use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use anyhow::{Context as _, Result};
use meridian_client::Io;
use meridian_client::raw::{Options, WebSocket};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::KEEP_ALIVE;
use super::shared::{Shared, answers, pong, text_frame};
use crate::payload::Scanner;
use crate::target::{CODEC, LoadPlan};

/// So many connections leave from one local address: ports to one server are few.
const PER_SOURCE: usize = 20_000;

/// How to connect; connection `n` takes number `n` modulo their count.
pub(super) fn options(plan: &LoadPlan) -> Result<Vec<Options>> {
    if plan.target.is_floor() {
        let groups = plan.channels.len().max(1);
        return (0..groups)
            .map(|group| plan.target.websocket(&format!("/v1/ws?group={group}")))
            .collect();
    }
    Ok(vec![plan.target.websocket(&format!("/v1/ws?codec={}", CODEC.name()))?])
}

/// Opens a connection and counts what comes on it until it is lost.
pub(super) async fn hold(n: usize, options: Options, shared: Rc<Shared>) -> Result<()> {
    let permit = shared.opening.acquire().await?;
    let options = if n < PER_SOURCE { options } else { options.source(source_of(n)) };
    let mut socket = WebSocket::open(&options).await?;
    let is_floor = shared.plan.target.is_floor();
    if !is_floor {
        socket.send_text(std::str::from_utf8(&shared.connect())?).await?;
        wait_for(&mut socket, 1).await?;
        if !shared.plan.hold {
            subscribe(&mut socket, n, &shared).await?;
        }
    }
    drop(permit);
    shared.opened();
    if shared.plan.hold {
        shared.wait_go().await;
        if let Some(command) = shared.subscribe(n) {
            socket.send_text(std::str::from_utf8(&command)?).await?;
        }
    }
    pump(socket, &shared, is_floor).await
}

async fn subscribe(socket: &mut WebSocket, n: usize, shared: &Shared) -> Result<()> {
    if let Some(command) = shared.subscribe(n) {
        socket.send_text(std::str::from_utf8(&command)?).await?;
        wait_for(socket, 2).await?;
    }
    Ok(())
}

async fn wait_for(socket: &mut WebSocket, id: u64) -> Result<()> {
    loop {
        for message in socket.next_messages(CODEC).await.context("waiting for an answer")? {
            if answers(&message, id)? {
                return Ok(());
            }
        }
    }
}

/// What a connection's turn was.
enum Turn {
    Read,
    Ended,
    KeepAlive,
}

/// Reads into the shared buffer, so that an idle connection owns none.
async fn pump(socket: WebSocket, shared: &Shared, is_floor: bool) -> Result<()> {
    let (mut io, frames) = socket.into_parts();
    let mut scanner = Scanner::default();
    shared.count(&mut scanner, frames.rest());
    drop(frames);
    let mut beat = pin!(sleep_until(Instant::now() + KEEP_ALIVE));
    loop {
        let turn = std::future::poll_fn(|cx| {
            let mut scratch = shared.scratch.borrow_mut();
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => Poll::Ready(Ok(Turn::Ended)),
                Poll::Ready(Ok(())) => {
                    shared.count(&mut scanner, buf.filled());
                    Poll::Ready(Ok(Turn::Read))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => beat.as_mut().poll(cx).map(|()| Ok(Turn::KeepAlive)),
            }
        });
        match turn.await? {
            Turn::Read => {}
            Turn::Ended => return Ok(()),
            Turn::KeepAlive => {
                if !is_floor {
                    keep_alive(&mut io).await?;
                }
                beat.as_mut().reset(Instant::now() + KEEP_ALIVE);
            }
        }
    }
}

async fn keep_alive(io: &mut Io) -> Result<()> {
    io.write_all(&text_frame(&pong())).await?;
    Ok(io.flush().await?)
}

/// 127.0.0.2 and on.
fn source_of(n: usize) -> IpAddr {
    let block = (n / PER_SOURCE).min(250) as u8;
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_change_with_every_block_of_connections() {
        assert_eq!(source_of(19_999), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(source_of(20_000), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(source_of(usize::MAX), IpAddr::from([127, 0, 0, 251]));
    }
}
