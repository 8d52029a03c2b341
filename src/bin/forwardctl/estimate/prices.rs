//! The list prices of AWS. `prices.json` is the one place that holds them, with the date on which
//! they were read and the page that each comes from.
//!
//! To bring the list up to date, read each page again, change the prices and set `date`. Mark a
//! price that the page did not show as `unverified`: the estimate prints a star at it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

const FILE: &str = include_str!("prices.json");

/// The list prices of one region, in dollars.
pub(super) struct Prices {
    /// Day on which the prices were read, `2026-11-22`.
    pub(super) date: String,
    pub(super) region: String,
    items: BTreeMap<String, PriceItem>,
}

/// `prices.json`.
#[derive(Deserialize)]
struct PriceList {
    date: String,
    /// Region of the prices in `items`.
    region: String,
    items: BTreeMap<String, PriceItem>,
    /// Prices that differ in other regions, by region and item.
    regions: BTreeMap<String, BTreeMap<String, f64>>,
}

/// The price of one thing that AWS bills.
#[derive(Clone, Deserialize)]
pub(super) struct PriceItem {
    /// Pairs of the quantity at which the tier ends and its price for one unit. The last tier has
    /// no end.
    tiers: Vec<(Option<f64>, f64)>,
    /// Quantity that the free tier covers each month.
    free: f64,
    pub(super) unit: String,
    /// Address of the page that shows the price, without `https://`.
    pub(super) source: String,
    /// Whether the price was not read at its source, or was read for another region.
    #[serde(default)]
    pub(super) unverified: bool,
}

impl Prices {
    /// Reads the prices of a region. An item without a price of that region gets the one of the
    /// list's own region and is marked as unverified.
    ///
    /// # Errors
    /// When `prices.json` is malformed, which a test excludes.
    pub(super) fn new(region: &str) -> Result<Self, serde_json::Error> {
        let PriceList {
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

    /// Finds an item by its name in `prices.json`. A test checks the names that are used.
    pub(super) fn item(&self, name: &str) -> Option<&PriceItem> {
        self.items.get(name)
    }

    /// The pages that the prices come from.
    pub(super) fn sources(&self) -> BTreeSet<&str> {
        self.items
            .values()
            .map(|item| item.source.as_str())
            .collect()
    }
}

impl PriceItem {
    /// The cost of a month's quantity, with or without the free tier.
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

    /// The price of one unit in the first tier.
    pub(super) fn first_price(&self) -> f64 {
        self.tiers.first().map_or(0.0, |tier| tier.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_and_the_free_tier() {
        let prices = Prices::new("us-east-1").unwrap();
        let samples = prices.item("amp_ingestion").unwrap();
        // 2 G at 0.90 $ / 10 M, then 3 G at 0.35 $ / 10 M.
        assert!((samples.cost(5e9, false) - (180.0 + 105.0)).abs() < 1e-6);
        assert!((samples.cost(50e6, true) - 0.90).abs() < 1e-9);
        assert_eq!(samples.cost(39e6, true), 0.0);
        assert!((samples.cost(300e9, false) - (180.0 + 250.0 * 35.0 + 48.0 * 16.0)).abs() < 1e-6);
    }

    #[test]
    fn other_regions_have_prices_of_their_own_or_are_marked_as_unverified() {
        let tokyo = Prices::new("ap-northeast-1").unwrap();
        let endpoint = tokyo.item("interface_endpoint").unwrap();
        assert_eq!(
            (endpoint.first_price(), endpoint.unverified),
            (0.014, false)
        );
        assert!(tokyo.item("amp_ingestion").unwrap().unverified);
        assert!(
            !Prices::new("us-east-1")
                .unwrap()
                .item("amp_ingestion")
                .unwrap()
                .unverified
        );
        assert!(
            Prices::new("mars-1")
                .unwrap()
                .items
                .values()
                .all(|item| item.unverified)
        );
    }

    #[test]
    fn each_price_has_a_source_and_sane_tiers() {
        let prices = Prices::new("us-east-1").unwrap();
        assert!(
            prices
                .sources()
                .contains("aws.amazon.com/prometheus/pricing")
        );
        for (name, item) in prices.items {
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
