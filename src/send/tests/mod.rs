//! Sending, against scripts on a paused clock and against real sockets.

mod deliver;
mod history;
mod http;
mod parts;
mod script;
mod sign;
