//! A publisher at a fixed rate that waits for nobody (an open loop): a slow server does not slow it
//! down, so waiting shows in the latencies. Publishes to a server, or brings a floor the frames that
//! a server would have sent.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use meridian_client::Publish;
use meridian_client::raw::WebSocket;
use meridian_core::protocol::{
    Command, CommandFrame, Connect, EventView, Message, PublishItem, encode_command, encode_message,
};
use meridian_core::vocabulary::{Body, Epoch, Offset, Position, Prev};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::clock::monotonic_ns;
use crate::control::{Orders, PublishAnswer, PublishOrder};
use crate::payload;
use crate::target::{CODEC, PublishPlan, Target};

/// For answers that are still out when the time is over.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> Result<()> {
    let mut orders = Orders::new();
    let plan: PublishPlan = orders.next().await?.context("a plan comes first")?;
    let mut sink = if plan.target.is_floor() {
        Sink::Floor(Box::new(open_control(&plan.target).await?))
    } else {
        Sink::Meridian(Box::new(open_session(&plan.target).await?))
    };
    orders.answer(&PublishAnswer::Ready).await?;
    let mut next_id = 2;
    while let Some(PublishOrder::Go { seconds }) = orders.next().await? {
        let tally = publish(&plan, &mut sink, seconds, next_id).await?;
        next_id += tally.sent;
        orders.answer(&PublishAnswer::Done { sent: tally.sent, failed: tally.failed }).await?;
    }
    Ok(())
}

enum Sink {
    Floor(Box<WebSocket>),
    Meridian(Box<WebSocket>),
}

/// One turn. Ids go on from turn to turn, so that a late answer is nobody's.
#[derive(Debug)]
struct Tally {
    first_id: u64,
    sent: u64,
    answered: u64,
    failed: u64,
}

async fn open_control(target: &Target) -> Result<WebSocket> {
    Ok(WebSocket::connect(target.addr, "/control").await?)
}

/// A session that may publish.
pub(crate) async fn open_session(target: &Target) -> Result<WebSocket> {
    let mut socket =
        WebSocket::open(&target.websocket(&format!("/v1/ws?codec={}", CODEC.name()))?).await?;
    let connect = Connect { protocol: 1, token: target.token(), ..Connect::default() };
    let command = CommandFrame { id: Some(1), command: Command::Connect(connect) };
    socket.send(CODEC, &command).await?;
    match &socket.next_messages(CODEC).await?[..] {
        [Message::Connected(..), ..] => Ok(socket),
        [Message::Error(_, error), ..] => bail!("the server refused: {}", error.message),
        other => bail!("the server answered with {other:?}"),
    }
}

async fn publish(
    plan: &PublishPlan,
    sink: &mut Sink,
    seconds: u32,
    first_id: u64,
) -> Result<Tally> {
    let begun = Instant::now();
    let period = Duration::from_secs(1) / plan.rate;
    let total = u64::from(plan.rate) * u64::from(seconds);
    let mut tally = Tally { first_id, sent: 0, answered: 0, failed: 0 };
    while tally.sent < total {
        let due = begun + period.mul_f64(tally.sent as f64);
        wait_until(due, sink, &mut tally).await?;
        let channel = tally.sent as usize % plan.channels.len();
        let data = payload::make(plan.bytes, monotonic_ns());
        match sink {
            Sink::Floor(socket) => {
                let frame = floor_frame(channel, &plan.channels[channel], tally.sent, data);
                socket.send_bytes(&frame).await?;
            }
            Sink::Meridian(socket) => {
                let item = Publish::json(plan.channels[channel].clone(), data);
                let command =
                    CommandFrame { id: Some(first_id + tally.sent), command: item.into() };
                socket.send(CODEC, &command).await?;
            }
        }
        tally.sent += 1;
    }
    wait_until(begun + period.mul_f64(total as f64), sink, &mut tally).await?;
    tally.wait_for_answers(sink).await?;
    Ok(tally)
}

/// Reads answers until it is time.
async fn wait_until(due: Instant, sink: &mut Sink, tally: &mut Tally) -> Result<()> {
    let Sink::Meridian(socket) = sink else {
        sleep_until(due).await;
        return Ok(());
    };
    loop {
        tokio::select! {
            biased;
            () = sleep_until(due) => return Ok(()),
            messages = socket.next_messages(CODEC) => tally.take(&messages?),
        }
    }
}

impl Tally {
    fn take(&mut self, messages: &[Message]) {
        for message in messages {
            if message.id().is_some_and(|id| id >= self.first_id) {
                self.answered += 1;
                self.failed += u64::from(matches!(message, Message::Error(..)));
            }
        }
    }

    /// What has no answer after a while has failed.
    async fn wait_for_answers(&mut self, sink: &mut Sink) -> Result<()> {
        let Sink::Meridian(socket) = sink else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        while self.answered < self.sent {
            match timeout_at(deadline, socket.next_messages(CODEC)).await {
                Ok(messages) => self.take(&messages?),
                Err(_) => {
                    self.failed += self.sent - self.answered;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The WebSocket frame that a server would send for an event, behind the floor's header.
fn floor_frame(group: usize, channel: &str, offset: u64, data: Vec<u8>) -> BytesMut {
    let prev = Position { epoch: Epoch(1), passed: offset as i64 - 1 };
    let item: PublishItem = Publish::json(channel, "").into();
    let event = EventView {
        at: Some((Offset(1_000_000 + offset), Prev::At(prev))),
        time_ms: 1_764_000_000_000,
        id: item.id,
        body: Body { data: Bytes::from(data), publisher: Some("bench".into()), ..Body::default() },
    };
    let message = Message::Events {
        channel: channel.to_owned(),
        stream: Some("1.global.1.3".to_owned()),
        epoch: Some(Epoch(1)),
        events: vec![event],
    };
    let text = encode_message(CODEC, &message);
    let mut out = BytesMut::new();
    out.put_u16(group as u16);
    let header = if text.len() < 126 { 2 } else { 4 };
    out.put_u32((text.len() + header) as u32);
    out.put_u8(0x81);
    if header == 2 {
        out.put_u8(text.len() as u8);
    } else {
        out.put_u8(126);
        out.put_u16(text.len() as u16);
    }
    out.put_slice(&text);
    out
}

/// A publish as a command in a frame.
pub(crate) fn publish_command(id: u64, channel: &str, data: Vec<u8>) -> Vec<u8> {
    let command = Publish::json(channel, data).into();
    encode_command(CODEC, &CommandFrame { id: Some(id), command })
}

#[cfg(test)]
mod tests {
    use meridian_client::raw::Frames;
    use meridian_core::protocol::decode_messages;

    use super::*;

    #[test]
    fn the_floor_is_brought_what_a_server_would_send() {
        for bytes in [payload::MIN_BYTES, 128, 2000] {
            let frame = floor_frame(3, "bench:a-3", 7, payload::make(bytes, 1));
            assert_eq!(&frame[..2], [0, 3]);
            assert_eq!(
                frame.len() - 6,
                u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]) as usize
            );
            let mut frames = Frames::default();
            frames.push(&frame[6..]);
            let text = frames.next_frame().unwrap();
            assert!(matches!(
                &decode_messages(CODEC, &text.payload).unwrap()[..],
                [Message::Events { .. }]
            ));
            assert!(frames.rest().is_empty());
        }
    }
}
