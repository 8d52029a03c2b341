//! Scripted ticks without a spool.

mod homes;
mod plans;
mod remotes;

use std::time::Duration;

use amp_forwarder::tick::Plan;

use crate::bench::{Reply, Seen};

const SECOND: Duration = Duration::from_secs(1);
const OWN: u64 = 5;
const PLENTY: u64 = 64 << 20;

fn plan() -> Plan {
    Plan::default()
}

fn takes() -> Box<dyn Fn((usize, usize)) -> Reply + Send + Sync> {
    Box::new(|_| Reply::After(Duration::from_millis(10), Box::new(Reply::Status(200))))
}

fn always(reply: Reply) -> Box<dyn Fn((usize, usize)) -> Reply + Send + Sync> {
    Box::new(move |_| reply.clone())
}

fn samples(seen: &[Seen]) -> usize {
    seen.iter().map(|seen| seen.samples.len()).sum()
}
