//! The suite of `TokenLedger`. Each check wants an empty ledger.

use std::collections::BTreeSet;

use crate::auth::{Revocation, Revoked};
use crate::seams::{KeptTicket, LedgerPlace, TokenLedger};
use crate::vocabulary::{Tenant, UserId};

fn revocation(number: u64) -> Revocation {
    Revocation {
        tenant: Tenant::parse("acme").unwrap(),
        what: Revoked::User(UserId::parse(&format!("user-{number}")).unwrap()),
        at_ms: number,
        until_ms: number + 1,
    }
}

fn ticket(id: &str, until_ms: u64) -> KeptTicket {
    KeptTicket { id: id.to_owned(), sealed: format!("sealed:{id}"), until_ms }
}

async fn read_on(ledger: &dyn TokenLedger, place: &mut LedgerPlace) -> Vec<Revocation> {
    let mut all = Vec::new();
    loop {
        let (some, next) = ledger.revocations(place).await.unwrap();
        *place = next;
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

/// Every check, each on a ledger of its own.
pub async fn all<L: TokenLedger, F: Future<Output = L>>(empty: impl Fn() -> F) {
    readers_miss_nothing(&empty().await).await;
    a_ticket_is_taken_once(&empty().await).await;
}

/// Two readers, one from the beginning and one from the middle, get all that comes behind their place.
pub async fn readers_miss_nothing(ledger: &dyn TokenLedger) {
    let mut first = LedgerPlace::default();
    assert_eq!(read_on(ledger, &mut first).await, []);
    for number in 0..3 {
        ledger.revoke(&revocation(number)).await.unwrap();
    }
    assert_eq!(read_on(ledger, &mut first).await, [0, 1, 2].map(revocation));
    for number in 3..1503 {
        ledger.revoke(&revocation(number)).await.unwrap();
    }
    let expected: Vec<_> = (3..1503).map(revocation).collect();
    assert_eq!(read_on(ledger, &mut first).await, expected);
    assert_eq!(read_on(ledger, &mut first).await, []);
    let all = read_on(ledger, &mut LedgerPlace::default()).await;
    assert_eq!(all.len(), 1503);
}

/// Many take at once: one has it. Old ones make room for new ones and are nobody's.
pub async fn a_ticket_is_taken_once(ledger: &dyn TokenLedger) {
    assert_eq!(ledger.take_ticket("none").await, Ok(None));
    ledger.put_ticket(&ticket("one", 100), 0).await.unwrap();
    ledger.put_ticket(&ticket("two", 100), 0).await.unwrap();
    let takes = [(); 8].map(|()| ledger.take_ticket("one"));
    let mut taken = Vec::new();
    for take in takes {
        taken.extend(take.await.unwrap());
    }
    assert_eq!(taken, [ticket("one", 100)]);
    assert_eq!(ledger.take_ticket("two").await, Ok(Some(ticket("two", 100))));
    let ids: BTreeSet<String> = (0..50).map(|number| format!("old-{number}")).collect();
    for id in &ids {
        ledger.put_ticket(&ticket(id, 200), 0).await.unwrap();
    }
    ledger.put_ticket(&ticket("new", 300), 200).await.unwrap();
    for id in &ids {
        assert_eq!(ledger.take_ticket(id).await, Ok(None), "{id}");
    }
    assert_eq!(ledger.take_ticket("new").await, Ok(Some(ticket("new", 300))));
}
