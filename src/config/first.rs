//! A first forwarder.yml, with comments, from three answers.

use std::fmt::Write as _;

use url::Url;

use super::model::amp_region;

/// The answers.
#[derive(Debug, Clone, Copy)]
pub struct FirstConfig<'a> {
    /// Address of the home Prometheus: `host:port`, or a URL that may have a path.
    pub home: &'a str,
    /// URL that samples are posted to.
    pub remote_write: &'a str,
    /// External labels, as `cluster=home,__replica__=a`; empty for none.
    pub labels: &'a str,
}

/// The address of the home, in the parts that a job has.
struct HomeAddress {
    scheme: String,
    target: String,
    /// Path of the federation.
    path: String,
}

/// Writes the text of a forwarder.yml. It may still be refused when it is loaded: the error then
/// has the line of the answer.
///
/// # Errors
/// The text says which answer is wrong, and how it should be.
///
/// # Examples
/// ```
/// use amp_forwarder::config::{Config, FirstConfig, first_config};
///
/// let yaml = first_config(&FirstConfig {
///     home: "192.0.2.10:9090",
///     remote_write: "https://receiver.example/api/v1/write",
///     labels: "site=attic",
/// })?;
/// let loaded = Config::load(&yaml, &|_| None, "forwarder.yml")?;
/// assert_eq!(loaded.config.scrape_configs[0].metrics_path, "/federate");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn first_config(answers: &FirstConfig<'_>) -> Result<String, String> {
    let home = home_address(answers.home)?;
    let remote = remote_url(answers.remote_write)?;
    let labels = external_labels(answers.labels)?;
    let mut yaml = String::from(
        "# Read by amp-forwarder and forwardctl. The keys are those of a prometheus.yml.\n\
         # `forwardctl check` says what is wrong with it, `forwardctl check --effective` what it \
         means.\n\
         global:\n  \
           # How often the home is asked. Best: the scrape_interval of the home itself.\n  \
           scrape_interval: 15s\n",
    );
    if !labels.is_empty() {
        yaml += "  # Every series gets these, so that AMP tells this home from others.\n";
        yaml += "  external_labels:\n";
        for (name, value) in &labels {
            let _ = writeln!(yaml, "    {name}: {}", quoted(value));
        }
    }
    let HomeAddress {
        scheme,
        target,
        path,
    } = &home;
    yaml += "scrape_configs:\n  - job_name: federate\n";
    yaml += "    # The series keep the labels job and instance that they have at home.\n";
    yaml += "    honor_labels: true\n";
    if scheme != "http" {
        let _ = writeln!(yaml, "    scheme: {scheme}");
    }
    let _ = writeln!(yaml, "    metrics_path: {}", quoted(path));
    yaml += "    # Which series: all of them here. Fewer cost less: '{job=\"node\"}', 'up', …\n";
    yaml += "    params: {'match[]': ['{__name__=~\".+\"}']}\n";
    let _ = writeln!(
        yaml,
        "    static_configs: [{{targets: [{}]}}]",
        quoted(target)
    );
    let _ = write!(
        yaml,
        "remote_write:\n  - url: {}\n",
        quoted(answers.remote_write)
    );
    match amp_region(&remote) {
        Some(region) => {
            yaml += "    # Signs with the credentials that the AWS CLI would take, too.\n";
            let _ = writeln!(yaml, "    sigv4: {{region: {region}}}");
        }
        None => {
            yaml += "    # Credentials of the receiver, if it asks for some:\n";
            yaml += "    # basic_auth: {username: me, password: '${REMOTE_PASSWORD}'}\n";
        }
    }
    yaml += "    # What is not worth its price, by metric name:\n";
    yaml += "    # write_relabel_configs:\n";
    yaml += "    #   - {source_labels: [__name__], regex: 'go_.*', action: drop}\n";
    Ok(yaml)
}

fn home_address(answer: &str) -> Result<HomeAddress, String> {
    let wrong = |why: &str| {
        Err(format!(
            "home: found {answer:?}, {why}; write an address and a port, such as 192.0.2.10:9090"
        ))
    };
    if answer.is_empty() {
        return wrong("expected an address");
    }
    let with_scheme = if answer.contains("://") {
        answer.to_owned()
    } else {
        format!("http://{answer}")
    };
    let Ok(url) = Url::parse(&with_scheme) else {
        return wrong("which is no address");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return wrong("expected http or https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("expected no credentials in it (give the job basic_auth later)");
    }
    let Some(host) = url.host_str() else {
        return wrong("expected a host");
    };
    let target = match url.port() {
        Some(port) => format!("{host}:{port}"),
        // Prometheus listens on 9090; a URL without a port means what it says.
        None if answer.contains("://") => host.to_owned(),
        None if answer
            .split('/')
            .next()
            .is_some_and(|it| it.ends_with(":80")) =>
        {
            format!("{host}:80")
        }
        None => format!("{host}:9090"),
    };
    // People copy the address of any of its pages.
    let path = url.path().trim_end_matches('/');
    let path = ["/federate", "/graph", "/query", "/targets", "/metrics"]
        .iter()
        .find_map(|page| path.strip_suffix(page))
        .unwrap_or(path);
    Ok(HomeAddress {
        scheme: url.scheme().to_owned(),
        target,
        path: format!("{path}/federate"),
    })
}

fn remote_url(answer: &str) -> Result<Url, String> {
    let url = Url::parse(answer)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        return Err(format!(
            "remote write: found {answer:?}, expected a URL; copy \"Endpoint - remote write URL\" \
             of the workspace from the AMP console"
        ));
    };
    if amp_region(&url).is_some() && !url.path().ends_with("/api/v1/remote_write") {
        return Err(format!(
            "remote write: found {answer:?}, expected …/api/v1/remote_write at its end; copy \
             \"Endpoint - remote write URL\" of the workspace from the AMP console"
        ));
    }
    Ok(url)
}

fn external_labels(answer: &str) -> Result<Vec<(String, String)>, String> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let pairs = answer
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if is_name(name.trim()) && !value.trim().is_empty() => {
                let value = value.trim().trim_matches('"');
                // Prometheus expands $NAME in external labels.
                Ok((name.trim().to_owned(), value.replace('$', "$$")))
            }
            _ => Err(format!(
                "labels: found {pair:?}, expected a name and a value; write \
                 cluster=home,__replica__=a"
            )),
        })
        .collect()
}

/// A string as YAML has it: in quotes, unless it is plain beyond doubt.
fn quoted(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_.-:?&=%".contains(c))
        && !text.ends_with(':')
        && text.contains(['/', '_', '.', '-', ':']);
    if is_word {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::model::Config;
    use super::*;

    const AMP: &str =
        "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

    fn loaded(home: &str, remote_write: &str, labels: &str) -> Result<Config, String> {
        let yaml = first_config(&FirstConfig {
            home,
            remote_write,
            labels,
        })?;
        let loaded = Config::load(&yaml, &|_| None, "forwarder.yml")
            .map_err(|errors| format!("{errors}\n{yaml}"))?;
        assert_eq!(loaded.warnings, [], "{yaml}");
        Ok(loaded.config)
    }

    #[test]
    fn the_file_of_any_good_answer_loads_without_a_warning() {
        for (home, target, path) in [
            ("192.0.2.10:30090", "192.0.2.10:30090", "/federate"),
            ("prom.home", "prom.home:9090", "/federate"),
            ("prom.home:80/prom", "prom.home:80", "/prom/federate"),
            ("[2001:db8::1]:9090", "[2001:db8::1]:9090", "/federate"),
            ("http://prom.home/", "prom.home", "/federate"),
            (
                "https://prom.home:443/prom/graph",
                "prom.home",
                "/prom/federate",
            ),
            (
                "http://prom.home:9090/federate",
                "prom.home:9090",
                "/federate",
            ),
        ] {
            let config = loaded(home, AMP, "cluster=home, __replica__ = a").unwrap();
            let job = &config.scrape_configs[0];
            assert_eq!(job.static_configs[0].targets, [target], "{home}");
            assert_eq!(job.metrics_path, path, "{home}");
            assert_eq!(
                job.scheme,
                if home.starts_with("https") {
                    "https"
                } else {
                    "http"
                }
            );
        }
        let config = loaded("a:1", AMP, "cluster=ho$me's,__replica__=1").unwrap();
        assert_eq!(config.global.external_labels["cluster"], "ho$me's");
        assert_eq!(config.global.external_labels["__replica__"], "1");
        assert!(config.remote_write[0].sigv4.is_some());
        let config = loaded("a:1", "http://192.0.2.3:9090/api/v1/write", "").unwrap();
        assert!(config.remote_write[0].sigv4.is_none());
        assert!(config.global.external_labels.is_empty());
    }

    #[test]
    fn a_wrong_answer_is_named() {
        for (home, remote, labels, expected) in [
            ("", AMP, "", "home: found \"\""),
            ("ftp://a", AMP, "", "expected http or https"),
            ("http://me:secret@a", AMP, "", "no credentials"),
            ("a b", AMP, "", "which is no address"),
            ("a:1", "", "", "remote write: found \"\""),
            ("a:1", "aps-workspaces", "", "expected a URL"),
            (
                "a:1",
                "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/",
                "",
                "expected …/api/v1/remote_write at its end",
            ),
            ("a:1", AMP, "cluster", "labels: found \"cluster\""),
            ("a:1", AMP, "9a=b", "labels: found \"9a=b\""),
        ] {
            let error = loaded(home, remote, labels).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_of_a_label_comes_back(value in "[a-zA-Z0-9$'\\\\: #{}\\[\\]&*!|>%@`é-]{1,20}") {
            prop_assume!(!value.trim().is_empty());
            let config = loaded("a:1", "http://b/", &format!("site={value}"));
            let config = config.map_err(TestCaseError::fail)?;
            prop_assert_eq!(config.global.external_labels["site"].as_str(), value.trim());
        }
    }
}
