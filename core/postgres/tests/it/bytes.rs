//! What is stored comes back as it was, whatever the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use meridian_core::embedded::faulty::Chance;
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{Applied, History, HistoryRead, ReadBounds, ReadFrom};
use meridian_core::vocabulary::{Body, Encoding, EventId, EventKind};

use crate::server::Server;

fn bodies() -> Vec<Body> {
    let mut chance = Chance::new(7);
    let noise: Vec<u8> = (0..256 << 10).map(|_| chance.number() as u8).collect();
    let data = |data: &[u8]| Body { data: Bytes::copy_from_slice(data), ..Body::default() };
    vec![
        data(b""),
        data(b"\0"),
        data(br#"{"nul":"\u0000","lone":"\ud800","pair":"\ud83d\ude00"}"#),
        data("{\"raw\":\"a\0b \u{10ffff}\"}".as_bytes()),
        // Surrogates as bytes, which are no UTF-8.
        data(b"\xed\xa0\x80\xff\xfe\x80"),
        data(&vec![0; 256 << 10]),
        Body { content_type: Some("application/octet-stream".into()), ..data(&noise) },
        Body {
            kind: EventKind::Remove,
            key: Some("k\0\u{e9}".into()),
            headers: BTreeMap::from([("h\0".into(), "\\x00\u{1f600}".into())]),
            encoding: Encoding::Encrypted,
            publisher: Some("auth0|\u{0}".into()),
            trace: Some("00-1-2-01".into()),
            ..data(b"\\x5c'\"")
        },
        Body::unreadable(),
    ]
}

#[tokio::test]
async fn any_bytes_survive() {
    let server = Server::shared().await;
    let history = server.open().await;
    let (mut samples, key) = (Samples::new(stream(1, 0)), channel("bytes"));
    let start = samples.position();
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let ids =
        ["plain", "quote'\"\\", "\u{e9}\u{1f600}", "$1", "%s", "NULL", "{a,b}", " ", "\u{85}"];
    let events: Vec<Applied> = bodies()
        .into_iter()
        .zip(ids)
        .map(|(body, id)| {
            let mut applied = samples.event(&key, "");
            let event = Arc::make_mut(&mut applied.event);
            (event.body, event.id) = (body, EventId::parse(id).unwrap());
            applied
        })
        .collect();
    history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();

    let bounds = ReadBounds { max_events: 100, max_bytes: usize::MAX, oldest_time_ms: 0 };
    let read = history.read(&key, samples.stream(), ReadFrom::After(start), bounds).await.unwrap();
    let HistoryRead::Events { gone: None, events: read, .. } = read else { panic!("{read:?}") };
    assert_eq!(read.len(), ids.len());
    for (read, made) in read.iter().zip(&events) {
        assert_eq!(**read, *made.event);
    }
    history.close().await;
}
