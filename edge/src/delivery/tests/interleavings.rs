//! The interleavings in brackets of the delivery rules, as far as edges read.
