//! Who may do what: each rule against each kind of holder.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::auth::{Action, Actions, Authoriser, Decision, Grant, Identity, Pattern};
use crate::auth::{PatternError, PolicyAuthoriser};
use crate::policy::{Policies, Policy, Rule};
use crate::vocabulary::{Channel, Namespace};

fn channel(text: &str) -> Channel {
    Channel::parse(text).unwrap()
}

fn identity(claims: &Value) -> Identity {
    let token = forge(&json!({"alg": "HS256"}), &with(claims), &hs_signer());
    verifier().verify(&token, NOW_MS).unwrap()
}

/// One namespace, whose rules are the same for both actions.
fn authoriser(namespace: &str, rules: &[&str]) -> PolicyAuthoriser {
    let rules: std::collections::BTreeSet<Rule> =
        rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let policy = Policy { subscribe: rules.clone(), publish: rules, ..Policy::default() };
    let namespace = Namespace::parse(namespace).unwrap();
    PolicyAuthoriser::new(Arc::new(Policies::new(BTreeMap::from([(namespace, policy)]))))
}

#[test]
fn each_rule_lets_in_whom_it_names_and_nobody_else() {
    let holders = [
        ("ann", json!({})),
        ("bob", json!({"sub": "bob"})),
        ("editor", json!({"sub": "eve", "roles": ["editor"]})),
        ("writer", json!({"sub": "wes", "permissions": ["docs.write"]})),
        ("granted", json!({"sub": "gus", "channels": {"docs:*": ["subscribe", "publish"]}})),
        // Names in another place than the rule asks for.
        ("mixed", json!({"sub": "docs.write", "roles": ["ann"], "permissions": ["editor"]})),
    ];
    for (rule, allowed) in [
        ("tenant", vec!["ann", "bob", "editor", "writer", "granted", "mixed"]),
        ("user:ann", vec!["ann"]),
        ("role:editor", vec!["editor"]),
        ("permission:docs.write", vec!["writer"]),
        ("owner", vec!["bob"]),
        ("granted", vec!["granted"]),
    ] {
        let authoriser = authoriser("docs", &[rule]);
        for (name, claims) in &holders {
            for action in Action::ALL {
                let decision = authoriser.decide(&identity(claims), action, &channel("docs:bob"));
                assert_eq!(decision, allowed.contains(name), "{rule}, {name}, {action:?}");
            }
        }
    }
}

#[test]
fn any_rule_suffices_and_none_is_nobody() {
    let ann = identity(&json!({}));
    let decide = |rules: &[&str]| {
        authoriser("docs", rules).decide(&ann, Action::Publish, &channel("docs:x"))
    };
    assert!(decide(&["role:editor", "user:ann"]));
    assert!(!decide(&["role:editor", "user:bob"]));
    assert!(!decide(&[]));
}

#[test]
fn rules_of_one_action_do_not_serve_the_other() {
    let policy = Policy { subscribe: [Rule::Tenant].into(), ..Policy::default() };
    let policies = BTreeMap::from([(Namespace::parse("docs").unwrap(), policy)]);
    let authoriser = PolicyAuthoriser::new(Arc::new(Policies::new(policies)));
    let ann = identity(&json!({}));
    assert!(authoriser.decide(&ann, Action::Subscribe, &channel("docs:x")));
    assert!(!authoriser.decide(&ann, Action::Publish, &channel("docs:x")));
}

#[test]
fn a_users_channel_is_the_users() {
    let authoriser = authoriser("$user", &["owner"]);
    let may = |user: &str, text: &str| {
        let holder = identity(&json!({"sub": user}));
        authoriser.decide(&holder, Action::Subscribe, &channel(text))
    };
    assert!(may("ann", "$user:ann"));
    assert!(may("auth0|5f:7", "$user:auth0|5f:7"));
    for (user, text) in [
        ("ann", "$user:bob"),
        ("ann", "$user:ann2"),
        ("ann", "$user:an"),
        ("ann", "$user:ANN"),
        ("ann", "$user:ann:inbox"),
        ("$user:ann", "$user:ann"),
    ] {
        assert!(!may(user, text), "{user} on {text}");
    }
}

/// An unknown namespace and a forbidden one answer alike; grants and roles don't make one exist.
#[tokio::test]
async fn unknown_namespaces_are_denied() {
    let authoriser = authoriser("docs", &["granted"]);
    let holder = identity(&json!({"roles": ["admin"], "channels": {"other:*": ["subscribe"]}}));
    for text in ["other:x", "docs:x", "doc:x", "docs2:x", "$user:ann"] {
        let decision = authoriser.authorise(&holder, Action::Subscribe, &channel(text)).await;
        assert_eq!(decision, Decision::Deny, "{text}");
    }
}

#[test]
fn grants_cover_what_they_name() {
    let authoriser = authoriser("flights", &["granted"]);
    let holder = identity(&json!({"channels": {
        "flights:SFO": ["publish"],
        "flights:L*": ["subscribe"],
        "other:*": ["subscribe", "publish"],
        "flights:OAK": [],
    }}));
    let may = |action, text| authoriser.decide(&holder, action, &channel(text));
    assert!(may(Action::Publish, "flights:SFO") && !may(Action::Subscribe, "flights:SFO"));
    assert!(may(Action::Subscribe, "flights:LAX") && !may(Action::Publish, "flights:LAX"));
    assert!(may(Action::Subscribe, "flights:L"));
    for text in ["flights:SFO2", "flights:SF", "flights:JFK", "flights:lax", "flights:OAK"] {
        assert!(!may(Action::Publish, text) && !may(Action::Subscribe, text), "{text}");
    }
    let ungranted = identity(&json!({}));
    assert!(!authoriser.decide(&ungranted, Action::Subscribe, &channel("flights:SFO")));
}

#[test]
fn a_grant_counts_only_where_the_policy_says_so() {
    let holder = identity(&json!({"channels": {"docs:*": ["subscribe"]}}));
    let decide = |rules: &[&str]| {
        authoriser("docs", rules).decide(&holder, Action::Subscribe, &channel("docs:x"))
    };
    assert!(!decide(&["role:editor"]));
    assert!(decide(&["role:editor", "granted"]));
}

#[test]
fn grants_have_one_notation() {
    let grant: Grant = "flights:*=subscribe,publish".parse().unwrap();
    assert_eq!(grant.pattern.to_string(), "flights:*");
    assert_eq!(grant.actions, Action::ALL.into_iter().collect::<Actions>());
    let with_equals: Grant = "flights:a=b=publish".parse().unwrap();
    assert!(with_equals.allows(Action::Publish, &channel("flights:a=b")));
    assert_eq!("flights:*".parse::<Grant>(), Err(PatternError::Shape));
    assert_eq!("flights:*=fly".parse::<Grant>(), Err(PatternError::Action));
    assert!(matches!("flights=publish".parse::<Grant>(), Err(PatternError::Channel(_))));
    assert!(Pattern::channel(&channel("a:b")).covers(&channel("a:b")));
    assert!(Pattern::parse(&format!("a:{}*", "x".repeat(253))).is_err());
}
