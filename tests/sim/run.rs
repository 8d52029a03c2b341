//! Runs one seed: a process, its ticks, and the checks after each tick.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use amp_forwarder::config::Config;
use amp_forwarder::report::Report;
use amp_forwarder::send::Remote;
use amp_forwarder::tick::{self, Forwarder, Plan, TickProgress};
use amp_forwarder::time::Clock as _;
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::checks::{Checks, Ticked};
use crate::events::{Event, Hits};
use crate::home::{HomeHandle, HomeModel, Target};
use crate::planted::Bug;
use crate::receiver::{Receiver, RemoteHandle};
use crate::scenario::{Before, Kind, Scenario, Tick, draw};
use crate::series::TargetLabels;
use crate::world::{SimClock, SimWorld};

/// Result of a seed.
pub(crate) struct Outcome {
    pub(crate) findings: Vec<String>,
    /// Lines of the story; empty unless the caller asked for it.
    pub(crate) story: Vec<String>,
}

/// Runs a seed.
pub(crate) fn seed(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // The paused clock belongs to the runtime, so everything is made inside it.
    runtime.block_on(async { Run::new(seed, hits, tells, bug).all().await })
}

struct Run {
    world: Arc<SimWorld>,
    scenario: Scenario,
    home: Arc<HomeModel>,
    receivers: Vec<Arc<Receiver>>,
    checks: Checks,
    rng: Rng,
    bug: Option<Bug>,
}

impl Run {
    fn new(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut scenario = draw(&mut rng);
        for traits in &mut scenario.receivers {
            match bug {
                Some(Bug::MoreShards) => traits.max_in_flight = 1,
                Some(Bug::LargerBatches) => traits.max_samples = 1,
                _ => {}
            }
        }
        let world = SimWorld::new(scenario.start_ms, Arc::clone(hits), tells);
        world.tell(|| {
            format!(
                "seed {seed}, memory limit {}\n{}{:#?}\n{:#?}",
                scenario.memory_limit, scenario.yaml, scenario.home, scenario.receivers
            )
        });
        let external = scenario.config.global.external_labels.clone();
        let targets = targets([&scenario.config]);
        let mut home = HomeModel::new(
            Arc::clone(&world),
            scenario.home.clone(),
            external,
            targets,
            rng.fork(),
        );
        home.tight_memory = scenario.tight_memory();
        home.hides_cuts = bug == Some(Bug::CutTakenForWhole);
        let named = scenario.config.remote_write.iter().zip(&scenario.receivers);
        let receivers: Vec<_> = named
            .map(|(entry, traits)| {
                Receiver::new(
                    Arc::clone(&world),
                    entry.id(),
                    traits.clone(),
                    rng.fork(),
                    bug,
                )
            })
            .collect();
        let checks = Checks::new(&scenario, bug);
        Self {
            world,
            scenario,
            home: Arc::new(home),
            receivers,
            checks,
            rng,
            bug,
        }
    }

    /// Starts a process without any memory of earlier ticks.
    fn process(&mut self) -> Forwarder {
        let remotes = self
            .receivers
            .iter()
            .map(|receiver| Box::new(RemoteHandle(Arc::clone(receiver))) as Box<dyn Remote>);
        let dependencies = tick::Dependencies {
            home: Box::new(HomeHandle(Arc::clone(&self.home))),
            remotes: remotes.collect(),
            clock: Arc::new(SimClock(Arc::clone(&self.world))),
            rng: self.rng.fork(),
            store: None,
        };
        let memory_limit = Bug::memory_limit(self.bug, self.scenario.memory_limit);
        Forwarder::new(self.scenario.config.clone(), dependencies, memory_limit)
            .expect("the targets are valid")
    }

    fn renew(&mut self, forwarder: &mut Forwarder) {
        *forwarder = self.process();
        self.receivers
            .iter()
            .for_each(|receiver| receiver.forgotten(true));
        self.checks.cold();
    }

    async fn all(mut self) -> Outcome {
        let mut forwarder = self.process();
        let mut thawed_ms = 0;
        for tick in self.scenario.ticks.clone() {
            match tick.before {
                Before::Nothing => {}
                Before::Restart => {
                    self.world.hit(Event::Restarted);
                    self.renew(&mut forwarder);
                }
                Before::Freeze(ms) => {
                    self.world.hit(Event::Frozen);
                    self.world.freeze(ms);
                    thawed_ms += ms;
                }
                Before::Skew(ms) => {
                    self.world.hit(if ms < 0 {
                        Event::ClockBack
                    } else {
                        Event::ClockForward
                    });
                    self.world.set_skew(ms);
                    self.checks.clock_moved();
                    // A series without timestamps that was gone for long counts as new, and its
                    // timestamps come from the clock that was just moved.
                    let untimed = self.scenario.home.odd_times
                        || self
                            .scenario
                            .config
                            .scrape_configs
                            .iter()
                            .any(|job| !job.honor_timestamps);
                    if untimed {
                        self.receivers
                            .iter()
                            .for_each(|receiver| receiver.clock_moved());
                    }
                }
            }
            let wait = self.scenario.start_ms + tick.at_ms + thawed_ms - self.world.now_ms();
            if wait < 0 {
                self.world.hit(Event::TickAtOnce);
            }
            // Two ticks never start in the same millisecond: the samples that the forwarder adds
            // would have the same timestamp.
            sleep(Duration::from_millis(
                u64::try_from(wait).unwrap_or_default().max(1),
            ))
            .await;
            self.one(&mut forwarder, tick).await;
            if !self.world.findings().is_empty() {
                break;
            }
        }
        Outcome {
            findings: self.world.findings(),
            story: self.world.story(),
        }
    }

    async fn one(&mut self, forwarder: &mut Forwarder, tick: Tick) {
        self.world.tell(|| format!("tick: {tick:?}"));
        let started = Instant::now();
        let start_ms = SimClock(Arc::clone(&self.world)).now_ms();
        let live = Arc::new(TickProgress::default());
        let first_job = self.scenario.config.scrape_configs[0].job_name.clone();
        let (stopper, stop) = tokio::sync::watch::channel(false);
        let plan = Plan {
            deadline: Some(started + tick.timeout),
            once: tick.kind == Kind::Once,
            jobs: (tick.kind == Kind::SomeJobs).then(|| vec![first_job]),
            drain_only: tick.kind == Kind::DrainOnly,
            stop: Some(stop),
            live: Some(Arc::clone(&live)),
            ..Plan::default()
        };
        let report: Option<Report> = match tick.kind {
            Kind::DryRun => Some(forwarder.dry_run(&plan).await),
            Kind::Killed(polls) => polled(forwarder.tick(&plan), polls).await,
            Kind::Stopped(after) => {
                let stopping = async {
                    sleep(after).await;
                    let _ = stopper.send(true);
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    report = forwarder.tick(&plan) => Some(report),
                    () = stopping => None,
                }
            }
            _ => Some(forwarder.tick(&plan).await),
        };
        self.world.hit(event_of(tick.kind));
        if self.bug == Some(Bug::LateTick) {
            sleep(Duration::from_secs(100)).await;
        }
        let Some(mut report) = report else {
            self.world.hit(Event::Killed);
            self.world.tell(|| "killed".to_owned());
            self.renew(forwarder);
            let shown = self.home.take_shown(&[]);
            self.checks.killed(&shown);
            self.receivers.iter().for_each(|receiver| {
                receiver.take_answered();
                receiver.take_posts();
            });
            return;
        };
        if let Some(bug) = self.bug {
            bug.tell(&mut report);
        }
        self.world.tell(|| format!("report: {report:?}"));
        let mut ticked = Ticked {
            tick,
            report: &report,
            shown: self.home.take_shown(&[&report]),
            answered: self
                .receivers
                .iter()
                .map(|receiver| receiver.take_answered())
                .collect(),
            posts: self
                .receivers
                .iter()
                .map(|receiver| receiver.take_posts())
                .collect(),
            start_ms,
            started,
            live_written: live.samples().1,
        };
        if self.bug == Some(Bug::IdleAfterItsMinute) {
            let minute_ends_ms = start_ms + 60_000;
            ticked.shown.retain(|shown| shown.start_ms < minute_ends_ms);
        }
        self.checks
            .check(&self.world, &self.home, &self.receivers, &ticked);
    }
}

/// Event that a tick of this kind counts as.
fn event_of(kind: Kind) -> Event {
    match kind {
        Kind::Schedule => Event::WarmTick,
        Kind::Once => Event::Once,
        Kind::SomeJobs => Event::SomeJobs,
        Kind::DrainOnly => Event::DrainOnly,
        Kind::DryRun => Event::DryRun,
        Kind::Stopped(_) => Event::Stopped,
        Kind::Killed(_) => Event::WarmTick,
    }
}

/// Polls a future at most `times` times, then drops it.
pub(crate) async fn polled<T>(future: impl Future<Output = T>, times: u32) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left = left.saturating_sub(1);
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}

/// The targets of these configurations.
pub(crate) fn targets<'a>(configs: impl IntoIterator<Item = &'a Config>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for job in configs
        .into_iter()
        .flat_map(|config| &config.scrape_configs)
    {
        for instance in job.static_configs.iter().flat_map(|group| &group.targets) {
            if targets.iter().any(|known| known.instance == *instance) {
                continue;
            }
            let labels = [
                ("instance", instance.as_str()),
                ("job", &job.job_name),
                ("site", "here"),
            ];
            targets.push(Target {
                job: job.job_name.clone(),
                instance: instance.clone(),
                labels: TargetLabels {
                    labels: labels
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .to_vec(),
                    honor: job.honor_labels,
                },
                honor_timestamps: job.honor_timestamps,
                sample_limit: job.limits.samples,
                body_limit: job.limits.body_size,
            });
        }
    }
    targets
}
