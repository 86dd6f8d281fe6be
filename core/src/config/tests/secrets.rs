//! Keys, and that no secret is ever shown.

use super::*;
use crate::auth::{Claims, mint};
use crate::vocabulary::{Tenant, UserId};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

fn key(members: &str) -> String {
    format!("[[auth.keys]]\nid = 'main'\n{members}")
}

fn hs256(members: &str) -> String {
    key(&format!("algorithm = 'HS256'\n{members}"))
}

#[test]
fn secrets_make_keys() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let base64 = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcywgb2s=";
    let ann = Claims::new(Tenant::parse("demo").unwrap(), UserId::parse("ann").unwrap());
    let signer = parse(&hs256(&format!("secret = '{SECRET}'"))).unwrap();
    let signer = signer.auth.keys[0].signing.clone().unwrap();
    let token = mint(&signer, &ann, 0).unwrap();
    for member in [
        format!("secret = '{SECRET}'"),
        format!("secret_base64 = '{base64}'"),
        "secret_file = 'secret'".to_owned(),
    ] {
        let config = Config::parse(&hs256(&member), dir.path(), []).unwrap();
        assert!(config.auth.verifier().verify(&token, 0).is_ok(), "{member}");
    }
}

#[test]
fn public_keys_verify_for_their_issuer() {
    for (algorithm, name) in [("ES256", "es256"), ("RS256", "rs256"), ("EdDSA", "ed25519")] {
        let file = format!("{KEYS}/{name}-public.pem");
        let pem = std::fs::read_to_string(&file).unwrap();
        for member in [format!("pem = '''\n{pem}'''"), format!("pem_file = '{file}'")] {
            let issuer = "issuer = 'https://id.example'";
            let auth = parse(&key(&format!("algorithm = '{algorithm}'\n{issuer}\n{member}")));
            let auth = auth.unwrap().auth;
            assert_eq!(auth.keys[0].verification.issuer(), Some("https://id.example"));
            assert_eq!(auth.keys[0].verification.algorithm().as_str(), algorithm);
            assert!(auth.keys[0].signing.is_none());
        }
    }
}

#[test]
fn faults_of_keys() {
    let es256 = |members: &str| key(&format!("algorithm = 'ES256'\n{members}"));
    let rs256 = |members: &str| key(&format!("algorithm = 'RS256'\n{members}"));
    for (text, at, says) in [
        (hs256(""), "algorithm", "exactly one of `secret`"),
        (hs256(&format!("secret = '{SECRET}'\nsecret_base64 = ''")), "algorithm", "exactly one"),
        (hs256("secret = 'short'"), "secret", "at least 32 bytes"),
        (hs256("secret_base64 = '***'"), "secret_base64", "base64"),
        (hs256("secret_file = 'nowhere'"), "secret_file", "cannot read nowhere"),
        (hs256("pem = 'x'"), "pem", "not for HS256"),
        (hs256("secret = '-----BEGIN PUBLIC KEY-----'"), "secret", "ES256"),
        (es256(&format!("secret = '{SECRET}'")), "secret", "not for ES256"),
        (es256("pem = 'x'"), "pem", "BEGIN PUBLIC KEY"),
        (es256(&format!("pem_file = '{KEYS}/es256-private.pem'")), "pem_file", "public key"),
        (es256(&format!("pem_file = '{KEYS}/es384-public.pem'")), "pem_file", "P-256"),
        (rs256(&format!("pem_file = '{KEYS}/rsa1024-public.pem'")), "pem_file", "from 2048"),
        (rs256(&format!("pem_file = '{KEYS}/ed25519-public.pem'")), "pem_file", "an RSA public"),
        ("[[auth.keys]]\nalgorithm = 'HS256'".to_owned(), "id", "missing"),
        ("[[auth.keys]]\nid = 'a'".to_owned(), "algorithm", "missing"),
    ] {
        let (key, message) = fault(&text);
        assert_eq!(key, format!("auth.keys[0].{at}"), "{text}");
        assert!(message.contains(says), "{text}: {message}");
    }
    let twice = format!("{0}\n{0}", hs256(&format!("secret = '{SECRET}'")));
    assert_eq!(fault(&twice), ("auth.keys".into(), "two keys have the id `main`".into()));
    let many = (0..17)
        .map(|i| format!("[[auth.keys]]\nid = '{i}'\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n"));
    assert_eq!(fault(&many.collect::<String>()).0, "auth.keys");
}

/// Whatever is wrong with it or around it, a secret's text stays out of what is shown.
#[test]
fn secrets_are_never_shown() {
    let hidden = "hidden-hidden-hidden-hidden-hidden-hidden";
    let secret = format!("secret = '{hidden}'");
    let config = parse(&hs256(&secret)).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("main") && !shown.contains("hidden"), "{shown}");
    for broken in [
        hs256(&format!("secret = '{hidden}")),
        hs256(&format!("secret = {hidden}")),
        hs256(&format!("{secret}\n{secret}")),
        hs256(&format!("secret = ['{hidden}']")),
        hs256(&format!("secret = {{ {} = 1 }}", hidden)),
        hs256(&format!("secret_base64 = '{hidden}'")),
        hs256(&format!("pem = '{hidden}'")),
        key(&format!("algorithm = 'ES256'\n{secret}")),
        key(&format!("algorithm = 'ES256'\npem = '{hidden}'")),
        format!("auth = '{hidden}'"),
        format!("auth.keys = '{hidden}'"),
        format!("auth.keys = ['{hidden}']"),
        format!("[auth.keys]\nid = 'a'\nalgorithm = 'HS256'\n{secret}"),
    ] {
        let error = parse(&broken).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hidden"), "{broken}: {shown}");
    }
    let in_keys = format!("[{{ id = 'a', secret = '{hidden}' }}");
    for (name, text) in [("KEYS", in_keys.as_str()), ("SECRET", hidden)] {
        let name = format!("MERIDIAN__AUTH__{name}");
        let error = parse_with("", &[(&name, text)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
    }
}
