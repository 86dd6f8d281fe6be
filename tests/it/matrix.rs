//! Everyone against everything: each kind of holder that the policies tell apart, in two tenants, tries each
//! action on each namespace. What happens is what the policies say; what is refused looks like what is
//! not there, and nothing of one tenant reaches the other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_client::Transport;
use meridian_core::auth::{
    Action, Claims, Identity, PolicyAuthoriser, VerificationKey, Verifier, VerifierOptions,
};
use meridian_core::config::Config;
use meridian_core::policy::Rule;
use meridian_core::vocabulary::{Channel, Tenant, UserId};
use serde_json::{Value, json};

use crate::SECRET;
use crate::client::{claims, now_ms, signed};
use crate::node::{BASE, Node};
use crate::peer::Peer;
use crate::request::Request;
use crate::web::{Ask, VERSIONS};

/// A namespace for each rule that the base has none for.
const MORE: &str = "[namespaces.allowed]\nsubscribe = ['permission:read']\npublish = ['permission:write']\n\
                    [namespaces.single]\nsubscribe = ['user:una']\npublish = ['user:una']\n\
                    [namespaces.own]\nsubscribe = ['owner']\npublish = ['owner']\n\
                    [namespaces.nobody]\n";
/// No namespace at all.
const NOWHERE: &str = "nowhere:olaf";
const TENANTS: [&str; 2] = ["acme", "rival"];

struct World {
    node: Node,
    authoriser: PolicyAuthoriser,
    channels: Vec<Channel>,
    rules: BTreeSet<Rule>,
}

/// Someone, and their token.
struct Holder {
    name: String,
    identity: Identity,
    token: String,
}

impl World {
    async fn new() -> Self {
        let config = Config::parse(&format!("{MORE}{BASE}"), Path::new(""), []);
        let policies = config.expect("a good configuration").policies;
        // The name is that of a user, so that `owner` holds for one.
        let channel = |name: &str| Channel::parse(&format!("{name}:olaf")).expect("a channel");
        let channels = policies.iter().map(|(name, _)| channel(name.as_str())).collect();
        let rules = policies.iter().flat_map(|(_, policy)| {
            policy.subscribe.iter().chain(&policy.publish).cloned().collect::<Vec<_>>()
        });
        let rules = rules.collect();
        let authoriser = PolicyAuthoriser::new(Arc::new(policies));
        Self { node: Node::start(MORE).await, authoriser, channels, rules }
    }

    /// One holder for whom each rule holds, and one for whom none does that asks for anything.
    fn holders(&self, tenant: &str) -> Vec<Holder> {
        let rules = self
            .rules
            .iter()
            .map(|rule| (rule.to_string(), self.holding(std::slice::from_ref(rule))));
        let holders = rules.chain([("nothing".to_owned(), self.holding(&[]))]);
        holders.map(|(name, claims)| holder(&name, tenant, claims)).collect()
    }

    fn holding(&self, rules: &[Rule]) -> Claims {
        let mut claims = claims("ann");
        for rule in rules {
            match rule {
                Rule::Tenant => {}
                Rule::Owner => claims.user = UserId::parse("olaf").expect("a user"),
                Rule::User(user) => claims.user = UserId::parse(user).expect("a user"),
                Rule::Role(role) => drop(claims.roles.insert(role.clone())),
                Rule::Permission(name) => drop(claims.permissions.insert(name.clone())),
                // Of every namespace: a grant counts only where the policy lists it.
                Rule::Granted => claims.grants.extend(self.channels.iter().map(|channel| {
                    format!("{channel}=subscribe,publish").parse().expect("a grant")
                })),
            }
        }
        claims
    }

    fn may(&self, holder: &Holder, action: Action, channel: &Channel) -> bool {
        self.authoriser.decide(&holder.identity, action, channel)
    }
}

fn holder(name: &str, tenant: &str, mut claims: Claims) -> Holder {
    claims.tenant = Tenant::parse(tenant).expect("a tenant");
    let token = signed(&claims, SECRET, now_ms());
    let key = VerificationKey::hs256("main", SECRET.as_bytes()).expect("a good secret");
    let identity = Verifier::new(vec![key], VerifierOptions::default()).verify(&token, now_ms());
    Holder { name: format!("{tenant}/{name}"), identity: identity.expect("a good token"), token }
}

/// Commands that name a channel, with the action that each needs. Of an ephemeral channel there is no
/// history: who may subscribe is told so.
const COMMANDS: [(&str, Action); 3] = [
    ("subscribe", Action::Subscribe),
    ("history", Action::Subscribe),
    ("publish", Action::Publish),
];

fn body(command: &str, channel: &str) -> Value {
    match command {
        "history" => json!({ "channel": channel, "last": 10 }),
        "publish" => json!({ "channel": channel, "data": 1 }),
        _ => json!({ "channel": channel }),
    }
}

/// An error as the client sees it, but for the command's number.
async fn error(peer: &mut Peer, command: &str, channel: &str) -> Option<String> {
    let reply = peer.ask(command, body(command, channel)).await;
    reply.get("error").map(Value::to_string)
}

on_both! {
    async fn everyone_may_what_the_policies_say_and_no_more(transport: Transport) {
        let world = World::new().await;
        let (mut allowed, mut refused) = (0, 0);
        for holder in TENANTS.iter().flat_map(|tenant| world.holders(tenant)) {
            let mut peer = Peer::connect(&world.node, transport, &holder.token).await;
            for (command, action) in COMMANDS {
                let nowhere = error(&mut peer, command, NOWHERE).await.expect("a refusal");
                for channel in &world.channels {
                    let what = format!("{} {command} {channel}", holder.name);
                    let error = error(&mut peer, command, channel.as_str()).await;
                    if world.may(&holder, action, channel) {
                        allowed += 1;
                        let told = error.as_deref().is_none_or(|it| it.contains("unsupported"));
                        assert!(told, "{what}: {error:?}");
                    } else {
                        refused += 1;
                        assert_eq!(error.as_deref(), Some(nowhere.as_str()), "{what}");
                    }
                }
            }
            for command in ["unsubscribe", "ack"] {
                let nowhere = error(&mut peer, command, NOWHERE).await;
                let closed = error(&mut peer, command, "nobody:olaf").await;
                assert_eq!(closed, nowhere, "{} {command}", holder.name);
            }
        }
        assert!(allowed > 50 && refused > 100, "{allowed} {refused}");
    }

    async fn nothing_of_one_tenant_reaches_the_other(transport: Transport) {
        let world = World::new().await;
        let all: Vec<Rule> = world.rules.iter().cloned().collect();
        let [acme, rival] = TENANTS.map(|tenant| {
            let mut claims = world.holding(&all);
            claims.user = UserId::parse("olaf").expect("a user");
            holder("all", tenant, claims)
        });
        let mut own = Peer::connect(&world.node, transport, &acme.token).await;
        let mut foreign = Peer::connect(&world.node, transport, &rival.token).await;
        let mut tried = 0;
        for channel in &world.channels {
            let both = [Action::Subscribe, Action::Publish];
            if !both.iter().all(|action| world.may(&acme, *action, channel)) {
                continue;
            }
            let channel = channel.as_str();
            own.subscribe(channel, json!({})).await;
            let reply = own.ask("publish", json!({ "channel": channel, "id": "own-1", "data": 1 })).await;
            assert_eq!(own.events(channel, 1).await.len(), 1);
            // The other tenant's channel of the same name knows nothing of it, by its cursor neither.
            let cursor = &reply["published"]["cursor"];
            if cursor.is_string() {
                tried += 1;
                let page = foreign.ask("history", json!({ "channel": channel, "last": 10 })).await;
                assert_eq!(page["history"]["events"], json!([]), "{page}");
                let after = json!({ "channel": channel, "after": cursor });
                let reply = foreign.ask("history", after).await;
                assert!(!reply.to_string().contains("own-1"), "{reply}");
            }
            foreign.subscribe(channel, json!({})).await;
            foreign.ask("publish", json!({ "channel": channel, "id": "foreign", "data": 1 })).await;
            let seen = foreign.events(channel, 1).await.remove(0);
            assert_ne!(seen["id"], "own-1", "{seen}");
            own.ask("publish", json!({ "channel": channel, "id": "own-2", "data": 1 })).await;
            let seen = own.events(channel, 1).await.remove(0);
            assert_ne!(seen["id"], "foreign", "{seen}");
        }
        assert!(tried >= 4, "{tried}");
    }
}

#[tokio::test]
async fn everyone_publishes_over_http_what_the_policies_say_and_no_more() {
    let world = World::new().await;
    let node = &world.node;
    let publish = async |token: &str, channel: &str| {
        let answer = Request::publish(token, &body("publish", channel)).send(node.client).await;
        answer.expect("an answer")
    };
    for holder in TENANTS.iter().flat_map(|tenant| world.holders(tenant)) {
        let nowhere = publish(&holder.token, NOWHERE).await;
        nowhere.assert_problem(403, "forbidden");
        let headers = |answer: &crate::request::Answer| {
            let told = answer.headers.iter().filter(|(name, _)| name != "date");
            told.cloned().collect::<Vec<_>>()
        };
        for channel in &world.channels {
            let answer = publish(&holder.token, channel.as_str()).await;
            if world.may(&holder, Action::Publish, channel) {
                assert_eq!(answer.status, 200, "{} {channel}: {answer:?}", holder.name);
            } else {
                assert_eq!((answer.status, &answer.body), (403, &nowhere.body), "{channel}");
                assert_eq!(headers(&answer), headers(&nowhere), "{channel}");
            }
        }
    }
}

/// Requests that read a channel.
const READS: [&str; 4] = [
    "/v1/sse?channel={}",
    "/v1/poll?channel={}&wait_ms=1",
    "/v1/channels/{}/latest",
    "/v1/channels/{}/events?after=1.global.1.0.0",
];

/// A refusal without what is of its request alone; `None`: it was not refused.
async fn refusal(ask: &Ask, channel: &str) -> Option<(u16, String, Vec<(String, String)>)> {
    let answer = ask.send().await;
    if answer.status == 200 {
        return None;
    }
    let told = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "content-length"].contains(&name.as_str()));
    let told = told.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    let (status, body) = answer.whole().await;
    Some((status, body.to_string().replace(channel, "CHANNEL"), told))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_reads_over_http_what_the_policies_say_and_no_more() {
    let world = World::new().await;
    let (mut allowed, mut refused) = (0, 0);
    for holder in TENANTS.iter().flat_map(|tenant| world.holders(tenant)) {
        for (n, read) in READS.iter().enumerate() {
            let ask = |channel: &str, turn: usize| {
                let ask = Ask::get(&world.node, &read.replace("{}", channel)).token(&holder.token);
                ask.over(VERSIONS[turn % VERSIONS.len()])
            };
            for (m, channel) in world.channels.iter().enumerate() {
                let (what, name) = (format!("{} {read} {channel}", holder.name), channel.as_str());
                let answer = refusal(&ask(name, n + m), name).await;
                if world.may(&holder, Action::Subscribe, channel) {
                    allowed += 1;
                    let told =
                        answer.as_ref().is_none_or(|(_, body, _)| !body.contains("forbidden"));
                    assert!(told, "{what}: {answer:?}");
                } else {
                    refused += 1;
                    let nowhere = refusal(&ask(NOWHERE, n + m), NOWHERE).await;
                    assert!(
                        nowhere.as_ref().is_some_and(|(status, ..)| *status == 403),
                        "{what}: {nowhere:?}"
                    );
                    assert_eq!(answer, nowhere, "{what}");
                }
            }
        }
    }
    assert!(allowed > 100 && refused > 200, "{allowed} {refused}");
}

/// The middle of many.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

on_both! {
    async fn what_is_forbidden_takes_no_longer_than_what_is_not_there(transport: Transport) {
        const TIMES: usize = 300;
        let world = World::new().await;
        // There is something in it, that a store would have to be asked for.
        let insider = holder("insider", "acme", world.holding(&[Rule::Role("insider".into())]));
        let mut insider = Peer::connect(&world.node, transport, &insider.token).await;
        for n in 0..50 {
            insider.publish("closed:olaf", &n.to_string()).await;
        }
        let stranger = holder("nothing", "acme", world.holding(&[]));
        let mut peer = Peer::connect(&world.node, transport, &stranger.token).await;
        for (command, _) in COMMANDS {
            let (mut forbidden, mut absent) = (Vec::new(), Vec::new());
            for _ in 0..TIMES {
                for (channel, times) in [("closed:olaf", &mut forbidden), (NOWHERE, &mut absent)] {
                    let began = Instant::now();
                    error(&mut peer, command, channel).await.expect("a refusal");
                    times.push(began.elapsed());
                }
            }
            let (forbidden, absent) = (median(forbidden), median(absent));
            let ratio = forbidden.as_secs_f64() / absent.as_secs_f64();
            println!("{command}: {forbidden:?} forbidden, {absent:?} absent");
            assert!((0.67..1.5).contains(&ratio), "{command}: {forbidden:?} against {absent:?}");
        }
    }
}
