//! Getting in: TLS with a CA of one's own, and a user who may do no more than the backplane needs.

use std::sync::Arc;

use meridian_core::seams::Backplane as _;
use meridian_core::seams::conformance::{channel, stream};
use meridian_redis::{Credentials, RedisBackplane, RedisOptions};
use meridian_stack::{Counts, Stack};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::conformance;
use crate::region::{Reader, Shelf, Writer};
use crate::support::{backplane, follow, options, redis_cli};

/// The ACL rule of `docs/operations.md`, with the user's name and password before it.
const LEAST: &str = include_str!("../../src/least.acl");

/// A CA, and a server's certificate and key of it, as PEM files in a folder.
struct Certificates {
    ca: String,
    files: [String; 3],
}

fn certificates(folder: &std::path::Path) -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap().pem();
    let files = [("ca.pem", ca.clone()), ("server.pem", server), ("key.pem", key.serialize_pem())];
    let files = files.map(|(name, pem)| {
        std::fs::write(folder.join(name), pem).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    });
    Certificates { ca, files }
}

/// The server answers on its port in TLS only from here on.
fn turn_to_tls(stack: &Stack) -> (String, Certificates) {
    let certificates = certificates(&stack.folder("redis1"));
    let [ca, server, key] = &certificates.files;
    let port = stack.redis(1).rsplit(':').next().unwrap();
    let told = redis_cli(
        stack.redis(1),
        &[
            "CONFIG",
            "SET",
            "port",
            "0",
            "tls-port",
            port,
            "tls-ca-cert-file",
            ca,
            "tls-cert-file",
            server,
            "tls-key-file",
            key,
            "tls-auth-clients",
            "no",
        ],
    );
    assert_eq!(told.trim(), "OK");
    (format!("rediss://127.0.0.1:{port}"), certificates)
}

/// Lives through the loss of its connections.
async fn reconnects(backplane: RedisBackplane, cut: impl Fn()) {
    let shelf = Arc::new(Shelf::default());
    let mut writer = Writer::new(stream(1, 0), shelf.clone());
    let mut reader = Reader::new(channel("a"), stream(1, 0), shelf);
    let mut link = backplane.link().await.unwrap();
    follow(&link, &writer.samples, &[channel("a")]).await;
    for count in 1..=5 {
        writer.publish(&backplane, &[channel("a")], 1).await;
        reader.read(&backplane, &mut link, count).await;
        cut();
        let announced = reader.lossy;
        while reader.lossy == announced {
            reader.take_delivery(&backplane, &mut link).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_over_tls() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let (url, certificates) = turn_to_tls(&stack);
    let pem = Some(certificates.ca.clone().into_bytes());
    let secure = || RedisOptions { tls_ca_pem: pem.clone(), ..options(&url) };
    conformance::all(secure).await;
    let ca = certificates.files[0].as_str();
    reconnects(backplane(&secure()).await, || {
        for kind in ["normal", "pubsub"] {
            let killed =
                redis_cli(&url, &["--tls", "--cacert", ca, "CLIENT", "KILL", "TYPE", kind]);
            assert_ne!(killed.trim(), "0", "no connection of type {kind}");
        }
    })
    .await;
}

/// Neither a server of another CA nor one that speaks no TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_is_trusted() {
    let stack = Stack::start(Counts { redis: 2, ..Counts::default() });
    let (url, _) = turn_to_tls(&stack);
    let other = certificates(&stack.folder("redis2")).ca.into_bytes();
    let plain = stack.redis(2).replace("redis:", "rediss:");
    for url in [url, plain] {
        let options = RedisOptions { tls_ca_pem: Some(other.clone()), ..options(&url) };
        let backplane = RedisBackplane::start(&options).unwrap();
        let limit = std::time::Duration::from_millis(500);
        assert!(!backplane.wait_connected(limit).await, "{url}");
    }
}

pub(crate) fn least_user(url: &str, prefix: &str) -> Credentials {
    let password = "open \"sesame\"\\".to_owned();
    let rule = LEAST.replace("mrd:", &format!("{prefix}:"));
    let secret = format!(">{password}");
    let mut args = vec!["ACL", "SETUSER", "meridian", "reset", "on", &secret];
    args.extend(rule.split_whitespace());
    assert_eq!(redis_cli(url, &args).trim(), "OK");
    Credentials { user: Some("meridian".to_owned()), password }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_as_the_least_user() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    conformance::all(|| {
        let options = options(stack.redis(1));
        let credentials = Some(least_user(stack.redis(1), &options.prefix));
        RedisOptions { credentials, ..options }
    })
    .await;
    let log = redis_cli(stack.redis(1), &["ACL", "LOG"]);
    assert_eq!(log.trim(), "", "something was refused");
}

#[test]
fn operators_are_told_of_the_least_user() {
    assert!(include_str!("../../../../docs/operations.md").contains(LEAST));
}

/// Neither other keys, other channels nor other commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_user_may_do_nothing_else() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    least_user(stack.redis(1), "mrd");
    let at = stack.redis(1).replace("redis://", "redis://meridian:open%20%22sesame%22%5C@");
    for refused in [
        &["HGET", "other:{global.1.0}:p", "m"][..],
        &["SPUBLISH", "other", "x"],
        &["PUBLISH", "mrd:x", "x"],
        &["FLUSHALL"],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
        &["EVAL", "return redis.call('GET', 'other')", "0"],
        &["CLIENT", "KILL", "TYPE", "normal"],
    ] {
        let answer = redis_cli(&at, refused);
        let told = answer.contains("NOPERM") || answer.contains("can't run this command");
        assert!(told, "{refused:?}: {answer}");
    }
    assert_eq!(redis_cli(&at, &["HGET", "mrd:{global.1.0}:p", "m"]).trim(), "");
}
