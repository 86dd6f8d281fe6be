//! Issuers' endpoints on their bad days, over real connections.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::auth::{
    Algorithm, Claims, Issuer, JWKS_BYTES_MOST, KeyPlace, KeySet, KeySource, Published, SigningKey,
    Tenants, TokenError, Verifier, VerifierOptions, mint,
};
use meridian_core::embedded::InProcessLedger;
use meridian_core::vocabulary::{Tenant, UserId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Tokens;
use crate::clock::now_ms;
use crate::outbound::testing::{Behaviour, Service};

const ISSUER: &str = "https://id.example";

/// A key pair of the issuer's, and its public half as it is published.
struct Pair {
    signing: SigningKey,
    jwk: String,
}

fn pair(id: &str) -> Pair {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let pair = rcgen::KeyPair::generate().unwrap();
    let point = rcgen::PublicKeyData::der_bytes(&pair);
    let (x, y) = point[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    Pair {
        signing: SigningKey::from_pem(id, &pair.serialize_pem()).unwrap(),
        jwk: format!(r#"{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}"#),
    }
}

fn set(pairs: &[&Pair]) -> Behaviour {
    said("Cache-Control: max-age=3600\r\n", pairs)
}

fn said(headers: &'static str, pairs: &[&Pair]) -> Behaviour {
    let keys: Vec<&str> = pairs.iter().map(|pair| pair.jwk.as_str()).collect();
    Behaviour::Answer(200, headers, format!("{{\"keys\":[{}]}}", keys.join(",")))
}

fn token(pair: &Pair) -> String {
    let claims = Claims::new(Tenant::parse("acme").unwrap(), UserId::parse("ann").unwrap());
    let claims = Claims { issuer: Some(ISSUER.to_owned()), ..claims };
    mint(&pair.signing, &claims, now_ms()).unwrap()
}

fn source(url: String) -> KeySource {
    KeySource {
        place: KeyPlace::Url { url, ca: None },
        refresh: Duration::from_secs(3600),
        unknown_every: Duration::ZERO,
        keep: Duration::from_secs(3600),
    }
}

fn tokens(source: KeySource) -> (Tokens, JoinSet<()>) {
    let published = Published { source, set: Arc::new(KeySet::default()) };
    let issuer = Issuer {
        name: ISSUER.into(),
        tenants: Tenants::Any,
        audience: Vec::new(),
        published: Some(published),
    };
    let verifier = Verifier::new(Vec::new(), VerifierOptions::default()).with_issuers(vec![issuer]);
    let mut tasks = JoinSet::new();
    let ledger = Arc::new(InProcessLedger::default());
    (Tokens::start(verifier, ledger, &mut tasks).unwrap(), tasks)
}

async fn verdict(tokens: &Tokens, pair: &Pair) -> Result<(), TokenError> {
    tokens.verify(&token(pair)).await.map(|_| ())
}

async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_first_token_waits_for_the_first_fetch_and_a_rotation_is_noticed() {
    let (old, new, stranger) = (pair("old"), pair("new"), pair("stranger"));
    let service = Service::start(set(&[&old])).await;
    let (tokens, _tasks) = tokens(source(service.url()));
    assert_eq!(verdict(&tokens, &old).await, Ok(()));
    assert!(service.requests()[0].starts_with("GET / HTTP/1.1\r\n"), "{:?}", service.requests());
    service.set(set(&[&new]));
    assert_eq!(verdict(&tokens, &new).await, Ok(()), "an unknown key is fetched");
    assert_eq!(verdict(&tokens, &old).await, Err(TokenError::UnknownKey), "withdrawn");
    assert_eq!(verdict(&tokens, &stranger).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn strangers_keys_cause_few_fetches_and_those_who_wait_share_one() {
    let (known, stranger) = (pair("known"), pair("stranger"));
    let service = Service::start(set(&[&known])).await;
    let slow = KeySource { unknown_every: Duration::from_secs(60), ..source(service.url()) };
    let (tokens, _tasks) = tokens(slow);
    let all = (0..50).map(|_| verdict(&tokens, &known));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    for _ in 0..50 {
        assert_eq!(verdict(&tokens, &stranger).await, Err(TokenError::UnknownKey));
    }
    assert!((1..=3).contains(&service.asked()), "{}", service.asked());
}

/// Whatever the endpoint does, the keys in hand go on, and an unknown key is a question that cannot be
/// answered, not a refusal.
#[tokio::test]
async fn bad_days_of_the_endpoint_are_survived() {
    let (known, other) = (pair("known"), pair("other"));
    let hmac = r#"{"keys":[{"kty":"oct","kid":"other","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}"#;
    let mismatch = other.jwk.replacen('{', r#"{"alg":"HS256","#, 1);
    let many = vec![other.jwk.as_str(); 65].join(",");
    let answer = |status, body: String| Behaviour::Answer(status, "", body);
    let bad = [
        ("garbage", Behaviour::Garbage),
        ("a closed connection", Behaviour::Close),
        ("a body without end", Behaviour::Endless),
        ("a page", answer(200, "<html>".into())),
        ("an error", answer(503, format!("{{\"keys\":[{}]}}", other.jwk))),
        ("a shared secret", answer(200, hmac.into())),
        ("a key for another algorithm", answer(200, format!("{{\"keys\":[{mismatch}]}}"))),
        ("too many keys", answer(200, format!("{{\"keys\":[{many}]}}"))),
        ("too large", answer(200, " ".repeat(JWKS_BYTES_MOST + 1))),
    ];
    let service = Service::start(set(&[&known])).await;
    let (tokens, _tasks) = tokens(source(service.url()));
    assert_eq!(verdict(&tokens, &known).await, Ok(()));
    for (what, behaviour) in bad {
        service.set(behaviour);
        assert_eq!(verdict(&tokens, &other).await, Err(TokenError::KeysUnavailable), "{what}");
        assert_eq!(verdict(&tokens, &known).await, Ok(()), "{what}");
    }
    service.set(set(&[&known, &other]));
    assert_eq!(verdict(&tokens, &other).await, Ok(()), "it is over");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let key = pair("key");
    let elsewhere = Service::start(set(&[&key])).await;
    let location: &'static str = format!("Location: {}\r\n", elsewhere.url()).leak();
    let service = Service::start(Behaviour::Answer(302, location, String::new())).await;
    let (tokens, _tasks) = tokens(source(service.url()));
    assert_eq!(verdict(&tokens, &key).await, Err(TokenError::KeysUnavailable));
    assert_eq!(elsewhere.asked(), 0);
}

/// A hanging endpoint costs those who wait for it a bounded time, and nobody else anything.
#[tokio::test]
async fn a_hanging_endpoint_holds_up_nobody_else() {
    let (known, other) = (pair("known"), pair("other"));
    let service = Service::start(set(&[&known])).await;
    let (tokens, _tasks) = tokens(source(service.url()));
    assert_eq!(verdict(&tokens, &known).await, Ok(()));
    service.set(Behaviour::Hang);
    let began = Instant::now();
    let waiting = async { (verdict(&tokens, &other).await, began.elapsed()) };
    let passing = async {
        eventually("the fetch", async || service.asked() > 1).await;
        (verdict(&tokens, &known).await, began.elapsed())
    };
    let ((refused, waited), (passed, at)) = tokio::join!(waiting, passing);
    assert_eq!((refused, passed), (Err(TokenError::KeysUnavailable), Ok(())));
    assert!(waited >= super::keeper::PATIENCE && at < waited, "{at:?} {waited:?}");
}

#[tokio::test]
async fn keys_of_an_issuer_that_stays_away_are_good_for_a_stated_time() {
    let key = pair("key");
    let service = Service::start(said("", &[&key])).await;
    let short = KeySource {
        refresh: Duration::from_millis(20),
        keep: Duration::from_millis(300),
        ..source(service.url())
    };
    let (tokens, _tasks) = tokens(short);
    assert_eq!(verdict(&tokens, &key).await, Ok(()));
    service.set(Behaviour::Close);
    let gone = async || verdict(&tokens, &key).await == Err(TokenError::KeysUnavailable);
    eventually("the keys' end", gone).await;
    service.set(said("", &[&key]));
    eventually("the issuer's return", async || verdict(&tokens, &key).await.is_ok()).await;
}

#[tokio::test]
async fn a_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let (old, new) = (pair("old"), pair("new"));
    let write = |pair: &Pair| {
        std::fs::write(&path, format!("{{\"keys\":[{}]}}", pair.jwk)).unwrap();
    };
    write(&old);
    let place = KeyPlace::File(path.clone());
    let (tokens, _tasks) = tokens(KeySource { place, ..source(String::new()) });
    assert_eq!(verdict(&tokens, &old).await, Ok(()));
    write(&new);
    assert_eq!(verdict(&tokens, &new).await, Ok(()));
    assert_eq!(new.signing.algorithm(), Algorithm::Es256);
}

mod encrypted {
    use std::path::PathBuf;

    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// An HTTPS endpoint with a certificate of its own for `localhost`; answers its address and that.
    async fn endpoint(body: String, tasks: &mut JoinSet<()>) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = rustls::crypto::ring::default_provider().into();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        (format!("https://localhost:{port}/"), pem)
    }

    #[tokio::test]
    async fn only_a_trusted_certificate_is_believed() {
        let (key, dir) = (pair("key"), tempfile::tempdir().unwrap());
        let mut servers = JoinSet::new();
        let body = format!("{{\"keys\":[{}]}}", key.jwk);
        let (url, pem) = endpoint(body.clone(), &mut servers).await;
        let (_, other) = endpoint(body, &mut servers).await;
        let file = |name: &str, pem: &str| -> PathBuf {
            let path = dir.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        for (ca, expected) in
            [(file("own", &pem), Ok(())), (file("other", &other), Err(TokenError::KeysUnavailable))]
        {
            let place = KeyPlace::Url { url: url.clone(), ca: Some(ca) };
            let (tokens, _tasks) = tokens(KeySource { place, ..source(String::new()) });
            assert_eq!(verdict(&tokens, &key).await, expected);
        }
    }
}
