//! Times, audience, and the bounds of each claim.

use super::*;
use crate::auth::{Claims, mint};
use crate::vocabulary::{Tenant, UserId};

fn bad(claim: &'static str) -> Option<TokenError> {
    Some(TokenError::BadClaim { claim })
}

fn lenient() -> VerifierOptions {
    VerifierOptions { require_expiry: false, ..VerifierOptions::default() }
}

fn default_refusal(claims: &Value) -> Option<TokenError> {
    refusal(&with(claims), VerifierOptions::default())
}

#[test]
fn expiry() {
    let at = |exp: Value| default_refusal(&json!({"exp": exp}));
    assert_eq!(at(json!(NOW_S + 1)), None);
    assert_eq!(at(json!(NOW_S - 29)), None, "within the leeway");
    assert_eq!(at(json!(NOW_S - 30)), Some(TokenError::Expired));
    assert_eq!(at(json!(NOW_S as f64 - 29.5)), None, "fractions count");
    assert_eq!(at(json!(0)), Some(TokenError::Expired));
    assert_eq!(at(json!(1e300)), None);
    assert_eq!(at(json!(null)), bad("exp"));
    for exp in [json!(-1), json!("1764000000"), json!([]), json!(true), json!({})] {
        assert_eq!(at(exp.clone()), bad("exp"), "{exp}");
    }
    assert_eq!(refusal(&with(&json!({"exp": null})), lenient()), None);
    assert_eq!(refusal(&with(&json!({"exp": NOW_S - 60})), lenient()), Some(TokenError::Expired));
}

#[test]
fn the_moment_of_expiry_is_the_identitys() {
    let user = UserId::parse("ann").unwrap();
    let mut claims = Claims::new(Tenant::parse("demo").unwrap(), user);
    claims.ttl_ms = Some(1_500);
    let token = mint(&hs_signer(), &claims, NOW_MS).unwrap();
    let end_ms = NOW_MS + 1_500 + 30_000;
    let identity = verifier().verify(&token, end_ms - 1).unwrap();
    assert_eq!(identity.expires_at_ms, Some(end_ms));
    assert!(!identity.is_expired(end_ms - 1) && identity.is_expired(end_ms));
    assert_eq!(verifier().verify(&token, end_ms), Err(TokenError::Expired));
    claims.ttl_ms = None;
    let token = mint(&hs_signer(), &claims, NOW_MS).unwrap();
    assert_eq!(verifier().verify(&token, NOW_MS), Err(TokenError::BadClaim { claim: "exp" }));
    let lenient = Verifier::new(vec![hs_key()], lenient()).verify(&token, u64::MAX).unwrap();
    assert_eq!((lenient.expires_at_ms, lenient.is_expired(u64::MAX)), (None, false));
}

#[test]
fn not_yet_valid() {
    for claim in ["nbf", "iat"] {
        let at = |value: Value| default_refusal(&json!({claim: value}));
        assert_eq!(at(json!(NOW_S)), None);
        assert_eq!(at(json!(NOW_S + 30)), None, "within the leeway");
        assert_eq!(at(json!(NOW_S + 31)), Some(TokenError::NotYetValid));
        assert_eq!(at(json!("now")), bad(claim));
    }
    let future = with(&json!({"exp": null, "nbf": NOW_S + 31}));
    assert_eq!(refusal(&future, lenient()), Some(TokenError::NotYetValid));
}

#[test]
fn lifetime() {
    let hour = VerifierOptions { max_lifetime_ms: Some(3_600_000), ..VerifierOptions::default() };
    let of = |claims: Value| refusal(&with(&claims), hour.clone());
    assert_eq!(of(json!({"iat": NOW_S, "exp": NOW_S + 3600})), None);
    assert_eq!(of(json!({"iat": NOW_S, "exp": NOW_S + 3601})), bad("exp"));
    assert_eq!(of(json!({"iat": NOW_S - 3000, "exp": NOW_S + 3000})), bad("exp"));
    assert_eq!(of(json!({"exp": NOW_S + 3600})), None);
    assert_eq!(of(json!({"exp": NOW_S + 3601})), bad("exp"));
    let lenient = VerifierOptions { require_expiry: false, ..hour.clone() };
    assert_eq!(refusal(&with(&json!({"exp": null})), lenient), bad("exp"));
}

#[test]
fn audience() {
    let options = |audience: &[&str]| VerifierOptions {
        audience: audience.iter().map(|name| (*name).to_owned()).collect(),
        ..VerifierOptions::default()
    };
    let of = |aud: Value, own: &[&str]| refusal(&with(&json!({"aud": aud})), options(own));
    let wrong = Some(TokenError::WrongAudience);
    assert_eq!(of(json!(null), &[]), None);
    assert_eq!(of(json!([]), &[]), None);
    assert_eq!(of(json!("meridian"), &[]), wrong, "meant for someone with a name");
    assert_eq!(of(json!("meridian"), &["meridian"]), None);
    assert_eq!(of(json!(["a", "meridian"]), &["eu", "meridian"]), None);
    assert_eq!(of(json!("other"), &["meridian"]), wrong);
    assert_eq!(of(json!(["meridian "]), &["meridian"]), wrong);
    assert_eq!(of(json!(null), &["meridian"]), wrong);
    assert_eq!(of(json!(7), &["meridian"]), bad("aud"));
}

#[test]
fn tenant_and_user() {
    for (claim, values) in [
        ("tenant", vec![json!(null), json!(""), json!("a b"), json!("a/b"), json!("x".repeat(65))]),
        ("sub", vec![json!(null), json!(""), json!("a\nb"), json!("x".repeat(201)), json!(7)]),
    ] {
        for value in values {
            assert_eq!(default_refusal(&json!({claim: value})), bad(claim), "{claim} {value}");
        }
    }
    assert_eq!(default_refusal(&json!({"sub": "auth0|\u{e9} \"quoted\""})), None);
}

#[test]
fn names_are_bounded() {
    let many = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>();
    for claim in ["roles", "permissions"] {
        assert_eq!(default_refusal(&json!({claim: many(64)})), None);
        for value in
            [json!(many(65)), json!("admin"), json!([""]), json!(["a\u{0}"]), json!([1]), json!({})]
        {
            assert_eq!(default_refusal(&json!({claim: value})), bad(claim), "{claim} {value}");
        }
        assert_eq!(default_refusal(&json!({claim: ["x".repeat(129)]})), bad(claim));
    }
    for (claim, longest) in [("iss", 255), ("jti", 128), ("device", 64)] {
        assert_eq!(default_refusal(&json!({claim: "x".repeat(longest)})), None);
        for value in [json!("x".repeat(longest + 1)), json!("a\u{7}"), json!([])] {
            assert_eq!(default_refusal(&json!({claim: value})), bad(claim), "{claim} {value}");
        }
    }
}

#[test]
fn channels_are_bounded() {
    let grants = |count: usize| {
        let grants = (0..count).map(|i| (format!("a:{i}"), json!(["publish"])));
        Value::Object(grants.collect())
    };
    assert_eq!(default_refusal(&json!({"channels": grants(128)})), None);
    for value in [
        grants(129),
        json!(["a:b"]),
        json!({"a:b": "publish"}),
        json!({"a:b": ["delete"]}),
        json!({"*": ["publish"]}),
        json!({"a*": ["publish"]}),
        json!({"a": ["publish"]}),
        json!({"a:*b": ["publish"]}),
        json!({"a:**": ["publish"]}),
        json!({"A:x": ["publish"]}),
    ] {
        assert_eq!(default_refusal(&json!({"channels": value})), bad("channels"), "{value}");
    }
    let channels = |count: usize| (0..count).map(|i| format!("a:{i}")).collect::<Vec<_>>();
    assert_eq!(default_refusal(&json!({"subscribe": channels(64)})), None);
    for value in [json!(channels(65)), json!("a:b"), json!(["a"]), json!(["a:*"]), json!([7])] {
        assert_eq!(default_refusal(&json!({"subscribe": value})), bad("subscribe"), "{value}");
    }
}

#[test]
fn what_is_said_twice_counts_once() {
    let claims = with(&json!({"roles": ["a", "a"], "subscribe": ["a:b", "a:b", "a:a"]}));
    let token = forge(&json!({"alg": "HS256"}), &claims, &hs_signer());
    let identity = verifier().verify(&token, NOW_MS).unwrap();
    assert_eq!((identity.roles.len(), identity.subscribe.len()), (1, 2));
}

#[test]
fn claims_that_are_not_known_are_ignored() {
    assert_eq!(default_refusal(&json!({"email": "a@b", "nested": {"a": [1, {"b": null}]}})), None);
}
