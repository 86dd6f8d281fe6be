//! What a revocation covers, and for how long.

use super::*;
use crate::auth::{Identity, Revocation, Revocations, Revoked};
use crate::vocabulary::{DeviceId, Tenant, UserId};

const LATER_MS: u64 = NOW_MS + 3_600_000;

fn identity(claims: &Value) -> Identity {
    let token = forge(&json!({"alg": "HS256"}), &with(claims), &hs_signer());
    verifier().verify(&token, NOW_MS).unwrap()
}

fn revocation(tenant: &str, what: Revoked) -> Revocation {
    let tenant = Tenant::parse(tenant).unwrap();
    Revocation { tenant, what, at_ms: NOW_MS, until_ms: LATER_MS }
}

fn whats() -> [Revoked; 3] {
    let (user, device) = (UserId::parse("ann").unwrap(), DeviceId::parse("phone").unwrap());
    [Revoked::Token("t1".into()), Revoked::User(user.clone()), Revoked::Device(user, device)]
}

#[test]
fn what_is_covered() {
    let whole = json!({"jti": "t1", "device": "phone", "iat": NOW_S});
    let cases = [
        (whole.clone(), [true, true, true]),
        (json!({"jti": "t1", "device": "phone", "iat": null}), [true, true, true]),
        (json!({"jti": "t2", "device": "phone", "iat": NOW_S}), [false, true, true]),
        (json!({"device": "tablet", "iat": NOW_S - 60}), [false, true, false]),
        (json!({"jti": "t1", "sub": "bob", "device": "phone"}), [true, false, false]),
        // Made after the revocation: whoever makes tokens knew of it.
        (json!({"jti": "t1", "device": "phone", "iat": NOW_S + 1}), [true, false, false]),
        (json!({"tenant": "acme", "jti": "t1", "device": "phone"}), [false, false, false]),
    ];
    for (claims, expected) in cases {
        for (what, covered) in whats().into_iter().zip(expected) {
            let revocation = revocation("demo", what);
            let identity = identity(&claims);
            assert_eq!(revocation.covers(&identity), covered, "{claims} {revocation:?}");
            let mut list = Revocations::default();
            assert_eq!(list.add(&revocation), Ok(true));
            assert_eq!(list.cover(&identity), covered, "{claims} {revocation:?}");
            list.sweep(LATER_MS - 1);
            assert_eq!(list.cover(&identity), covered);
            list.sweep(LATER_MS);
            assert!(!list.cover(&identity) && list.all().is_empty());
        }
    }
}

#[test]
fn the_latest_counts_and_repeats_say_nothing_new() {
    let mut list = Revocations::default();
    let [_, user, _] = whats();
    let first = revocation("demo", user);
    let second = Revocation { at_ms: NOW_MS + 10, ..first.clone() };
    assert_eq!(
        [list.add(&second), list.add(&first), list.add(&second)],
        [Ok(true), Ok(false), Ok(false)]
    );
    assert_eq!(list.all().into_iter().collect::<Vec<_>>(), [second]);
}

#[test]
fn what_is_stored_is_read_back() {
    for what in whats() {
        let revocation = revocation("demo", what);
        assert_eq!(Revocation::decode(&revocation.encode()), Ok(revocation));
    }
    let golden = r#"{"n":"demo","u":"ann","d":"phone","a":1764000000000,"e":1764003600000}"#;
    assert_eq!(revocation("demo", whats()[2].clone()).encode(), golden);
    for bad in ["", "{}", r#"{"n":"demo","a":1,"e":2}"#, r#"{"n":"d","j":"a","u":"b","a":1,"e":2}"#]
    {
        assert!(Revocation::decode(bad).is_err(), "{bad}");
    }
}
