//! Delivery end to end without sockets: log, router, backplane, history, hub and outboxes, with
//! clients that believe nothing but the chain.

mod distributor;
mod interleavings;
mod memory;
mod schedules;
mod slow;
mod starts;
mod world;
