//! The configuration of a command.

use std::path::Path;
use std::sync::OnceLock;

use amp_forwarder::config::{
    DEFAULT_FILE, ENV_VAR, Env, LoadedConfig, SiteName, Source, SourceError, config_env,
    process_env, site_env,
};
use amp_forwarder::setup;

use crate::outcome::CommandError;

/// The site of `--site`. A process has one.
static SITE: OnceLock<SiteName> = OnceLock::new();

/// The site that is meant, when one is.
pub(crate) fn site() -> Option<&'static SiteName> {
    SITE.get()
}

/// Makes every configuration of the process that of a site. Returns `--config` with its name.
pub(crate) fn choose_site(site: Option<SiteName>, config: Option<String>) -> Option<String> {
    let Some(site) = site else {
        return config;
    };
    let site = SITE.get_or_init(|| site);
    config.map(|config| site.fill(&config))
}

/// Loads the configuration that a command needs. A forwarder.yml in the working directory is found
/// as well, because people try things there.
pub(crate) async fn load(argument: Option<&str>) -> Result<LoadedConfig, CommandError> {
    load_with(argument, &config_env).await
}

/// Does the same with another environment than that of the process.
pub(crate) async fn load_with(
    argument: Option<&str>,
    env: Env<'_>,
) -> Result<LoadedConfig, CommandError> {
    let default = Source::find(None, &|_| None, Path::new("./forwardctl"))
        .map_err(|error: SourceError| CommandError::Usage(error.to_string()))?;
    let here = default.to_string();
    let named = argument.is_some() || process_env(ENV_VAR).is_some_and(|value| !value.is_empty());
    let argument = if !named && Path::new(&here).exists() {
        Some(here.as_str())
    } else {
        argument
    };
    if !named && argument.is_none() {
        let program = std::env::current_exe().unwrap_or_default();
        let beside = program.with_file_name(DEFAULT_FILE);
        if !beside.exists() {
            return Err(CommandError::Usage(format!(
                "there is no {DEFAULT_FILE} in this folder, and none beside the program ({}); \
                 make one with `forwardctl init`, or from a prometheus.yml with `forwardctl import \
                 prometheus.yml --output {DEFAULT_FILE}`, or name one with --config or {ENV_VAR}",
                beside.display()
            )));
        }
    }
    Ok(setup::load_with(argument, &site_env(site(), env)).await?)
}
