//! The history's suite.
