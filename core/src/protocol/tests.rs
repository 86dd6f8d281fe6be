//! What the decoders make of frames that no client library writes.

use proptest::prelude::*;

use super::message::{Command, CommandFrame, Message, Place, Redirect};
use super::{Codec, DecodeError, decode_commands, decode_messages};

fn json(text: &str) -> Result<Vec<CommandFrame>, DecodeError> {
    decode_commands(Codec::Json, text.as_bytes())
}

#[test]
fn unknown_fields_are_ignored_and_unknown_commands_told() {
    let frames = json(r#"[{"id":1,"ping":{"x":1},"y":2},{"id":2,"teleport":{}}]"#).unwrap();
    assert_eq!(frames[0], CommandFrame { id: Some(1), command: Command::Ping });
    assert_eq!(frames[1], CommandFrame { id: Some(2), command: Command::Unknown });
}

#[test]
fn a_client_ignores_a_push_that_it_does_not_know_beside_others() {
    let frame =
        br#"[{"teleport":{"url":"x"}},{"redirect":{"url":"https://us","x":1}},{"ping":{}}]"#;
    let messages = decode_messages(Codec::Json, frame).unwrap();
    let place = Place { url: "https://us".into(), region: None };
    let redirect = Redirect { place, reason: String::new(), after_ms: 0, deadline_ms: None };
    assert_eq!(messages, [Message::Unknown, Message::Redirect(redirect), Message::Ping]);
}

#[test]
fn ill_typed_fields_keep_the_id() {
    for text in [
        r#"{"id":7,"subscribe":{"channel":1}}"#,
        r#"{"id":7,"subscribe":{}}"#,
        r#"{"id":7,"publish":{"channel":"a:b","data":1,"text":"x"}}"#,
        r#"{"id":7,"publish":{"channel":"a:b","bin":"*"}}"#,
        r#"{"id":7,"publish":{"channel":"a:b","kind":"explode"}}"#,
        r#"{"id":7,"history":{"channel":"a:b","limit":-1}}"#,
    ] {
        let expected = CommandFrame { id: Some(7), command: Command::Invalid };
        assert_eq!(json(text), Ok(vec![expected]), "{text}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for text in ["", "{", "1", "null", "\"x\"", "[1]", "{\"id\":1} x", "{\"id\":\"x\",\"ping\":{}}"]
    {
        assert_eq!(json(text), Err(DecodeError), "{text}");
    }
    let nested = "[".repeat(100_000);
    assert_eq!(json(&nested), Err(DecodeError));
    assert_eq!(decode_commands(Codec::MessagePack, &[0x91; 100_000]), Err(DecodeError));
    assert_eq!(
        decode_commands(Codec::MessagePack, &[0xdd, 0xff, 0xff, 0xff, 0xff]),
        Err(DecodeError)
    );
    assert_eq!(decode_commands(Codec::MessagePack, b"\x81\xa2id\x01trailing"), Err(DecodeError));
}

#[test]
fn json_payloads_keep_their_bytes() {
    let frames =
        json(r#"{"id":1,"publish":{"channel":"a:b","data": {"n":1.00, "s":"\u00e9"} }}"#).unwrap();
    let Command::Publish(item) = &frames[0].command else { panic!("not a publish") };
    assert_eq!(&item.content.data[..], br#"{"n":1.00, "s":"\u00e9"}"#);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for codec in Codec::ALL {
            let _ = decode_commands(codec, &bytes);
            let _ = decode_messages(codec, &bytes);
        }
    }

    #[test]
    fn damaged_commands_are_decoded_or_refused(cut in 0usize..200, at in 0usize..200, byte: u8) {
        let frame = CommandFrame { id: Some(3), command: Command::Publish(super::PublishItem {
            channel: "flights:SFO".into(), id: Some("x".into()),
            content: super::Content { data: bytes::Bytes::from_static(b"{\"a\":[1,2,3]}"), content_type: None },
            ..Default::default()
        }) };
        for codec in Codec::ALL {
            let mut bytes = super::encode_command(codec, &frame);
            if at < bytes.len() { bytes[at] = byte; }
            bytes.truncate(bytes.len().min(cut));
            let _ = decode_commands(codec, &bytes);
        }
    }
}
