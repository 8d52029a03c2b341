//! Sending, against scripts on a paused clock and against real sockets.

mod deliver;
mod http;
mod script;
mod sign;
