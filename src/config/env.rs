//! The environment that the configuration is read with.

/// Looks up a variable; returns `None` when it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of the process. A value that is not UTF-8 counts as not set.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variable with further ones for the configuration: `NAME=value` pairs, separated by commas.
/// A template cannot set variables whose names it does not know, and so passes them on in this one.
const PAIRS_VAR: &str = "FORWARDER_ENVIRONMENT";

/// The environment of the configuration: the process' own, and the pairs in
/// `FORWARDER_ENVIRONMENT`.
#[must_use]
pub fn config_env(name: &str) -> Option<String> {
    process_env(name).or_else(|| pair(&process_env(PAIRS_VAR)?, name).map(str::to_owned))
}

/// The value of a name in `NAME=value,OTHER=value`. The last one counts.
fn pair<'a>(pairs: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = pairs.split(',').rev().filter_map(|one| one.split_once('='));
    pairs
        .find(|(known, _)| known.trim() == name)
        .map(|(_, value)| value)
}

/// The variables that the templates in infra/ and Lambda set for the function of a stack, with
/// stand-ins.
const STACK_VARIABLES: [(&str, &str); 5] = [
    ("AMP_REGION", "us-east-1"),
    (
        "AMP_REMOTE_WRITE_URL",
        "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-0/api/v1/remote_write",
    ),
    ("AMP_WORKSPACE_ID", "ws-0"),
    ("AWS_LAMBDA_FUNCTION_NAME", "function"),
    ("SPOOL_URL", "s3://bucket/spool"),
];

/// The stand-in for a variable that a stack sets for its function.
pub(super) fn stand_in(name: &str) -> Option<&'static str> {
    let mut variables = STACK_VARIABLES.iter();
    variables
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// The environment of a stack's function, as far as another process can know it: stand-ins for the
/// variables that the stack sets, unless they are set here, too. The stack of many sites is
/// [`sites_stack_env`].
#[must_use]
pub fn stack_env(name: &str) -> Option<String> {
    config_env(name).or_else(|| stand_in(name).map(str::to_owned))
}

/// The environment of the function of a stack that serves many sites.
#[must_use]
pub fn sites_stack_env(name: &str) -> Option<String> {
    match name {
        "SPOOL_URL" => {
            config_env(name).or_else(|| Some("s3://bucket/sites/{site}/spool".to_owned()))
        }
        name => stack_env(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_variables() {
        let pairs = "SITE=attic, QUERY={a=\"b\"},EMPTY=,SITE=cellar,nothing";
        for (name, value) in [
            ("SITE", Some("cellar")),
            ("QUERY", Some("{a=\"b\"}")),
            ("EMPTY", Some("")),
            ("nothing", None),
            ("OTHER", None),
        ] {
            assert_eq!(pair(pairs, name), value, "{name}");
        }
        assert_eq!(pair("", "SITE"), None);
    }
}
