//! Golden vectors: the bytes of each message in both codecs, as files that the JavaScript code reads
//! too. `MERIDIAN_WRITE_VECTORS=1 cargo test -p meridian-core vectors` writes them anew after a
//! change of the protocol; the diff shows what a deployed client would meet.

mod commands;
mod messages;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::commands::commands;
use self::messages::messages;
use super::{Codec, decode_commands, decode_messages, encode_command, encode_message};

#[derive(Serialize, Deserialize)]
struct Vector {
    name: String,
    direction: String,
    message: Box<RawValue>,
    json: String,
    msgpack: String,
}

fn path(direction: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{direction}-{name}.json"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares with the file, or writes it where that is asked for.
fn check(direction: &str, name: &str, json: Vec<u8>, msgpack: &[u8]) {
    let json = String::from_utf8(json).unwrap();
    let path = path(direction, name);
    if std::env::var_os("MERIDIAN_WRITE_VECTORS").is_some() {
        let vector = Vector {
            name: name.into(),
            direction: direction.into(),
            message: RawValue::from_string(json.clone()).unwrap(),
            json,
            msgpack: hex(msgpack),
        };
        std::fs::write(&path, serde_json::to_string_pretty(&vector).unwrap() + "\n").unwrap();
        return;
    }
    let stored: Vector = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (stored.json.as_str(), stored.msgpack.as_str()),
        (json.as_str(), hex(msgpack).as_str()),
        "{name}"
    );
}

#[test]
fn commands_match_their_vectors() {
    for (name, frame) in commands() {
        let [json, msgpack] = Codec::ALL.map(|codec| encode_command(codec, &frame));
        for (codec, bytes) in [(Codec::Json, &json), (Codec::MessagePack, &msgpack)] {
            assert_eq!(decode_commands(codec, bytes), Ok(vec![frame.clone()]), "{name}");
        }
        check("client", name, json, &msgpack);
    }
}

#[test]
fn messages_match_their_vectors() {
    for (name, message) in messages() {
        let [json, msgpack] = Codec::ALL.map(|codec| encode_message(codec, &message));
        for (codec, bytes) in [(Codec::Json, &json), (Codec::MessagePack, &msgpack)] {
            assert_eq!(decode_messages(codec, bytes), Ok(vec![message.clone()]), "{name}");
        }
        check("server", name, json, &msgpack);
    }
}

#[test]
fn every_vector_file_is_checked() {
    let expected = commands().len() + messages().len();
    let files = std::fs::read_dir(path("x", "y").parent().unwrap()).unwrap().count();
    assert_eq!(files, expected, "a vector file without a message, or the other way round");
}
