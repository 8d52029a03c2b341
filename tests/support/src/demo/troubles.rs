//! What goes wrong in a demo, and when.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{SOON, say};
use crate::gateway::{Fault, Gateway};
use crate::home::Link;
use crate::process::{NodeExporter, Prometheus};
use crate::{now_ms, wait_for};

/// A trouble, from one moment to another, milliseconds since 1970.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) what: &'static str,
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
}

/// The troubles of a demo so far.
#[derive(Debug, Default)]
pub(super) struct Troubles(pub(super) Vec<Trouble>);

impl Troubles {
    /// Makes all troubles, one after the other.
    pub(super) async fn make(
        &mut self,
        gateways: (&Gateway, &Gateway),
        receiver: &mut Prometheus,
        link: &Link,
        kill: impl Fn(),
        exporter: &mut Option<NodeExporter>,
    ) -> Result<()> {
        let (exact, twin) = gateways;
        wait_for("the gateway has stored something", SOON, || async {
            exact.stats().stored > 0
        })
        .await?;
        sleep(Duration::from_secs(4)).await;
        let mut from_ms = now_ms();
        receiver.kill();
        let outage = Duration::from_secs(25);
        // The twin's gateway has no receiver behind it, so it refuses by itself.
        twin.faults()
            .add(Fault::lasting(Fault::status(503, "away"), outage));
        say("the receiver is killed and stays away for 25 s");
        sleep(outage).await;
        receiver.restart().await?;
        say("the receiver is back");
        self.note("receiver away", from_ms);

        sleep(Duration::from_secs(4)).await;
        from_ms = now_ms();
        link.cut();
        say("the link to the home is cut for 20 s");
        sleep(Duration::from_secs(20)).await;
        link.mend();
        say("the link is mended");
        self.note("VPN cut", from_ms);

        sleep(Duration::from_secs(6)).await;
        from_ms = now_ms();
        kill();
        sleep(Duration::from_secs(2)).await;
        self.note("killed", from_ms);
        drop(exporter.take());
        say("the node exporter goes away");
        Ok(())
    }

    fn note(&mut self, what: &'static str, from_ms: i64) {
        self.0.push(Trouble {
            what,
            from_ms,
            until_ms: now_ms(),
        });
    }
}
