//! The router on the embedded stores.
