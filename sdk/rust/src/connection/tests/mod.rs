//! Scenarios of a machine, without a socket and with time as an argument.

mod deliveries;
mod harness;
mod lifecycle;
mod redirects;
mod regions;
mod requests;
