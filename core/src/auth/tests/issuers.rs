//! Issuers: whose keys count for whom, and which published keys are taken at all.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::auth::{
    Issuer, JWKS_BYTES_MOST, Jwks, JwksError, KeyPlace, KeySet, KeySource, Published, Tenants,
};
use crate::vocabulary::Tenant;

const ISSUER: &str = "https://id.example";

/// The members of the public test keys, read from their PEM: RSA's modulus, P-256's and Ed25519's points.
fn jwk(id: &str, pem: &str) -> Value {
    let der = base64::engine::general_purpose::STANDARD
        .decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
        .unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match pem {
        // The point is the last 64 bytes; the key the last 32; the modulus lies before `02 03 01 00 01`.
        PUBLIC_PEM => {
            let (x, y) = der[der.len() - 64..].split_at(32);
            json!({"kty": "EC", "crv": "P-256", "kid": id, "x": text(x), "y": text(y)})
        }
        ED_PUBLIC_PEM => {
            json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": text(&der[der.len() - 32..])})
        }
        RSA_PUBLIC_PEM => rsa(id, &der[der.len() - 5 - 256..der.len() - 5]),
        RSA1024_PUBLIC_PEM => rsa(id, &der[der.len() - 5 - 128..der.len() - 5]),
        _ => unreachable!("not one of ours"),
    }
}

fn rsa(id: &str, modulus: &[u8]) -> Value {
    json!({"kty": "RSA", "kid": id, "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
}

fn jwks(keys: &[Value]) -> Result<Jwks, JwksError> {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn changed(mut key: Value, name: &str, value: &Value) -> Value {
    key[name] = value.clone();
    key
}

fn published(keys: Option<&[Value]>) -> Published {
    let set = keys.map(|keys| KeySet::of(jwks(keys).unwrap().keys)).unwrap_or_default();
    let source = KeySource {
        place: KeyPlace::File("keys.json".into()),
        refresh: Duration::from_secs(300),
        unknown_every: Duration::from_secs(10),
        keep: Duration::from_secs(300),
    };
    Published { source, set: Arc::new(set) }
}

fn issuer(tenants: &[&str], published: Option<Published>) -> Issuer {
    let tenants = tenants.iter().map(|tenant| Tenant::parse(tenant).unwrap());
    Issuer {
        name: ISSUER.into(),
        tenants: Tenants::Listed(tenants.collect()),
        audience: vec!["here".into()],
        published,
    }
}

/// A verifier that knows the issuer, and beside it one free key.
fn knowing(issuer: Issuer) -> Verifier {
    let options = VerifierOptions { audience: vec!["other".into()], ..VerifierOptions::default() };
    Verifier::new(vec![hs_key()], options).with_issuers(vec![issuer])
}

fn token(signer: &SigningKey, header: &Value, claims: &Value) -> String {
    let mut all = with(&json!({"iss": ISSUER, "aud": "here"}));
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let mut whole = json!({"alg": signer.algorithm().as_str()});
    for (name, value) in header.as_object().unwrap() {
        whole[name] = value.clone();
    }
    forge(&whole, &all, signer)
}

#[test]
fn published_keys_of_every_kind_verify() {
    let keys = [jwk("es", PUBLIC_PEM), jwk("rs", RSA_PUBLIC_PEM), jwk("ed", ED_PUBLIC_PEM)];
    let verifier = knowing(issuer(&["demo"], Some(published(Some(&keys)))));
    for signer in [es_signer(), rs_signer(), ed_signer()] {
        let named = json!({"kid": signer.id()});
        for header in [&named, &json!({})] {
            let identity = verifier.verify(&token(&signer, header, &json!({})), NOW_MS).unwrap();
            assert_eq!((identity.issuer.as_str(), identity.tenant.as_str()), (ISSUER, "demo"));
        }
        let unknown = token(&signer, &json!({"kid": "new"}), &json!({}));
        assert_eq!(verifier.verify(&unknown, NOW_MS), Err(TokenError::UnknownKey));
        assert_eq!(verifier.named_issuer(&unknown).map(|issuer| &*issuer.name), Some(ISSUER));
    }
}

#[test]
fn an_issuer_speaks_for_its_tenants_and_to_its_audience_only() {
    let keys = [jwk("es", PUBLIC_PEM)];
    let verifier = knowing(issuer(&["demo", "acme"], Some(published(Some(&keys)))));
    let verdict = |claims: Value| {
        let token = token(&es_signer(), &json!({"kid": "es"}), &claims);
        verifier.verify(&token, NOW_MS).map(|identity| identity.tenant.as_str().to_owned())
    };
    assert_eq!(verdict(json!({})), Ok("demo".into()));
    assert_eq!(verdict(json!({"tenant": "acme"})), Ok("acme".into()));
    assert_eq!(verdict(json!({"tenant": "globex"})), Err(TokenError::WrongTenant));
    assert_eq!(verdict(json!({"aud": "other"})), Err(TokenError::WrongAudience));
    // Its keys count for nobody else's tokens, and nobody else's for its own.
    assert_eq!(verdict(json!({"iss": "https://else.example"})), Err(TokenError::UnknownKey));
    assert_eq!(verdict(json!({"iss": null})), Err(TokenError::UnknownKey));
    let foreign = token(&hs_signer(), &json!({"kid": "hs"}), &json!({}));
    assert_eq!(verifier.verify(&foreign, NOW_MS), Err(TokenError::WrongIssuer));
}

/// The tenants count for keys of the configuration as well.
#[test]
fn a_bound_key_speaks_for_its_issuers_tenants() {
    let bound = hs_key().bound_to(ISSUER);
    let verifier = Verifier::new(vec![bound], VerifierOptions::default())
        .with_issuers(vec![issuer(&["demo"], None)]);
    let verdict = |tenant: &str| {
        let token = token(&hs_signer(), &json!({}), &json!({"tenant": tenant}));
        verifier.verify(&token, NOW_MS).map(|_| ())
    };
    assert_eq!(verdict("demo"), Ok(()));
    assert_eq!(verdict("acme"), Err(TokenError::WrongTenant));
}

#[test]
fn without_its_keys_nothing_is_decided_and_keys_can_be_replaced() {
    let published = published(None);
    let set = published.set.clone();
    let verifier = knowing(issuer(&["demo"], Some(published)));
    let token = token(&es_signer(), &json!({"kid": "es"}), &json!({}));
    assert_eq!(verifier.verify(&token, NOW_MS), Err(TokenError::KeysUnavailable));
    set.replace(Some(jwks(&[jwk("rs", RSA_PUBLIC_PEM)]).unwrap().keys));
    assert_eq!(verifier.verify(&token, NOW_MS), Err(TokenError::UnknownKey));
    set.replace(Some(jwks(&[jwk("es", PUBLIC_PEM)]).unwrap().keys));
    assert!(verifier.verify(&token, NOW_MS).is_ok());
    set.replace(None);
    assert_eq!(verifier.verify(&token, NOW_MS), Err(TokenError::KeysUnavailable));
}

#[test]
fn of_several_published_keys_a_token_names_one() {
    let keys = [jwk("es", PUBLIC_PEM), jwk("es-2", PUBLIC_PEM)];
    let verifier = knowing(issuer(&["demo"], Some(published(Some(&keys)))));
    let unnamed = token(&es_signer(), &json!({}), &json!({}));
    assert_eq!(verifier.verify(&unnamed, NOW_MS), Err(TokenError::UnknownKey));
}

/// What an attacker who can add to a set would add: a shared secret, a key for another algorithm.
#[test]
fn confused_keys_are_left_out() {
    let secret = json!({
        "kty": "oct", "kid": "hs", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET),
    });
    let rsa = jwk("rs", RSA_PUBLIC_PEM);
    let left_out = [
        secret.clone(),
        changed(secret, "alg", &Value::Null),
        changed(rsa.clone(), "alg", &json!("HS256")),
        changed(rsa.clone(), "alg", &json!("ES256")),
        changed(rsa.clone(), "alg", &json!("RS512")),
        changed(rsa.clone(), "alg", &json!("none")),
        changed(rsa.clone(), "use", &json!("enc")),
        changed(rsa.clone(), "key_ops", &json!(["encrypt"])),
        changed(rsa.clone(), "kty", &json!("EC")),
        changed(rsa.clone(), "n", &json!("AQAB")),
        changed(rsa.clone(), "n", &json!("***")),
        changed(rsa.clone(), "e", &Value::Null),
        changed(rsa.clone(), "kid", &json!("x".repeat(256))),
        jwk("weak", RSA1024_PUBLIC_PEM),
        changed(jwk("es", PUBLIC_PEM), "crv", &json!("P-384")),
        changed(jwk("es", PUBLIC_PEM), "x", &json!("AAAA")),
        changed(jwk("ed", ED_PUBLIC_PEM), "x", &json!("AAAA")),
        changed(jwk("ed", ED_PUBLIC_PEM), "x", &json!("A".repeat(44))),
        json!(7),
        json!({"kty": "new"}),
    ];
    for key in &left_out {
        assert_eq!(jwks(std::slice::from_ref(key)).unwrap_err(), JwksError::NoKey, "{key}");
    }
    let with_good: Vec<Value> = left_out.iter().cloned().chain([rsa]).collect();
    let set = jwks(&with_good).unwrap();
    assert_eq!((set.keys.len(), set.left_out), (1, left_out.len()));

    let verifier = knowing(issuer(&["demo"], Some(published(Some(&with_good)))));
    let forged = token(&hs_signer(), &json!({"kid": "rs"}), &json!({}));
    assert_eq!(verifier.verify(&forged, NOW_MS), Err(TokenError::UnsupportedAlgorithm));
}

#[test]
fn what_is_no_set_is_refused() {
    for text in ["", "{}", "[]", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#, "{\"keys\":["] {
        assert_eq!(Jwks::parse(text.as_bytes()).unwrap_err(), JwksError::Malformed, "{text}");
    }
    assert_eq!(jwks(&[]).unwrap_err(), JwksError::NoKey);
    let many: Vec<Value> = (0..65).map(|at| jwk(&at.to_string(), PUBLIC_PEM)).collect();
    assert_eq!(jwks(&many).unwrap_err(), JwksError::TooManyKeys);
    assert_eq!(jwks(&many[..64]).unwrap().keys.len(), 64);
    let large = vec![b' '; JWKS_BYTES_MOST + 1];
    assert_eq!(Jwks::parse(&large).unwrap_err(), JwksError::TooLarge);
}

#[test]
fn nothing_of_a_secret_is_kept_or_shown() {
    let mut key = jwk("es", PUBLIC_PEM);
    key["d"] = json!("cHJpdmF0ZQ");
    let set = published(Some(&[key]));
    let shown = format!("{set:?}");
    assert!(shown.contains("es") && !shown.contains("cHJpdmF0ZQ"), "{shown}");
}
