//! Quotas: what the clients of one user, device, address, tenant or session may do to this node together.
//! Owns the counts and their memory; whoever does something asks before. Off where nothing is
//! configured, and then costs nothing.

mod counts;
mod rates;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::auth::Identity;
use meridian_core::config::{self, Rate};
use meridian_core::protocol::{Code, ReplyError};
use meridian_core::vocabulary::{DeviceId, Tenant, UserId};

use self::counts::{Counted, Counts};
use self::rates::Rates;
use crate::session::Bucket;

/// A full place does not get free at a known time; whoever tries again soon gains nothing.
const CONNECTION_RETRY: Duration = Duration::from_secs(10);

type User = (Tenant, UserId);

/// The node's quotas.
pub(crate) struct Quotas {
    of: config::Quotas,
    user_connections: Arc<Counts<User>>,
    device_connections: Arc<Counts<(Tenant, UserId, DeviceId)>>,
    ip_connections: Arc<Counts<IpAddr>>,
    tenant_connections: Arc<Counts<Tenant>>,
    user_publishes: Rates<User>,
    user_bytes: Rates<User>,
    tenant_publishes: Rates<Tenant>,
    tenant_bytes: Rates<Tenant>,
    handshakes: Rates<IpAddr>,
}

/// A connection's place in each quota; its end frees them.
pub(crate) struct Places {
    _user: Option<Counted<User>>,
    _device: Option<Counted<(Tenant, UserId, DeviceId)>>,
    _ip: Option<Counted<IpAddr>>,
    _tenant: Option<Counted<Tenant>>,
}

/// A session's own quotas.
#[derive(Debug)]
pub(crate) struct SessionQuota {
    publishes: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// Which quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// As in the configuration, below `quotas`.
    pub(crate) quota: &'static str,
    pub(crate) limit: u64,
    pub(crate) retry_after: Duration,
}

impl Exceeded {
    /// How a client is told.
    pub(crate) fn told(self, code: Code) -> ReplyError {
        let Self { quota, limit, retry_after } = self;
        let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let mut error = ReplyError::of(code).limit(limit).retry_after(ms);
        error.message = format!("the quota {quota} is used up");
        error
    }
}

impl Quotas {
    pub(crate) fn new(of: config::Quotas) -> Self {
        Self {
            of,
            user_connections: Arc::default(),
            device_connections: Arc::default(),
            ip_connections: Arc::default(),
            tenant_connections: Arc::default(),
            user_publishes: Rates::default(),
            user_bytes: Rates::default(),
            tenant_publishes: Rates::default(),
            tenant_bytes: Rates::default(),
            handshakes: Rates::default(),
        }
    }

    /// A client begins to connect from an address.
    pub(crate) fn handshake(&self, ip: IpAddr, now: Instant) -> Result<(), Exceeded> {
        let key = network(ip);
        self.handshakes.take("ip.handshakes_per_s", self.of.ip.handshakes, &key, 1, now)
    }

    /// A place for a client's connection; `None`: nothing is counted.
    pub(crate) fn connection(
        &self,
        identity: &Identity,
        ip: IpAddr,
    ) -> Result<Option<Box<Places>>, Exceeded> {
        let of = &self.of;
        let counted = [&of.user, &of.device, &of.ip, &of.tenant];
        match counted.iter().any(|quota| quota.connections.is_some()) {
            true => self.places(identity, ip).map(|places| Some(Box::new(places))),
            false => Ok(None),
        }
    }

    fn places(&self, identity: &Identity, ip: IpAddr) -> Result<Places, Exceeded> {
        let Identity { tenant, user, device, .. } = identity;
        let whose = || (tenant.clone(), user.clone());
        let of = &self.of;
        let device = device.as_ref().map(|device| (tenant.clone(), user.clone(), device.clone()));
        // The innermost first: whoever is told of it can do something about it.
        Ok(Places {
            _device: match device {
                Some(device) => {
                    let most = of.device.connections;
                    place(&self.device_connections, "device.connections", most, || device)?
                }
                None => None,
            },
            _user: place(&self.user_connections, "user.connections", of.user.connections, whose)?,
            _ip: place(&self.ip_connections, "ip.connections", of.ip.connections, || network(ip))?,
            _tenant: place(
                &self.tenant_connections,
                "tenant.connections",
                of.tenant.connections,
                || tenant.clone(),
            )?,
        })
    }

    /// A session's own part; `None`: it has none.
    pub(crate) fn session(&self, now: Instant) -> Option<Rc<RefCell<SessionQuota>>> {
        let bucket = |rate: Option<Rate>| {
            rate.map(|rate| Bucket::new(rate.per_s.get(), rate.burst.get(), now))
        };
        let (publishes, bytes) = (bucket(self.of.session.publishes), bucket(self.of.session.bytes));
        let bounded = publishes.is_some() || bytes.is_some();
        bounded.then(|| Rc::new(RefCell::new(SessionQuota { publishes, bytes })))
    }

    /// Someone publishes so many events of so many bytes together; `session`: over this one.
    pub(crate) fn publish(
        &self,
        identity: &Identity,
        session: Option<&RefCell<SessionQuota>>,
        size: (u32, u32),
        now: Instant,
    ) -> Result<(), Exceeded> {
        if let Some(session) = session {
            self.session_publish(&mut session.borrow_mut(), size, now)?;
        }
        let (events, bytes) = size;
        let (of, tenant) = (&self.of, &identity.tenant);
        if of.user.publishes.is_some() || of.user.bytes.is_some() {
            let user = (tenant.clone(), identity.user.clone());
            let (publishes, sizes) = (of.user.publishes, of.user.bytes);
            self.user_publishes.take("user.publishes_per_s", publishes, &user, events, now)?;
            self.user_bytes.take("user.bytes_per_s", sizes, &user, bytes, now)?;
        }
        let (publishes, sizes) = (of.tenant.publishes, of.tenant.bytes);
        self.tenant_publishes.take("tenant.publishes_per_s", publishes, tenant, events, now)?;
        self.tenant_bytes.take("tenant.bytes_per_s", sizes, tenant, bytes, now)
    }

    fn session_publish(
        &self,
        session: &mut SessionQuota,
        (events, bytes): (u32, u32),
        now: Instant,
    ) -> Result<(), Exceeded> {
        let own = &self.of.session;
        let parts = [
            ("session.publishes_per_s", &mut session.publishes, own.publishes, events),
            ("session.bytes_per_s", &mut session.bytes, own.bytes, bytes),
        ];
        for (quota, bucket, rate, count) in parts {
            if let (Some(bucket), Some(rate)) = (bucket.as_mut(), rate) {
                let taken = bucket.take_some(count, now);
                let limit = u64::from(rate.per_s.get());
                taken.map_err(|retry_after| Exceeded { quota, limit, retry_after })?;
            }
        }
        Ok(())
    }
}

fn place<K: std::hash::Hash + Eq + Clone>(
    counts: &Arc<Counts<K>>,
    quota: &'static str,
    most: Option<std::num::NonZeroU32>,
    key: impl FnOnce() -> K,
) -> Result<Option<Counted<K>>, Exceeded> {
    let Some(most) = most else { return Ok(None) };
    match counts.clone().count(key(), most.get()) {
        Some(counted) => Ok(Some(counted)),
        None => {
            let limit = u64::from(most.get());
            Err(Exceeded { quota, limit, retry_after: CONNECTION_RETRY })
        }
    }
}

/// Whom an address stands for: of IPv6 the network of 64 bits, since one host may use all of it.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 => v4,
    }
}
