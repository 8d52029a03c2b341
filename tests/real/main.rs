//! Against the real programs, which `make tools` fetches.

mod corpus;
