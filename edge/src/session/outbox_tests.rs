//! What lanes hold and write.
