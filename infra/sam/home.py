"""What the deployment needs to know of a forwarder.yml: the home's addresses, its job, and what else it names.

Only the standard library of Python 3.9: no YAML parser comes with macOS or CloudShell. What this reads is no more than
lists of targets and a few names; the function's own check reads the file as a whole.
"""

import ipaddress
import os
import re
import socket

# An item of a list, in brackets or with dashes, with or without quotes.
TARGETS = re.compile(r"^[ \t-]*(?:static_configs:[ \t]*\[[ \t]*\{[ \t]*)?targets:[ \t]*(?:\[([^\]]*)\]|((?:[ \t]*(?:#[^\n]*)?\n[ \t]*-[ \t]+[^\n]+)+))", re.MULTILINE)
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")


class HomeError(Exception):
    """Something that a person must say."""


def expand(text, env):
    def value(match):
        found = env.get(match[1]) or match[2]
        if found is None:
            raise HomeError(f"forwarder.yml takes its target from ${{{match[1]}}}, which is not set here", f"{match[1]}=192.0.2.10 make discover")
        return found

    return VARIABLE.sub(value, text)


def without_comments(text):
    """The lines that say something."""
    return re.sub(r"\n\s*\n", "\n", re.sub(r"(^|\s)#[^\n]*", r"\1", text))


def targets(text, env=os.environ):
    """The targets of all jobs, host:port, in the order of the file."""
    found = []
    # Remotes have no targets; a list of remote_write may still hold that word in a relabel rule, which TARGETS does not match.
    for inline, block in TARGETS.findall(without_comments(text)):
        items = inline.split(",") if inline else re.findall(r"^[ \t]*-[ \t]+(.+)$", block, re.MULTILINE)
        found += [expand(item.strip().strip("'\""), env) for item in items if item.strip()]
    return list(dict.fromkeys(found))


def split(target, text):
    """Host and port of a target; a port that is not named follows from the scheme."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:/\s]+))(?::(\d+))?", target)
    if not match:
        raise HomeError(f"the target {target!r} is no host:port")
    default = 443 if re.search(r"^\s*scheme:\s*['\"]?https", text, re.MULTILINE) else 80
    return match[1] or match[2], int(match[3] or default)


def one_target(text):
    """host:port as a person gives it in TARGET."""
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:/\s]+):\d{1,5}", text):
        raise HomeError(f"TARGET={text} is not host:port", "as in TARGET=192.0.2.10:9090: without http://, with the port, without a path")
    return text


def addresses(host):
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            found = sorted({ipaddress.ip_address(one[4][0]) for one in socket.getaddrinfo(host, None, socket.AF_INET)})
        except OSError as error:
            raise HomeError(f"the target {host} is a name that is not known here ({error})", "give its addresses: HOME_CIDR=192.0.2.10/32; the VPC must know the name, "
                            "too (infra/README.md, The home's side)") from error
    if any(address.is_loopback or address.is_unspecified for address in found):
        raise HomeError(f"the target {host} is this machine itself", "the function needs the address that the home Prometheus has behind the VPN")
    return found


def is_address(host):
    return bool(re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:]*", host))


def network(hosts):
    """The narrowest network with all of these addresses."""
    found = [address for host in hosts for address in addresses(host)]
    if any(address.version != 4 for address in found):
        raise HomeError("the templates know the home by IPv4 only")
    narrow = ipaddress.ip_network(found[0])
    while not all(address in narrow for address in found):
        narrow = narrow.supernet()
    return narrow


def named_network(text):
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise HomeError(f"HOME_CIDR={text} is no IPv4 network: {error}", "as in HOME_CIDR=192.0.2.10/32, or 192.0.2.8/29 for several addresses") from error


class Home:
    """The home Prometheus as forwarder.yml names it."""

    def __init__(self, text, env=os.environ):
        named = targets(text, env)
        if not named:
            raise HomeError("forwarder.yml names no target", "it needs static_configs: [{targets: ['192.0.2.10:9090']}] in a job of scrape_configs")
        self.targets = named
        pairs = [split(target, text) for target in named]
        hosts = [host for host, _ in pairs]
        self.notes = [f"the target {host} is a name: the VPC's own resolver must know it (infra/README.md, The home's side)" for host in hosts if not is_address(host)]
        ports = sorted({port for _, port in pairs})
        if len(ports) > 1:
            raise HomeError(f"the targets have the ports {ports}, and a stack opens one: put the others into a stack of their own")
        self.port = ports[0]
        self.cidr = named_network(env["HOME_CIDR"]) if env.get("HOME_CIDR") else network(hosts)
        text = without_comments(text)
        job = re.search(r"^[ \t-]*job_name:[ \t]*['\"]?([^'\"\n]+?)['\"]?[ \t]*$", text, re.MULTILINE)
        self.job = job[1] if job else "federate"
        self.labels = external_labels(text)
        interval = re.search(r"^\s*scrape_interval:\s*['\"]?(\w+)", text, re.MULTILINE)
        self.interval = interval[1] if interval else "1m"
        self.parameters = sorted(set(re.findall(r"(?<!\$)\$\{ssm:([^}]+)\}", text)))
        self.secrets = sorted({one.split(":")[0] for one in re.findall(r"(?<!\$)\$\{secretsmanager:([^}]+)\}", text) if not one.startswith("arn:")})
        self.objects = sorted(set(re.findall(r"_file:[ \t]*['\"]?s3://([^'\"\s}]+)", text)))
        role = re.search(r"role_arn:[ \t]*['\"]?(arn:[^'\"\s}]+)", text)
        self.role = role[1] if role else None


def external_labels(text):
    inline = re.search(r"external_labels:[ \t]*\{([^}]*)\}", text)
    if inline:
        pairs = inline[1].split(",")
    else:
        block = re.search(r"external_labels:[ \t]*\n((?:[ \t]+\w+:[ \t]*[^\n]+\n)+)", text)
        pairs = block[1].splitlines() if block else []
    split_pairs = [pair.split(":", 1) for pair in pairs if ":" in pair]
    # Replica labels do not reach AMP.
    return {name.strip(): value.strip().strip("'\"") for name, value in split_pairs if not name.strip().startswith("__") and "$" not in value}
