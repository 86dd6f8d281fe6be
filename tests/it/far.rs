//! A second region behind a slow link: its servers, its processes and its clients are at the link's far end.
//! Owns the link and what is there but Meridian's processes, which end before it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use meridian_stack::{Counts, Link, Packets, Shape, Space, Stack};
use tokio::runtime::{Builder, Handle, Runtime};

/// Of the link between regions.
const ROUND_TRIP_MS: u32 = 80;

/// The far end. What is in front ends first.
pub(crate) struct Far {
    clients: Clients,
    stack: Stack,
    link: Link,
}

/// A runtime whose threads are at the far end. It may end within another one.
struct Clients(Option<Runtime>);

/// A link that loses so many packets; none without root, which it needs.
pub(crate) fn link(loss_percent: f64) -> Option<Link> {
    match Link::open(Shape { round_trip_ms: ROUND_TRIP_MS, loss_percent }) {
        Ok(link) => Some(link),
        Err(error) => {
            assert_eq!(error.to_string(), "a link needs root");
            None
        }
    }
}

impl Far {
    /// Starts the region's servers.
    pub(crate) fn start(link: Link) -> Self {
        let counts = Counts { redis: 1, postgres: 1, ..Counts::default() };
        let stack = Stack::start_far(&link, counts);
        Self { clients: Clients::start(link.space().clone()), stack, link }
    }

    /// The region's Redis and Postgres.
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.link.far()
    }

    /// Whether what has this address is at the far end.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        address.ip() == self.ip()
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: &Path) -> Command {
        self.link.space().command(program)
    }

    /// What runs here opens its sockets there.
    pub(crate) fn clients(&self) -> &Handle {
        self.clients.0.as_ref().expect("until it is dropped").handle()
    }

    /// Ends all of it; what came to the link.
    pub(crate) fn close(self) -> Packets {
        let Self { clients, stack, link } = self;
        drop((clients, stack));
        link.close().expect("the link was up until now")
    }
}

impl Clients {
    fn start(space: Space) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || space.enter().expect("the link is up"))
            .enable_all()
            .build();
        Self(Some(runtime.expect("threads")))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
