//! The service that is asked on its bad days, over real connections.

use meridian_core::auth::{Claims, SigningKey, VerificationKey, Verifier, VerifierOptions, mint};
use meridian_core::config::Config;
use meridian_core::vocabulary::{Tenant, UserId};
use tokio::time::sleep;

use super::*;
use crate::outbound::testing::{Behaviour, Service};

const SECRET: &str = "a secret of thirty-two bytes, ok";
const NAMESPACES: &str = "[namespaces.room]\nsubscribe = ['tenant']\npublish = ['role:writer']\n\
                          [namespaces.free]\nsubscribe = ['tenant']\n";

fn authoriser(service: &Service, more: &str) -> HttpAuthoriser {
    let text = format!(
        "[authoriser]\nurl = '{}'\nsecret = '{SECRET}'\n{more}\n{NAMESPACES}",
        service.url()
    );
    let config = Config::parse(&text, std::path::Path::new(""), []).unwrap();
    let policies = PolicyAuthoriser::new(Arc::new(config.policies.clone()));
    HttpAuthoriser::new(&config.authoriser.unwrap(), policies).unwrap()
}

/// A user whose token was made at a second.
fn who(user: &str, roles: &[&str], second: u64) -> Identity {
    let claims = Claims {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Claims::new(Tenant::parse("acme").unwrap(), UserId::parse(user).unwrap())
    };
    let key = SigningKey::hs256("k", SECRET.as_bytes()).unwrap();
    let token = mint(&key, &claims, 1000 * second).unwrap();
    let key = VerificationKey::hs256("k", SECRET.as_bytes()).unwrap();
    Verifier::new(vec![key], VerifierOptions::default()).verify(&token, 1000 * second).unwrap()
}

fn says(body: &str) -> Behaviour {
    Behaviour::Answer(200, "Content-Type: application/json\r\n", body.to_owned())
}

async fn asked(authoriser: &HttpAuthoriser, who: &Identity, channel: &str) -> Decision {
    authoriser.authorise(who, Action::Subscribe, &Channel::parse(channel).unwrap()).await
}

#[tokio::test]
async fn both_have_to_allow_it_and_a_denied_policy_is_not_asked_about() {
    let service = Service::start(says(r#"{"allow":true}"#)).await;
    let authoriser = authoriser(&service, "namespaces = ['room']");
    let (ann, writer) = (who("ann", &[], 1), who("will", &["writer"], 1));
    let room = Channel::parse("room:a").unwrap();
    assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Allow);
    assert_eq!(service.asked(), 1);
    assert_eq!(authoriser.authorise(&ann, Action::Publish, &room).await, Decision::Deny);
    assert_eq!(asked(&authoriser, &ann, "none:a").await, Decision::Deny);
    assert_eq!(asked(&authoriser, &ann, "free:a").await, Decision::Allow, "not its affair");
    assert_eq!(service.asked(), 1);
    service.set(says(r#"{"allow":false}"#));
    assert_eq!(authoriser.authorise(&writer, Action::Publish, &room).await, Decision::Deny);
    assert_eq!(service.asked(), 2);
}

/// As docs/authentication.md tells a backend to check it.
#[tokio::test]
async fn questions_are_signed_as_documented() {
    let service = Service::start(says(r#"{"allow":true}"#)).await;
    let authoriser = authoriser(&service, "");
    asked(&authoriser, &who("ann", &["b", "a"], 1), "room:a").await;
    let request = service.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap().to_owned()
    };
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    let timestamp = header("meridian-timestamp");
    assert!(now_ms() / 1000 - timestamp.parse::<u64>().unwrap() < 60);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header("meridian-signature"), format!("v1={hex}"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "action": "subscribe", "channel": "room:a", "tenant": "acme", "user": "ann",
        "device": null, "issuer": "", "token_id": null, "roles": ["a", "b"], "permissions": [],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn without_an_answer_nothing_is_allowed_and_nothing_of_it_is_remembered() {
    let service = Service::start(says("")).await;
    let authoriser = authoriser(&service, "timeout_ms = 200");
    let ann = who("ann", &[], 1);
    let answer = |status, body: &str| Behaviour::Answer(status, "", body.to_owned());
    for (what, behaviour) in [
        ("hangs", Behaviour::Hang),
        ("garbage", Behaviour::Garbage),
        ("closes", Behaviour::Close),
        ("endless", Behaviour::Endless),
        ("500", answer(500, r#"{"allow":true}"#)),
        ("503", answer(503, "")),
        ("302", Behaviour::Answer(302, "Location: /\r\n", r#"{"allow":true}"#.into())),
        ("201", answer(201, r#"{"allow":true}"#)),
        ("a page", answer(200, "<html>")),
        ("a word", answer(200, "true")),
        ("a text", answer(200, r#"{"allow":"true"}"#)),
        ("nothing", answer(200, "{}")),
    ] {
        service.set(behaviour);
        assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Unavailable, "{what}");
    }
    service.set(says(r#"{"allow":true}"#));
    assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Allow, "it is over");
    service.set(Behaviour::Hang);
    assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Allow, "known");
    assert_eq!(asked(&authoriser, &ann, "room:b").await, Decision::Unavailable, "not known");
}

#[tokio::test]
async fn answers_are_cached_as_long_as_they_say_and_no_longer_than_we_say() {
    let service = Service::start(says(r#"{"allow":true}"#)).await;
    let authoriser = authoriser(&service, "cache_s = 1");
    let ann = who("ann", &[], 1);
    for _ in 0..10 {
        assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Allow);
    }
    assert_eq!(service.asked(), 1);
    service.set(says(r#"{"allow":false,"cache_s":3600}"#));
    let began = Instant::now();
    while asked(&authoriser, &ann, "room:a").await != Decision::Deny {
        assert!(began.elapsed() < Duration::from_secs(20), "it is asked again");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(service.asked(), 2);
    service.set(says(r#"{"allow":true,"cache_s":0}"#));
    for _ in 0..3 {
        assert_eq!(asked(&authoriser, &ann, "room:b").await, Decision::Allow);
    }
    assert_eq!(service.asked(), 5, "an answer that is not to be kept");
}

/// Another user, role, action or token is another question: no answer serves for two.
#[tokio::test]
async fn a_refresh_asks_anew_and_nobody_gets_anothers_answer() {
    let service = Service::start(says(r#"{"allow":true}"#)).await;
    let authoriser = authoriser(&service, "");
    let ann = who("ann", &["writer"], 1);
    assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Allow);
    service.set(says(r#"{"allow":false}"#));
    let others = [who("bob", &["writer"], 1), who("ann", &[], 1), who("ann", &["writer"], 2)];
    for other in &others {
        assert_eq!(asked(&authoriser, other, "room:a").await, Decision::Deny);
    }
    let room = Channel::parse("room:a").unwrap();
    assert_eq!(authoriser.authorise(&ann, Action::Publish, &room).await, Decision::Deny);
    assert_eq!(asked(&authoriser, &ann, "room:b").await, Decision::Deny);
    assert_eq!(asked(&authoriser, &ann, "room:a").await, Decision::Allow, "still known");
}

/// While the service hangs, few questions are under way, and all who ask are told in time.
#[tokio::test]
async fn questions_under_way_are_bounded() {
    let service = Service::start(Behaviour::Hang).await;
    let authoriser = authoriser(&service, "timeout_ms = 300\nconcurrency = 3");
    let users: Vec<Identity> = (0..50).map(|at| who(&format!("user-{at}"), &[], 1)).collect();
    let began = Instant::now();
    let asking = users.iter().map(|user| asked(&authoriser, user, "room:a"));
    let decisions = futures_util::future::join_all(asking).await;
    assert!(decisions.iter().all(|decision| *decision == Decision::Unavailable));
    assert!(service.asked() <= 3, "{}", service.asked());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
