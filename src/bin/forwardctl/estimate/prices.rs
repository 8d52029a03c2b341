//! What AWS asks for, from one file with its date and sources.

use std::collections::BTreeMap;

use serde::Deserialize;

const FILE: &str = include_str!("prices.json");

/// The list prices of one region, in dollars.
pub(super) struct Prices {
    pub(super) date: String,
    pub(super) region: String,
    items: BTreeMap<String, Item>,
}

#[derive(Deserialize)]
struct File {
    date: String,
    region: String,
    items: BTreeMap<String, Item>,
    regions: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Item {
    /// `[up to, price of one]`, cheapest last.
    tiers: Vec<(Option<f64>, f64)>,
    /// Free each month.
    free: f64,
    pub(super) unit: String,
    pub(super) source: String,
    /// Believed, and not read at the source: of another region, perhaps.
    #[serde(default)]
    pub(super) unverified: bool,
}

impl Prices {
    /// The prices of a region; those of the file's own stand in for what it does not give, and say
    /// so.
    ///
    /// # Errors
    /// When the file is broken, which a test excludes.
    pub(super) fn of(region: &str) -> Result<Self, serde_json::Error> {
        let File {
            date,
            region: own,
            mut items,
            regions,
        } = serde_json::from_str(FILE)?;
        let given = regions.get(region);
        for (name, item) in &mut items {
            match given.and_then(|given| given.get(name)) {
                Some(&price) => item.tiers = vec![(None, price)],
                None => item.unverified |= region != own,
            }
        }
        Ok(Self {
            date,
            region: region.to_owned(),
            items,
        })
    }

    /// One item. Names are checked by a test.
    pub(super) fn item(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }
}

impl Item {
    /// What a month's quantity costs, with or without what is free.
    pub(super) fn cost(&self, quantity: f64, free_tier: bool) -> f64 {
        let mut left = if free_tier {
            (quantity - self.free).max(0.0)
        } else {
            quantity
        };
        let (mut cost, mut from) = (0.0, 0.0);
        for &(end, price) in &self.tiers {
            let size = end.map_or(f64::INFINITY, |end| end - from);
            let here = left.min(size);
            cost += here * price;
            left -= here;
            from += size;
        }
        cost
    }

    /// What one more costs, at the first tier.
    pub(super) fn first(&self) -> f64 {
        self.tiers.first().map_or(0.0, |tier| tier.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_and_what_is_free() {
        let prices = Prices::of("us-east-1").unwrap();
        let samples = prices.item("amp_ingestion").unwrap();
        // 2 G at 0.90 $ / 10 M, then 3 G at 0.35 $ / 10 M.
        assert!((samples.cost(5e9, false) - (180.0 + 105.0)).abs() < 1e-6);
        assert!((samples.cost(50e6, true) - 0.90).abs() < 1e-9);
        assert_eq!(samples.cost(39e6, true), 0.0);
        assert!((samples.cost(300e9, false) - (180.0 + 250.0 * 35.0 + 48.0 * 16.0)).abs() < 1e-6);
    }

    #[test]
    fn other_regions_have_their_own_or_say_that_they_do_not() {
        let tokyo = Prices::of("ap-northeast-1").unwrap();
        let endpoint = tokyo.item("interface_endpoint").unwrap();
        assert_eq!((endpoint.first(), endpoint.unverified), (0.014, false));
        assert!(tokyo.item("amp_ingestion").unwrap().unverified);
        assert!(
            !Prices::of("us-east-1")
                .unwrap()
                .item("amp_ingestion")
                .unwrap()
                .unverified
        );
        assert!(
            Prices::of("mars-1")
                .unwrap()
                .items
                .values()
                .all(|item| item.unverified)
        );
    }

    #[test]
    fn each_price_has_a_source_and_sane_tiers() {
        for (name, item) in Prices::of("us-east-1").unwrap().items {
            assert!(item.source.contains('.') && !item.unit.is_empty(), "{name}");
            assert!(
                item.tiers.last().is_some_and(|tier| tier.0.is_none()),
                "{name}"
            );
            assert!(
                item.tiers.windows(2).all(|pair| pair[0].1 > pair[1].1),
                "{name}"
            );
        }
    }
}
