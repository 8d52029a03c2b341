//! The order in which the samples of one series are posted.
//!
//! A sender that keeps its promise posts the samples of a series from old to new, in one entry or
//! in several requests. When a request is not answered, or is refused as a whole, it may post the
//! same samples again, whole or in parts: the first of them is then older than the last one that it
//! has posted, and that is no breach. What is older than the newest sample of the request before
//! and was not in that request is one.

/// What was posted of a series last.
#[derive(Debug, Default)]
pub(super) struct PostOrder {
    /// Number of the newest request with the series.
    request: u64,
    /// Timestamps of the series in that request, milliseconds since 1970.
    posted: Vec<i64>,
    /// Those of the request before it.
    before: Vec<i64>,
}

impl PostOrder {
    /// Notes a sample. `request`: the number of its request, from 1 on. Returns whether the sample
    /// is out of order.
    pub(super) fn post(&mut self, request: u64, timestamp: i64) -> bool {
        if self.request != request {
            self.request = request;
            std::mem::swap(&mut self.posted, &mut self.before);
            self.posted.clear();
        }
        let is_repeat = self.before.contains(&timestamp);
        let is_late = self.before.iter().any(|before| timestamp < *before);
        let is_descending = self.posted.iter().any(|posted| timestamp < *posted);
        self.posted.push(timestamp);
        is_descending || (is_late && !is_repeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_no_breach_and_an_older_sample_is_one() {
        for (requests, breaches) in [
            // New samples, alone and several in a request.
            (&[&[1][..], &[2], &[3, 4]][..], 0),
            // The same ones again, whole and in halves.
            (&[&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2], &[3, 4], &[5]], 0),
            (&[&[1], &[1]], 0),
            // One that was left out, behind newer ones.
            (&[&[1, 3], &[2]], 1),
            (&[&[2], &[1]], 1),
            (&[&[2, 1]], 1),
            // A repeat after something newer was posted.
            (&[&[1, 2], &[3], &[1, 2]], 2),
            (&[&[1, 2], &[3, 4], &[1, 2], &[3, 4]], 2),
        ] {
            let mut order = PostOrder::default();
            let mut found = 0;
            for (number, request) in (1..).zip(requests) {
                for timestamp in *request {
                    found += usize::from(order.post(number, *timestamp));
                }
            }
            assert_eq!(found, breaches, "{requests:?}");
        }
    }
}
