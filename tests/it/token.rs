//! `meridian token`: its tokens are the ones that a node takes.

use std::time::{SystemTime, UNIX_EPOCH};

use meridian_core::auth::{
    Action, Algorithm, TokenError, VerificationKey, Verifier, VerifierOptions,
};
use meridian_core::vocabulary::Channel;

use super::*;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn verifier(key: VerificationKey) -> Verifier {
    Verifier::new(vec![key], VerifierOptions::default())
}

fn hs256() -> Verifier {
    verifier(VerificationKey::hs256("main", SECRET.as_bytes()).expect("a good secret"))
}

#[test]
fn every_option_reaches_the_token() {
    let place = Place::new();
    place.file("secret", &format!("{SECRET}\n"));
    let run = place.meridian(&[
        "token",
        "--secret-file",
        "secret",
        "--key",
        "main",
        "--tenant",
        "demo",
        "--user",
        "ann",
        "--device",
        "phone",
        "--role",
        "a",
        "--role",
        "b",
        "--permission",
        "c",
        "--ttl",
        "15m",
        "--grant",
        "flights:*=subscribe",
        "--subscribe",
        "$user:ann",
        "--issuer",
        "me",
        "--token-id",
        "t1",
    ]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let identity = hs256().verify(run.stdout.trim(), now_ms()).expect("a good token");
    assert_eq!((identity.tenant.as_str(), identity.user.as_str()), ("demo", "ann"));
    assert_eq!(identity.device.expect("a device").as_str(), "phone");
    assert_eq!((identity.roles.len(), identity.permissions.len()), (2, 1));
    assert_eq!((identity.issuer.as_str(), identity.token_id.as_deref()), ("me", Some("t1")));
    let sfo = Channel::parse("flights:SFO").expect("a channel");
    assert!(identity.grants[0].allows(Action::Subscribe, &sfo));
    assert_eq!(identity.subscribe[0].as_str(), "$user:ann");
    let left_ms = identity.expires_at_ms.expect("it expires") - now_ms();
    assert!((900_000..=930_000).contains(&left_ms), "{left_ms}");
}

#[test]
fn a_private_key_signs_what_its_public_key_verifies() {
    let place = Place::new();
    for (algorithm, name) in
        [(Algorithm::Es256, "es256"), (Algorithm::Rs256, "rs256"), (Algorithm::EdDsa, "ed25519")]
    {
        let private = test_key(&format!("{name}-private.pem"));
        let run =
            place.meridian(&["token", "--pem", &private, "--tenant", "demo", "--user", "ann"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let public = std::fs::read_to_string(test_key(&format!("{name}-public.pem")));
        let key = VerificationKey::from_pem("any", algorithm, &public.expect("a test key"));
        let token = run.stdout.trim();
        assert!(verifier(key.expect("a good key")).verify(token, now_ms()).is_ok(), "{algorithm}");
        assert_eq!(hs256().verify(token, now_ms()), Err(TokenError::UnknownKey));
    }
}

#[test]
fn the_configuration_fills_in_key_issuer_and_audience() {
    let place = Place::new();
    let text = format!(
        "[auth]\naudience = ['meridian']\n[[auth.keys]]\nid = 'main'\nalgorithm = 'HS256'\n\
         issuer = 'https://id.example'\nsecret = '{SECRET}'\n"
    );
    place.file("meridian.toml", &text);
    let base = ["token", "--config", "meridian.toml", "--tenant", "demo", "--user", "ann"];
    let run = place.meridian(&base);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let config = meridian_core::config::Config::parse(&text, Path::new(""), []);
    let verifier = config.expect("a good configuration").auth.verifier();
    let identity = verifier.verify(run.stdout.trim(), now_ms()).expect("a good token");
    assert_eq!(identity.issuer, "https://id.example");
    let run = place.meridian(&[&base[..], &["--audience", "other"]].concat());
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("would refuse the token: the token is for another audience"));
    let run = place.meridian(&[&base[..], &["--key", "other"]].concat());
    assert!(run.stderr.contains("no HS256 key `other`"), "{}", run.stderr);
}

#[test]
fn errors_say_what_to_do_and_show_no_secret() {
    let place = Place::new();
    let run = |arguments: &[&str]| place.meridian(&[&["token"], arguments].concat());
    let ann = ["--tenant", "demo", "--user", "ann"];
    let with = |more: &[&str]| run(&[&ann[..], more].concat());
    assert!(with(&[]).stderr.contains("--config"));
    let short = with(&["--secret", "short-secret"]);
    assert_eq!(short.code, 1);
    assert!(short.stderr.contains("at least 32 bytes") && !short.stderr.contains("short-secret"));
    let public = test_key("es256-public.pem");
    assert!(with(&["--pem", &public]).stderr.contains("BEGIN PRIVATE KEY"));
    assert!(with(&["--pem", "none.pem"]).stderr.contains("cannot read none.pem"));
    assert!(with(&["--secret", SECRET, "--ttl", "soon"]).stderr.contains("such as 90s"));
    assert!(with(&["--secret", SECRET, "--grant", "a:b"]).stderr.contains("subscribe,publish"));
    let tenant = run(&["--tenant", "a b", "--user", "ann", "--secret", SECRET]);
    assert!(tenant.stderr.contains("--tenant: tenant contains a character"), "{}", tenant.stderr);
}
