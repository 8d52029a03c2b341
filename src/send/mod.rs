//! Signed requests to a remote-write receiver, and what its answers mean.
