//! What goes into the decisions about regions, and what comes out.

use std::time::Duration;

use super::health::Health;
use super::redirects::Redirect;
use super::region::Region;
use crate::error::Lost;
use crate::transport::Address;

/// What the application asked for.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The first is home until a nearer one is found well beside it.
    pub(crate) addresses: Vec<Address>,
    /// Whether regions that an answer names are used too.
    pub(crate) discover: bool,
    /// Away from home, home is probed this often, ±50 %.
    pub(crate) home_probe: Duration,
    /// The move back comes at a random moment within this time.
    pub(crate) home_spread: Duration,
}

#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A dial is wanted.
    Pick,
    Timer,
    /// The connection serves, in a region that calls itself so.
    Dialed(&'a str),
    DialFailed(&'a Lost),
    Lost(&'a Lost),
    /// The connection was left for the one under way.
    Left,
    /// A probe was answered, or no answer comes.
    Probed(&'a Address, Option<&'a Health>),
    /// The server sends this client elsewhere.
    Redirect(&'a Redirect),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Probe(Vec<Address>),
    Dial(Address),
    /// Dial beside the running connection; `Pick` follows.
    Move,
    Arrived(Region),
    /// A redirect is not followed: the region as the application is told it now.
    Ignored(Region),
}
