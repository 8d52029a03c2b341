//! The real tree follows its floor plan, as `make lint` says more quickly.

use std::path::Path;

use amp_forwarder_floorplan::house::inspect;

#[test]
fn the_tree_follows_its_floor_plan() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for verdict in inspect(&root).unwrap() {
        let (rule, breaches) = (verdict.rule, verdict.breaches.join("\n"));
        assert!(breaches.is_empty(), "{rule}:\n{breaches}");
    }
}
