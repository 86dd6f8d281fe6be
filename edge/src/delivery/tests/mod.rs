//! Delivery end to end without sockets: log, router, backplane, history, hub and outboxes, with
//! clients that believe nothing but the chain.

mod client;
mod distributor;
mod embedded;
mod interleavings;
mod memory;
mod region;
mod schedules;
mod slow;
mod starts;
mod world;
