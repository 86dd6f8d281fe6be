//! Meridian's shared core: the vocabulary, the native protocol, authentication and policies, and
//! the seams with their embedded implementations. It never opens a client socket and never decides
//! what a session does.

pub mod acks;
pub mod auth;
pub mod bridge;
pub mod config;
pub mod embedded;
pub mod feed;
pub mod lag;
pub mod mode;
pub mod policy;
pub mod protocol;
pub mod seams;
pub mod vocabulary;
