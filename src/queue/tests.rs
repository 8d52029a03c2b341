use super::*;

fn batch(samples: u32) -> Batch {
    Batch {
        body: vec![0; samples as usize].into(),
        samples,
        raw_len: 0,
        min_ms: 0,
        max_ms: 0,
    }
}

#[test]
fn scrapes_come_out_in_order_and_numbered() {
    let queue = Queue::default();
    queue.push(vec![batch(1)], ScrapeTraits::default());
    queue.push(vec![], ScrapeTraits::default());
    queue.push(vec![batch(2), batch(3)], ScrapeTraits::default());
    assert_eq!(queue.front(), Front::Scrape(1));
    assert_eq!(queue.take(2), None, "the oldest goes first");
    let first = queue.take(1).unwrap();
    assert_eq!(queue.front(), Front::Scrape(2));
    queue.answered(&first);
    assert_eq!(
        (
            queue.take(2).unwrap().samples,
            queue.take(2).unwrap().samples,
            queue.take(2)
        ),
        (2, 3, None)
    );
    assert_eq!(queue.front(), Front::Empty);
    queue.close();
    assert_eq!(queue.front(), Front::Closed);
    assert_eq!(queue.bytes(), 5, "in flight counts");
}

#[test]
fn what_is_put_back_finds_its_place() {
    let queue = Queue::default();
    queue.push(vec![batch(1), batch(2)], ScrapeTraits::default());
    queue.push(vec![batch(4)], ScrapeTraits::default());
    let (first, second) = (queue.take(1).unwrap(), queue.take(1).unwrap());
    assert_eq!(queue.front(), Front::Scrape(2));
    queue.give_back(1, &second, vec![batch(2)]);
    queue.give_back(1, &first, vec![batch(1)]);
    let left = queue.drain();
    assert_eq!(
        left.iter()
            .map(|scrape| (scrape.number, scrape.samples()))
            .collect::<Vec<_>>(),
        [(1, 3), (2, 4)]
    );
    assert_eq!(left[0].batches[0].samples, 1);
    assert_eq!(queue.bytes(), 0);
}

/// 130 samples, and a capacity of 100.
#[test]
fn exactly_what_exceeds_the_capacity_leaves() {
    let queue = Queue::default();
    queue.begin();
    queue.push(
        vec![batch(50), batch(50), batch(30)],
        ScrapeTraits::default(),
    );
    let spilled = queue.spill(100).unwrap();
    assert_eq!((spilled.number, spilled.samples()), (1, 30));
    assert!(queue.is_spilling_before(2) && !queue.is_spilling_before(1));
    queue.spilled(&spilled, Vec::new());
    assert_eq!(queue.spill(100), None);
    assert!(!queue.is_spilling_before(2));
    assert_eq!(queue.bytes(), 100);
}

#[test]
fn the_newest_leaves_first_and_comes_back_when_the_store_is_down() {
    let queue = Queue::default();
    queue.begin();
    queue.push(vec![batch(10)], ScrapeTraits::default());
    queue.push(vec![batch(20), batch(30)], ScrapeTraits::default());
    let spilled = queue.spill(5).unwrap();
    assert_eq!(
        (spilled.number, spilled.samples()),
        (2, 50),
        "one scrape at a time"
    );
    queue.close();
    queue.spilled(&spilled, vec![batch(30)]);
    assert_eq!(
        queue
            .drain()
            .iter()
            .map(CommittedScrape::samples)
            .collect::<Vec<_>>(),
        [10, 30]
    );
}

#[test]
fn once_sending_has_ended_the_oldest_leaves_first() {
    let queue = Queue::default();
    queue.push(vec![batch(20), batch(30)], ScrapeTraits::default());
    queue.push(vec![batch(10)], ScrapeTraits::default());
    queue.stop_sending();
    let spilled = queue.spill(0).unwrap();
    assert_eq!((spilled.number, spilled.samples()), (1, 50));
    assert!(queue.is_spilling_before(2));
    queue.spilled(&spilled, vec![batch(30)]);
    let numbers = [(); 2].map(|()| {
        let spilled = queue.spill(0).unwrap();
        queue.spilled(&spilled, Vec::new());
        (spilled.number, spilled.samples())
    });
    assert_eq!(
        numbers,
        [(1, 30), (2, 10)],
        "what could not be written is next"
    );
    assert_eq!((queue.spill(0), queue.bytes()), (None, 0));
}

/// A receiver that answers nothing: its batch comes back when sending ends.
#[tokio::test]
async fn once_sending_has_ended_nothing_leaves_before_what_is_in_flight() {
    let queue = Queue::default();
    queue.begin();
    queue.push(vec![batch(20)], ScrapeTraits::default());
    queue.push(vec![batch(10)], ScrapeTraits::default());
    let taken = queue.take(1).unwrap();
    queue.stop_sending();
    let landing = async {
        tokio::task::yield_now().await;
        queue.give_back(1, &taken, vec![taken.clone()]);
    };
    let (is_over, ()) = tokio::join!(queue.overflowing(|| 0), landing);
    let first = queue.spill(0).unwrap();
    assert_eq!((is_over, first.number, first.samples()), (true, 1, 20));
}

/// After a kill the older ones are read again, and the receiver must not have the newer ones then.
#[tokio::test]
async fn what_the_home_keeps_leaves_in_its_order() {
    let queue = Queue::default();
    queue.begin();
    let at_home = ScrapeTraits {
        at_home: true,
        repeated: false,
    };
    queue.push(vec![batch(20), batch(21)], at_home);
    // One scrape has no order: its newest batches leave.
    queue.land().await;
    let spilled = queue.spill(25).unwrap();
    assert_eq!((queue.is_leaving(), spilled.samples()), (false, 21));
    queue.spilled(&spilled, Vec::new());
    queue.push(vec![batch(10)], at_home);
    let taken = queue.take(1).unwrap();
    let landing = async {
        queue.leaving().await;
        assert_eq!(queue.spill(5), None, "the oldest is in flight");
        queue.give_back(1, &taken, vec![taken.clone()]);
    };
    tokio::join!(queue.land(), landing);
    let numbers = [(); 2].map(|()| {
        let spilled = queue.spill(5).unwrap();
        queue.spilled(&spilled, Vec::new());
        (spilled.number, spilled.samples())
    });
    assert_eq!(numbers, [(1, 20), (2, 10)]);
    assert!(queue.is_leaving());
    tokio::join!(queue.overflowing(|| 5), async { queue.end() });
    assert!(!queue.is_leaving());
}

#[tokio::test]
async fn an_overflow_is_noticed_and_so_is_the_end() {
    let queue = Queue::default();
    let (noticed, ()) = tokio::join!(
        async {
            (
                queue.overflowing(|| 5).await,
                queue.overflowing(|| 100).await,
            )
        },
        async {
            queue.push(vec![batch(3)], ScrapeTraits::default());
            tokio::task::yield_now().await;
            queue.push(vec![batch(3)], ScrapeTraits::default());
            tokio::task::yield_now().await;
            queue.end();
        }
    );
    assert_eq!(noticed, (true, false));
}

#[tokio::test]
async fn a_scrape_is_settled_once_all_of_it_is_answered_or_spooled() {
    use futures_util::FutureExt as _;
    let queue = Queue::default();
    queue.begin();
    let traits = ScrapeTraits {
        at_home: true,
        repeated: true,
    };
    queue.push(vec![batch(1), batch(2)], traits);
    let mut settled = std::pin::pin!(queue.settled());
    assert_eq!(settled.as_mut().now_or_never(), None, "it waits");
    // What comes later is not waited for.
    queue.push(vec![batch(4)], ScrapeTraits::default());
    let (first, second) = (queue.take(1).unwrap(), queue.take(1).unwrap());
    queue.answered(&first);
    assert_eq!(settled.as_mut().now_or_never(), None, "one is in flight");
    queue.give_back(1, &second, vec![batch(2)]);
    assert_eq!(settled.as_mut().now_or_never(), None, "one was given back");
    assert_eq!(queue.traits(1), traits);
    let newest = queue.spill(0).unwrap();
    assert_eq!((newest.number, newest.traits), (2, ScrapeTraits::default()));
    queue.spilled(&newest, Vec::new());
    let spilt = queue.spill(0).unwrap();
    assert_eq!((spilt.number, spilt.traits), (1, traits));
    assert_eq!(
        settled.as_mut().now_or_never(),
        None,
        "on its way to the spool"
    );
    queue.spilled(&spilt, Vec::new());
    assert_eq!(settled.as_mut().now_or_never(), Some(true));
    queue.push(vec![batch(1)], traits);
    let mut settled = std::pin::pin!(queue.settled());
    assert_eq!(settled.as_mut().now_or_never(), None);
    queue.end();
    assert_eq!(
        settled.as_mut().now_or_never(),
        Some(false),
        "the tick ends first"
    );
}
