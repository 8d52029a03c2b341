//! `forwardctl preview`: one scrape, printed as it would be sent.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::batch::{Batch, decode};
use amp_forwarder::config::Config;
use amp_forwarder::home::{Home, HomeRequest, HomeResponse, ResponseBody};
use amp_forwarder::net::{NetError, Peer};
use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder::report::{plain_json, plain_line};
use amp_forwarder::scrape::ScrapeError;
use amp_forwarder::series::{float, text};
use amp_forwarder::setup;
use amp_forwarder::tick::{Dependencies, Forwarder, Preview};
use amp_forwarder::time::SystemClock;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use crate::histogram;
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{data_out, tell};

/// Bytes that are read from a file at once.
const PIECE: usize = 64 * 1024;

#[derive(clap::Args)]
pub(super) struct PreviewArguments {
    /// Read an exposition from a file (- for standard input) instead of a target
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Parse FILE as this Content-Type
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "text/plain; version=0.0.4",
        requires = "input"
    )]
    content_type: String,
    /// Scrape only this job
    #[arg(long)]
    job: Option<String>,
    /// Print an exposition (text), or one JSON object a line (json)
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

pub(super) async fn run(
    arguments: &PreviewArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let format = if json {
        OutputFormat::Json
    } else {
        arguments.format
    };
    let mut config = load(config).await?.config;
    if let Some(job) = &arguments.job {
        keep_job(&mut config, job)?;
    }
    let forwarder = previewer(arguments, config)?;
    let mut outcome = CommandOutcome::Success;
    let mut out = BufWriter::new(data_out());
    for Preview {
        job,
        instance,
        scraped,
    } in forwarder.preview(None, Duration::MAX).await
    {
        for batch in scraped
            .commits
            .iter()
            .flat_map(|committed| &committed.scrapes)
            .flatten()
        {
            print(batch, format, &mut out)?;
        }
        out.flush()?;
        if let Some(error) = scraped.error {
            let target = format!("{job} {instance}");
            let what = failure(&error, arguments.input.as_deref(), &target);
            tell(plain_line(&what));
            outcome = CommandOutcome::Failure;
        }
    }
    Ok(outcome)
}

/// Why a scrape failed. What a file held is not told of the target that it stood for.
fn failure(error: &ScrapeError, input: Option<&Path>, target: &str) -> String {
    let cause: &dyn Display = match error {
        ScrapeError::Exposition { cause, .. } => cause,
        ScrapeError::Body { cause, .. } => cause,
        ScrapeError::Format { cause, .. } => cause,
        ScrapeError::Net(_) | ScrapeError::Status { .. } | ScrapeError::Limit { .. } => {
            return format!("{target}: {error}");
        }
    };
    match input {
        Some(path) => format!("{}: {cause}", path.display()),
        None => format!("{target}: {error}"),
    }
}

/// Leaves one job in the configuration.
fn keep_job(config: &mut Config, job: &str) -> Result<(), CommandError> {
    let known: Vec<_> = config
        .scrape_configs
        .iter()
        .map(|job| job.job_name.clone())
        .collect();
    config.scrape_configs.retain(|known| known.job_name == job);
    if config.scrape_configs.is_empty() {
        return Err(CommandError::Usage(format!(
            "unknown job {job}; the configuration has: {}",
            known.join(", ")
        )));
    }
    Ok(())
}

/// Makes a forwarder that can preview and nothing else: without remotes and a spool, it needs no
/// credentials.
fn previewer(arguments: &PreviewArguments, mut config: Config) -> Result<Forwarder, CommandError> {
    let memory_limit = config.forwarder.memory_limit_bytes(None);
    config.remote_write.truncate(1);
    let home: Box<dyn Home> = match &arguments.input {
        Some(path) => {
            // A file is the answer of one target.
            config.scrape_configs.truncate(1);
            config.scrape_configs[0].static_configs.truncate(1);
            config.scrape_configs[0].static_configs[0]
                .targets
                .truncate(1);
            Box::new(FileHome::open(path, &arguments.content_type)?)
        }
        None => Box::new(setup::home(&config, Duration::ZERO)),
    };
    let world = Dependencies {
        home,
        remotes: Vec::new(),
        clock: Arc::new(SystemClock),
        rng: fastrand::Rng::new(),
        store: None,
    };
    Forwarder::new(config, world, memory_limit)
        .map_err(|error| CommandError::Usage(error.to_string()))
}

/// Prints each sample and each native histogram of a batch on a line of its own.
fn print(batch: &Batch, format: OutputFormat, out: &mut impl Write) -> Result<(), CommandError> {
    let request = decode(batch).map_err(|error| CommandError::Failed(error.to_string()))?;
    for series in request.timeseries {
        let samples = series.samples.iter().map(|sample| {
            let stale = sample.value.to_bits() == STALE_NAN;
            (
                ("value", Value::from(float::json(sample.value))),
                stale,
                sample.timestamp,
            )
        });
        let histograms = series.histograms.iter().map(|histogram| {
            (
                ("histogram", histogram::json(histogram)),
                histogram.is_stale(),
                histogram.timestamp,
            )
        });
        for ((key, value), stale, timestamp) in samples.chain(histograms) {
            match format {
                OutputFormat::Json => {
                    let labels: Map<String, Value> = series
                        .labels
                        .iter()
                        .map(|label| (label.name.clone(), Value::from(label.value.as_str())))
                        .collect();
                    let mut line = json!({"labels": labels, key: value, "timestamp_ms": timestamp});
                    if stale {
                        line["stale"] = Value::from(true);
                    }
                    writeln!(out, "{}", plain_json(&line.to_string()))?;
                }
                OutputFormat::Text => {
                    let labels: Vec<_> = series
                        .labels
                        .iter()
                        .map(|label| (label.name.as_str(), label.value.as_str()))
                        .collect();
                    // The text format has no native histograms, so they are printed as JSON.
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    writeln!(out, "{} {value} {timestamp}", text::series(&labels))?;
                }
            }
        }
    }
    Ok(())
}

/// A file that answers like a target: the first request gets its content, later ones nothing.
struct FileHome {
    file: Mutex<Option<Box<dyn Read + Send>>>,
    content_type: HeaderValue,
}

impl FileHome {
    fn open(path: &Path, content_type: &str) -> Result<Self, CommandError> {
        let cannot = |why: &dyn Display| {
            CommandError::Usage(format!("cannot read {}: {why}", path.display()))
        };
        if path.is_dir() {
            return Err(cannot(&"it is a directory"));
        }
        let file: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(path).map_err(|error| cannot(&error))?)
        };
        let content_type = content_type
            .parse()
            .map_err(|_| CommandError::Usage(format!("not a content type: {content_type:?}")))?;
        Ok(Self {
            file: Mutex::new(Some(file)),
            content_type,
        })
    }
}

impl Home for FileHome {
    fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        let file = self
            .file
            .lock()
            .ok()
            .and_then(|mut file| file.take())
            .unwrap_or_else(|| Box::new(std::io::empty()));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, self.content_type.clone())]);
        Box::pin(async move {
            Ok(HomeResponse {
                status: 200,
                headers,
                body: Box::new(FileBody { file }),
            })
        })
    }
}

struct FileBody {
    file: Box<dyn Read + Send>,
}

impl ResponseBody for FileBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        let mut piece = vec![0; PIECE];
        let read = self.file.read(&mut piece);
        Box::pin(async move {
            match read {
                Ok(0) => Ok(None),
                Ok(length) => {
                    piece.truncate(length);
                    Ok(Some(piece.into()))
                }
                Err(error) => Err(NetError::unreadable_body(
                    error,
                    Peer::Home,
                    "the input file",
                )),
            }
        })
    }
}
