//! Where a client is and how it came there, as the application sees it. Plain values.

/// The region that a client is connected to, or was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// As the region calls itself, else its address.
    pub name: String,
    /// Its base address.
    pub url: String,
    /// What brought the client here.
    pub reason: Reason,
    /// The client's moves so far.
    pub moves: Moves,
    /// Redirects of servers that were not followed: to a region that the client does not know, or more
    /// than two in a minute.
    pub redirects_ignored: u64,
}

/// Why a client is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The first choice.
    Start,
    /// Another region failed.
    Failure,
    /// Home is well again.
    Home,
    /// The server said so.
    Redirect,
}

/// Arrivals in another region since the client was made, by what moved the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moves {
    pub failure: u64,
    pub home: u64,
    pub redirect: u64,
}
