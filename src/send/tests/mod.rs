//! Sending, against scripts on a paused clock and against real sockets.

mod deliver;
mod http;
mod parts;
mod script;
mod sign;
