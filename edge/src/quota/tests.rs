//! Each quota by itself: who is refused, what they are told, and what it costs to remember.

use std::num::NonZeroU32;

use meridian_core::auth::{Claims, SigningKey, VerificationKey, Verifier, VerifierOptions, mint};

use super::rates::KEYS_MOST;
use super::*;

const IP: &str = "192.0.2.7";

fn who(tenant: &str, user: &str, device: Option<&str>) -> Identity {
    let secret = [7; 32];
    let claims = Claims {
        device: device.map(|device| DeviceId::parse(device).unwrap()),
        ..Claims::new(Tenant::parse(tenant).unwrap(), UserId::parse(user).unwrap())
    };
    let token = mint(&SigningKey::hs256("k", &secret).unwrap(), &claims, 0).unwrap();
    let key = VerificationKey::hs256("k", &secret).unwrap();
    Verifier::new(vec![key], VerifierOptions::default()).verify(&token, 0).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rate(per_s: u32, burst: u32) -> Option<Rate> {
    let number = |n| NonZeroU32::new(n).unwrap();
    Some(Rate { per_s: number(per_s), burst: number(burst) })
}

fn quotas(set: impl FnOnce(&mut config::Quotas)) -> Quotas {
    let mut of = config::Quotas::default();
    set(&mut of);
    Quotas::new(of)
}

fn refused<T>(result: Result<T, Exceeded>) -> Option<(&'static str, u64)> {
    result.err().map(|exceeded| (exceeded.quota, exceeded.limit))
}

#[test]
fn without_quotas_nothing_is_refused_or_remembered() {
    let (quotas, now, ann) = (quotas(|_| {}), Instant::now(), who("acme", "ann", Some("d")));
    let session = quotas.session(now);
    let places: Vec<_> = (0..1000).map(|_| quotas.connection(&ann, ip(IP)).unwrap()).collect();
    for _ in 0..1000 {
        assert_eq!(quotas.handshake(ip(IP), now), Ok(()));
        assert_eq!(quotas.publish(&ann, session.as_deref(), (1000, u32::MAX), now), Ok(()));
    }
    assert_eq!((places.len(), quotas.user_connections.keys()), (1000, 0));
    assert_eq!((quotas.user_publishes.keys(), quotas.handshakes.keys()), (0, 0));
}

#[test]
fn connections_are_counted_for_each_and_freed_again() {
    let most = NonZeroU32::new(2);
    let (ann, bob) = (who("acme", "ann", Some("phone")), who("acme", "bob", None));
    let (other, tablet) = (who("rival", "ann", Some("phone")), who("acme", "ann", Some("tablet")));
    type Set = fn(&mut config::Quotas) -> &mut config::Quota;
    let cases: [(&str, Set, [bool; 3]); 4] = [
        ("device.connections", |it| &mut it.device, [true, true, true]),
        ("user.connections", |it| &mut it.user, [true, true, false]),
        ("tenant.connections", |it| &mut it.tenant, [true, false, false]),
        ("ip.connections", |it| &mut it.ip, [false, false, false]),
    ];
    for (quota, of, [other_passes, bob_passes, tablet_passes]) in cases {
        let quotas = quotas(|it| of(it).connections = most);
        let first = quotas.connection(&ann, ip(IP)).unwrap();
        let second = quotas.connection(&ann, ip(IP)).unwrap();
        assert_eq!(refused(quotas.connection(&ann, ip(IP))), Some((quota, 2)));
        assert_eq!(quotas.connection(&other, ip(IP)).is_ok(), other_passes, "{quota}");
        assert_eq!(quotas.connection(&bob, ip(IP)).is_ok(), bob_passes, "{quota}");
        assert_eq!(quotas.connection(&tablet, ip(IP)).is_ok(), tablet_passes, "{quota}");
        drop(first);
        let third = quotas.connection(&ann, ip(IP)).unwrap();
        assert_eq!(refused(quotas.connection(&ann, ip(IP))), Some((quota, 2)));
        drop((second, third));
        let keys = quotas.user_connections.keys() + quotas.device_connections.keys();
        let keys = keys + quotas.ip_connections.keys() + quotas.tenant_connections.keys();
        assert_eq!(keys, 0, "{quota}: nothing is remembered of who left");
    }
}

/// A connection that one quota refuses takes no place in another.
#[test]
fn a_refused_connection_takes_no_place() {
    let quotas = quotas(|it| {
        it.user.connections = NonZeroU32::new(5);
        it.tenant.connections = NonZeroU32::new(1);
    });
    let ann = who("acme", "ann", None);
    let place = quotas.connection(&ann, ip(IP)).unwrap();
    for _ in 0..20 {
        let refusal = refused(quotas.connection(&ann, ip(IP)));
        assert_eq!(refusal, Some(("tenant.connections", 1)));
    }
    drop(place);
    assert!(quotas.connection(&ann, ip(IP)).is_ok());
}

#[test]
fn publishes_and_bytes_are_told_apart_and_by_whom() {
    let now = Instant::now();
    let (ann, bob) = (who("acme", "ann", None), who("acme", "bob", None));
    type Set = fn(&mut config::Quotas) -> &mut config::Quota;
    let cases: [(&str, &str, Set, bool, bool); 3] = [
        ("session.publishes_per_s", "session.bytes_per_s", |it| &mut it.session, true, true),
        ("user.publishes_per_s", "user.bytes_per_s", |it| &mut it.user, false, true),
        ("tenant.publishes_per_s", "tenant.bytes_per_s", |it| &mut it.tenant, false, false),
    ];
    for (events, bytes, of, again, by_bob) in cases {
        let quotas = quotas(|it| of(it).publishes = rate(10, 3));
        let (session, second) = (quotas.session(now), quotas.session(now));
        assert_eq!(quotas.publish(&ann, session.as_deref(), (3, 999), now), Ok(()));
        let refusal = quotas.publish(&ann, session.as_deref(), (1, 1), now).unwrap_err();
        assert_eq!((refusal.quota, refusal.limit), (events, 10));
        assert_eq!(refusal.retry_after, Duration::from_millis(100));
        assert_eq!(quotas.publish(&ann, second.as_deref(), (1, 1), now).is_ok(), again, "{events}");
        assert_eq!(
            quotas.publish(&bob, second.as_deref(), (1, 1), now).is_ok(),
            by_bob,
            "{events}"
        );
        let later = now + Duration::from_millis(100);
        assert_eq!(quotas.publish(&ann, session.as_deref(), (1, 1), later), Ok(()));

        let quotas = self::quotas(|it| of(it).bytes = rate(1000, 1000));
        let session = quotas.session(now);
        assert_eq!(quotas.publish(&ann, session.as_deref(), (99, 1000), now), Ok(()));
        let refusal = refused(quotas.publish(&ann, session.as_deref(), (1, 1), now));
        assert_eq!(refusal, Some((bytes, 1000)));
        // More than the burst would never fit: it takes all there is, and waits for all to come back.
        let later = now + Duration::from_secs(1);
        assert_eq!(quotas.publish(&ann, session.as_deref(), (1, 5000), later), Ok(()));
        assert!(quotas.publish(&ann, session.as_deref(), (1, 1), later).is_err());
    }
}

#[test]
fn handshakes_are_counted_by_network() {
    let (quotas, now) = (quotas(|it| it.ip.handshakes = rate(1, 2)), Instant::now());
    let take = |address: &str| quotas.handshake(ip(address), now).is_ok();
    assert!(take(IP) && take("::ffff:192.0.2.7") && !take(IP));
    assert!(take("192.0.2.8"));
    assert!(take("2001:db8::1") && take("2001:db8::ffff:1") && !take("2001:db8::2"));
    assert!(take("2001:db8:0:1::1"));
}

/// However many come, memory is bounded, and those who were remembered are still told apart.
#[test]
fn memory_is_bounded() {
    let (quotas, now) = (quotas(|it| it.ip.handshakes = rate(1, 2)), Instant::now());
    let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(number));
    for number in 0..KEYS_MOST as u32 + 1000 {
        let _ = quotas.handshake(address(number), now);
    }
    assert_eq!(quotas.handshakes.keys(), KEYS_MOST);
    assert!(quotas.handshake(address(1), now).is_ok(), "has one left");
    assert!(quotas.handshake(address(u32::MAX), now).is_err(), "shares what others used up");
    let later = now + Duration::from_secs(5);
    assert!(quotas.handshake(address(u32::MAX), later).is_ok());
    assert_eq!(quotas.handshakes.keys(), 1, "those who went are forgotten");
}

#[test]
fn a_refusal_says_which_quota_its_value_and_when_to_try_again() {
    let retry_after = Duration::from_millis(1500);
    let told =
        Exceeded { quota: "user.connections", limit: 5, retry_after }.told(Code::QuotaExceeded);
    assert_eq!((told.code.as_str(), told.limit), ("quota_exceeded", Some(5)));
    assert_eq!(told.retry_after_ms, Some(1501));
    assert_eq!(told.message, "the quota user.connections is used up");
}
