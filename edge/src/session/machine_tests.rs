//! The session's decisions.
