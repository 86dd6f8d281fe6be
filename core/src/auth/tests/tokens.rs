//! Shape, keys and signatures.

use proptest::prelude::*;

use super::*;
use crate::auth::{Claims, KeyError, MAX_TOKEN_BYTES, MintError, mint};
use crate::vocabulary::{Channel, DeviceId, Scope, Tenant, UserId};

fn ann() -> Claims {
    Claims::new(Tenant::parse("demo").unwrap(), UserId::parse("ann").unwrap())
}

fn full() -> Claims {
    Claims {
        device: Some(DeviceId::parse("phone").unwrap()),
        issuer: Some("https://id.example".into()),
        roles: ["editor".to_owned(), "viewer".to_owned()].into(),
        permissions: ["flights.write".to_owned()].into(),
        grants: vec!["flights:*=subscribe,publish".parse().unwrap()],
        subscribe: vec![Channel::parse("$user:ann").unwrap()],
        token_id: Some("t-1".into()),
        ..ann()
    }
}

#[test]
fn what_is_minted_comes_back() {
    for signer in signers() {
        let claims = full();
        let identity = verifier().verify(&mint(&signer, &claims, NOW_MS).unwrap(), NOW_MS).unwrap();
        assert_eq!((&identity.tenant, &identity.user), (&claims.tenant, &claims.user));
        assert_eq!((&identity.device, &identity.token_id), (&claims.device, &claims.token_id));
        assert_eq!(identity.issuer, "https://id.example");
        assert_eq!((&identity.roles, &identity.permissions), (&claims.roles, &claims.permissions));
        assert_eq!((&identity.grants, &identity.subscribe), (&claims.grants, &claims.subscribe));
        assert_eq!(identity.expires_at_ms, Some(NOW_MS + 3_600_000 + 30_000));
        assert_eq!(identity.scope, Scope::of_token("https://id.example", "ann"));
    }
}

/// RFC 7515 A.1.1: another implementation's token and key.
#[test]
fn signature_of_the_rfc_holds() {
    let secret = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let signed = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let key = VerificationKey::hs256("rfc", &secret).unwrap();
    assert!(key.verifies(signed, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
    assert!(!key.verifies(signed, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"));
}

#[test]
fn every_changed_byte_is_noticed() {
    for signer in signers() {
        let token = mint(&signer, &ann(), NOW_MS).unwrap();
        let verifier = verifier();
        for at in 0..token.len() {
            for flip in [0x01, 0x02, 0x04, 0x20] {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= flip;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(verifier.verify(&changed, NOW_MS).is_err(), "byte {at} of {changed}");
            }
        }
        for at in 0..token.len() {
            assert!(verifier.verify(&token[..at], NOW_MS).is_err(), "cut at {at}");
        }
        assert!(verifier.verify(&format!("{token}A"), NOW_MS).is_err());
        assert!(verifier.verify(&format!("{token}="), NOW_MS).is_err());
    }
}

#[test]
fn unsigned_tokens_are_refused() {
    for alg in ["none", "None", "NONE", "", "HS512", "RS512", "PS256", "hs256", "eddsa"] {
        let token = forge(&json!({"alg": alg}), &good(), &hs_signer());
        let (signed, _) = token.rsplit_once('.').unwrap();
        let unsigned = format!("{signed}.");
        for token in [&token, &unsigned] {
            let verdict = verifier().verify(token, NOW_MS);
            assert_eq!(verdict, Err(TokenError::UnsupportedAlgorithm), "{alg}");
        }
    }
    let token = forge(&json!({"alg": "HS256"}), &good(), &hs_signer());
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(verifier().verify(&format!("{signed}."), NOW_MS), Err(TokenError::BadSignature));
}

/// The classic: the public key is no secret, so nobody may use it as one.
#[test]
fn a_public_key_is_no_hmac_secret() {
    let as_secret = |pem: &str, header: &Value| {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(good().to_string())
        );
        let key = jsonwebtoken::EncodingKey::from_secret(pem.as_bytes());
        let hs256 = jsonwebtoken::Algorithm::HS256;
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, hs256).unwrap();
        format!("{signed}.{signature}")
    };
    for (key, pem) in
        [(es_key(), PUBLIC_PEM), (rs_key(), RSA_PUBLIC_PEM), (ed_key(), ED_PUBLIC_PEM)]
    {
        let named = as_secret(pem, &json!({"alg": "HS256", "kid": key.id()}));
        let unnamed = as_secret(pem, &json!({"alg": "HS256"}));
        let only = Verifier::new(vec![key], VerifierOptions::default());
        assert_eq!(only.verify(&named, NOW_MS), Err(TokenError::UnsupportedAlgorithm));
        assert_eq!(only.verify(&unnamed, NOW_MS), Err(TokenError::UnknownKey));
        assert_eq!(verifier().verify(&unnamed, NOW_MS), Err(TokenError::BadSignature));
        let as_key = VerificationKey::hs256("x", pem.as_bytes());
        assert_eq!(as_key.unwrap_err(), KeyError::SecretIsPem);
    }
}

/// A token under another algorithm of the same key's kind, or another kind's, never passes.
#[test]
fn a_key_serves_its_algorithm_only() {
    for signer in signers() {
        for other in ["HS256", "ES256", "RS256", "EdDSA"] {
            let header = json!({"alg": other, "kid": signer.id()});
            let verdict = verifier().verify(&forge(&header, &good(), &signer), NOW_MS);
            match other == signer.algorithm().as_str() {
                true => assert!(verdict.is_ok(), "{other}"),
                false => assert_eq!(verdict, Err(TokenError::UnsupportedAlgorithm), "{other}"),
            }
        }
    }
}

#[test]
fn keys_are_chosen_by_id() {
    let es = Verifier::new(vec![es_key()], VerifierOptions::default());
    let signed_by = |kid: &str| forge(&json!({"alg": "ES256", "kid": kid}), &good(), &es_signer());
    assert!(es.verify(&signed_by("es"), NOW_MS).is_ok());
    assert_eq!(es.verify(&signed_by("other"), NOW_MS), Err(TokenError::UnknownKey));
    let other = VerificationKey::from_pem("es", Algorithm::Es256, OTHER_PUBLIC_PEM).unwrap();
    let wrong = Verifier::new(vec![other.clone()], VerifierOptions::default());
    assert_eq!(wrong.verify(&signed_by("es"), NOW_MS), Err(TokenError::BadSignature));
    let rotating = Verifier::new(vec![other, es_key()], VerifierOptions::default());
    let unnamed = forge(&json!({"alg": "ES256"}), &good(), &es_signer());
    assert!(rotating.verify(&unnamed, NOW_MS).is_ok());
    let none = Verifier::new(Vec::new(), VerifierOptions::default());
    assert_eq!(none.verify(&unnamed, NOW_MS), Err(TokenError::UnknownKey));
}

#[test]
fn keys_speak_for_their_issuer_only() {
    let other = b"another secret of thirty-two byte";
    let bound = hs_key().bound_to("https://id.example");
    let free = VerificationKey::hs256("free", other).unwrap();
    let verifier = Verifier::new(vec![bound, free], VerifierOptions::default());
    let verdict = |signer: &SigningKey, issuer: Option<&str>| {
        let token = forge(&json!({"alg": "HS256"}), &with(&json!({"iss": issuer})), signer);
        verifier.verify(&token, NOW_MS).map(|identity| identity.issuer)
    };
    let free = SigningKey::hs256("free", other).unwrap();
    let own = "https://id.example";
    assert_eq!(verdict(&hs_signer(), Some(own)), Ok(own.into()));
    assert_eq!(verdict(&hs_signer(), Some("someone")), Err(TokenError::WrongIssuer));
    assert_eq!(verdict(&hs_signer(), None), Err(TokenError::WrongIssuer));
    assert_eq!(verdict(&free, None), Ok(String::new()));
    assert_eq!(verdict(&free, Some("someone")), Ok("someone".into()));
    assert_eq!(verdict(&free, Some(own)), Err(TokenError::WrongIssuer), "another's scope");
}

#[test]
fn weak_and_wrong_keys_are_refused() {
    assert_eq!(VerificationKey::hs256("x", &[7; 31]).unwrap_err(), KeyError::ShortSecret);
    assert_eq!(SigningKey::hs256("x", b"").unwrap_err(), KeyError::ShortSecret);
    let publics = [PUBLIC_PEM, P384_PUBLIC_PEM, RSA_PUBLIC_PEM, ED_PUBLIC_PEM, ED448_PUBLIC_PEM];
    for (algorithm, own) in [
        (Algorithm::Es256, PUBLIC_PEM),
        (Algorithm::Rs256, RSA_PUBLIC_PEM),
        (Algorithm::EdDsa, ED_PUBLIC_PEM),
    ] {
        let privates = ["", "nonsense", PRIVATE_PEM, RSA_PRIVATE_PEM, ED_PRIVATE_PEM];
        for pem in publics.into_iter().chain(privates).filter(|pem| *pem != own) {
            let verdict = VerificationKey::from_pem("x", algorithm, pem);
            assert_eq!(verdict.unwrap_err(), KeyError::BadPublicPem(algorithm), "{pem}");
        }
    }
    for pem in ["", "nonsense", PUBLIC_PEM, RSA_PUBLIC_PEM, P384_PRIVATE_PEM] {
        assert_eq!(SigningKey::from_pem("x", pem).unwrap_err(), KeyError::NoPrivatePem, "{pem}");
    }
}

#[test]
fn short_rsa_keys_are_refused() {
    let public = VerificationKey::from_pem("x", Algorithm::Rs256, RSA1024_PUBLIC_PEM);
    assert_eq!(public.unwrap_err(), KeyError::RsaBits);
    assert_eq!(SigningKey::from_pem("x", RSA1024_PRIVATE_PEM).unwrap_err(), KeyError::RsaBits);
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?} {:?}", hs_key(), hs_signer(), verifier());
    assert!(shown.contains("hs") && !shown.contains("secret"), "{shown}");
    assert!(!shown.contains("97, 32, 115"), "{shown}");
}

#[test]
fn malformed_tokens() {
    let (hs, key) = (r#"{"alg":"HS256"}"#, hs_signer());
    let good = good().to_string();
    let malformed = [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b".into(),
        forge_text("", &good, &key),
        forge_text("[]", &good, &key),
        forge_text(r#"["HS256"]"#, &good, &key),
        forge_text(r#"{"kid":"hs"}"#, &good, &key),
        forge_text(r#"{"alg":1}"#, &good, &key),
        forge_text(r#"{"alg":"HS256","alg":"HS256"}"#, &good, &key),
        forge_text(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &good, &key),
        forge_text(hs, "", &key),
        forge_text(hs, "[]", &key),
        forge_text(hs, "{", &key),
        forge_text(hs, r#"{"tenant":"a","tenant":"b","sub":"ann"}"#, &key),
        forge_text(hs, &"[".repeat(3000), &key),
        format!("{}.", forge_text(hs, &good, &key)),
    ];
    for token in malformed {
        assert_eq!(verifier().verify(&token, NOW_MS), Err(TokenError::Malformed), "{token}");
    }
}

#[test]
fn size_is_bounded() {
    let filler = |len: usize| with(&json!({"x": "x".repeat(len)}));
    let token = |len: usize| forge(&json!({"alg": "HS256"}), &filler(len), &hs_signer());
    assert!(verifier().verify(&token(5_000), NOW_MS).is_ok());
    assert!(token(7_000).len() > MAX_TOKEN_BYTES);
    assert_eq!(verifier().verify(&token(7_000), NOW_MS), Err(TokenError::Malformed));
    let roles = (0..64).map(|i| format!("{i:0>128}")).collect();
    let claims = Claims { roles, ..ann() };
    assert_eq!(mint(&hs_signer(), &claims, NOW_MS), Err(MintError::TooLong));
    let roles = (0..65).map(|i| i.to_string()).collect();
    let claims = Claims { roles, ..ann() };
    assert_eq!(mint(&hs_signer(), &claims, NOW_MS), Err(MintError::BadClaim { claim: "roles" }));
}

proptest! {
    #[test]
    fn any_text_is_refused(text in ".{0,200}", three in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        prop_assert!(verifier().verify(&text, NOW_MS).is_err());
        prop_assert!(verifier().verify(&three, NOW_MS).is_err());
    }

    #[test]
    fn any_signed_payload_is_read_or_refused(payload in "[\\[\\]{}\":,a-z0-9.eE-]{0,60}") {
        let _ = verifier().verify(&forge_text(r#"{"alg":"HS256"}"#, &payload, &hs_signer()), NOW_MS);
    }

    /// No token's scope is the bridges', whatever its issuer and user.
    #[test]
    fn scopes_are_never_reserved(issuer in "(bridge:)?.{0,20}", user in "(bridge:)?[a-z:]{0,20}") {
        prop_assert!(!Scope::of_token(&issuer, &user).as_str().starts_with("bridge:"));
        let claims = with(&json!({"iss": issuer, "sub": user}));
        let token = forge(&json!({"alg": "HS256"}), &claims, &hs_signer());
        if let Ok(identity) = verifier().verify(&token, NOW_MS) {
            prop_assert!(!identity.scope.as_str().starts_with("bridge:"));
        }
    }
}
