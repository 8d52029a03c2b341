//! The sites that a process knows: what each invocation of a site leaves for its next one, within
//! the memory limit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::ready::Ready;
use crate::config::SiteName;
use crate::tick::Neighbours;

/// What a warm site holds besides its caches, bytes: its configuration, targets, clients and
/// buffers. Measured with `make fleet`, 10 series a site: docs/scale.md.
const SITE_BYTES: usize = 80 << 10;

/// The sites that rest, the one that has rested longest first. With one home there is one, without
/// a name.
#[derive(Default)]
pub(super) struct WarmSites {
    resting: RefCell<VecDeque<RestingSite>>,
    /// Bytes of all of them.
    held: Cell<usize>,
}

struct RestingSite {
    site: Option<SiteName>,
    ready: Ready,
    bytes: usize,
}

impl WarmSites {
    /// Takes the state of a site out, if there is one. A panic then leaves none behind.
    pub(super) fn take(&self, site: Option<&SiteName>) -> Option<Ready> {
        let mut resting = self.resting.borrow_mut();
        let index = resting
            .iter()
            .position(|known| known.site.as_ref() == site)?;
        let known = resting.remove(index)?;
        self.held.set(self.held.get() - known.bytes);
        Some(known.ready)
    }

    /// Keeps the state of a site for its next invocation.
    pub(super) fn keep(&self, site: Option<SiteName>, ready: Ready) {
        let bytes = ready.kept_bytes() + SITE_BYTES;
        self.held.set(self.held.get() + bytes);
        let site = RestingSite { site, ready, bytes };
        self.resting.borrow_mut().push_back(site);
    }

    /// Number of sites.
    pub(super) fn len(&self) -> usize {
        self.resting.borrow().len()
    }

    /// Bytes of all sites.
    pub(super) fn bytes(&self) -> usize {
        self.held.get()
    }
}

impl Neighbours for WarmSites {
    fn give_way(&self, most: usize) {
        while self.held.get() > most {
            let Some(longest) = self.resting.borrow_mut().pop_front() else {
                return;
            };
            self.held.set(self.held.get() - longest.bytes);
        }
    }
}
