//! The ledger on Redis: a stream of revocations that every node reads on from its place, and tickets in a
//! hash beside a sorted set of their ends. Owns their commands; each is atomic by itself.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `P:{tokens}:r` | stream | revocations, field `r`, the newest 100,000 |
//! | `P:{tokens}:t` | hash | each ticket: `until_ms sealed` |
//! | `P:{tokens}:u` | sorted set | each ticket, by its end |

use async_trait::async_trait;
use fred::clients::{Client, WithOptions};
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, FromValue, Value};
use meridian_core::auth::{REVOCATIONS_MOST, Revocation};
use meridian_core::seams::{BackplaneError, KeptTicket, LedgerPlace, TICKETS_MOST, TokenLedger};

use crate::backplane::RedisBackplane;
use crate::keys::Layout;
use crate::scripts::{unavailable, unexpected};

const ANSWER_MOST: usize = 1000;
/// Tickets that ran out are cleared away by those who put others, so many at once.
const SWEPT_MOST: usize = 100;

/// An entry of a stream: its id, and fields and values in turn.
type Entry = (String, Vec<String>);

async fn call<T: FromValue>(
    client: &WithOptions<Client>,
    name: &'static str,
    args: Vec<Value>,
) -> Result<T, BackplaneError> {
    let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
    let answer: Result<Value, _> = client.custom(command, args).await;
    let answer = answer.map_err(|error| unavailable(&error))?;
    answer.convert().map_err(|_| unexpected("another answer than the ledger's"))
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

#[async_trait]
impl TokenLedger for RedisBackplane {
    async fn revoke(&self, revocation: &Revocation) -> Result<(), BackplaneError> {
        let (key, most) = (self.layout().ledger("r"), REVOCATIONS_MOST.to_string());
        let args = [&key, "MAXLEN", "~", &most, "*", "r", &revocation.encode()];
        let _: Value = call(&self.writer(), "XADD", texts(&args)).await?;
        Ok(())
    }

    async fn revocations(
        &self,
        after: &LedgerPlace,
    ) -> Result<(Vec<Revocation>, LedgerPlace), BackplaneError> {
        let from = if after.0.is_empty() { "-".to_owned() } else { format!("({}", after.0) };
        let (key, most) = (self.layout().ledger("r"), ANSWER_MOST.to_string());
        let args = texts(&[&key, &from, "+", "COUNT", &most]);
        // From the master: a replica may be behind, and a place is never gone back from.
        let entries: Vec<Entry> = call(&self.writer(), "XRANGE", args).await?;
        let place = entries.last().map_or_else(|| after.clone(), |(id, _)| LedgerPlace(id.clone()));
        // What another version wrote and this one can't read is not for us.
        let read = |(_, fields): &Entry| Revocation::decode(fields.get(1)?).ok();
        Ok((entries.iter().filter_map(read).collect(), place))
    }

    async fn put_ticket(&self, ticket: &KeptTicket, now_ms: u64) -> Result<(), BackplaneError> {
        let client = self.writer();
        sweep(&client, self.layout(), now_ms).await?;
        let (tickets, ends) = (self.layout().ledger("t"), self.layout().ledger("u"));
        let waiting: u64 = call(&client, "ZCARD", texts(&[&ends])).await?;
        if waiting >= TICKETS_MOST as u64 {
            return Err(BackplaneError);
        }
        let until = ticket.until_ms.to_string();
        // First its end: a ticket without one would stay for ever.
        let _: Value = call(&client, "ZADD", texts(&[&ends, &until, &ticket.id])).await?;
        let kept = format!("{until} {}", ticket.sealed);
        let _: Value = call(&client, "HSET", texts(&[&tickets, &ticket.id, &kept])).await?;
        Ok(())
    }

    async fn take_ticket(&self, id: &str) -> Result<Option<KeptTicket>, BackplaneError> {
        let (client, tickets) = (self.writer(), self.layout().ledger("t"));
        let kept: Option<String> = call(&client, "HGET", texts(&[&tickets, id])).await?;
        let Some(kept) = kept else { return Ok(None) };
        // Of all who read it, one deletes it.
        let deleted: u64 = call(&client, "HDEL", texts(&[&tickets, id])).await?;
        let ends = self.layout().ledger("u");
        let _: Value = call(&client, "ZREM", texts(&[&ends, id])).await?;
        let read = || {
            let (until, sealed) = kept.split_once(' ')?;
            let (id, sealed) = (id.to_owned(), sealed.to_owned());
            Some(KeptTicket { id, sealed, until_ms: until.parse().ok()? })
        };
        Ok(if deleted == 1 { read() } else { None })
    }
}

async fn sweep(
    client: &WithOptions<Client>,
    layout: &Layout,
    now_ms: u64,
) -> Result<(), BackplaneError> {
    let (tickets, ends) = (layout.ledger("t"), layout.ledger("u"));
    let (now, most) = (now_ms.to_string(), SWEPT_MOST.to_string());
    let args = texts(&[&ends, "-inf", &now, "LIMIT", "0", &most]);
    let old: Vec<String> = call(client, "ZRANGEBYSCORE", args).await?;
    if old.is_empty() {
        return Ok(());
    }
    let with = |key: &str| {
        std::iter::once(key).chain(old.iter().map(String::as_str)).map(Value::from).collect()
    };
    let _: Value = call(client, "HDEL", with(&tickets)).await?;
    let _: Value = call(client, "ZREM", with(&ends)).await?;
    Ok(())
}
