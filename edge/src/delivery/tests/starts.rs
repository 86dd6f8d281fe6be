//! Where subscriptions start, and what reads answer while a store is away or not that far.
