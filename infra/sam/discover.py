#!/usr/bin/env python3
"""`make discover`: finds what a deployment needs in the account, and writes infra/sam/samconfig.toml.

It asks AWS with the AWS CLI (1 or 2) and your own credentials, changes nothing there, and asks you only what is ambiguous.
Settings come from the environment: CONFIG (forwarder.yml), TARGET=192.0.2.10:9090 (writes a forwarder.yml that is not there
yet), EMAIL, VPC, SUBNETS=a,b, WORKSPACE=ws-… or new, EGRESS, HOME_CIDR, STACK, YES=1 (no questions).
"""

import json
import os
import pathlib
import sys

from aws import Aws, AwsError, region
from cost import monthly
from home import Home, HomeError, one_target
from network import Network, NetworkError

HERE = pathlib.Path(__file__).resolve().parent
SETTINGS = HERE / "samconfig.toml"
EXAMPLE = HERE.parent / "forwarder.example.yml"
EXAMPLE_TARGET = "192.0.2.10:30090"


def die(problem, *hints):
    print(f"error: {problem}", *(f"  {hint}" for hint in hints), sep="\n", file=sys.stderr)
    sys.exit(1)


def say(*lines):
    print(*lines, sep="\n", file=sys.stderr)


def choose(what, variable, options):
    """One of several; the person says which. `options` are (value, text)."""
    named = os.environ.get(variable)
    if named:
        return named if named in [value for value, _ in options] else die(f"{variable}={named} is none of them", *(text for _, text in options))
    if len(options) == 1:
        return options[0][0]
    texts = [f"{number}. {text}" for number, (_, text) in enumerate(options, 1)]
    if os.environ.get("YES") == "1" or not sys.stdin.isatty():
        die(f"there are several {what}: say which with {variable}=…", *texts)
    say(f"There are several {what}:", *texts)
    while True:
        answer = input(f"Which one? [1-{len(options)}] ")
        if answer.isdigit() and 1 <= int(answer) <= len(options):
            return options[int(answer) - 1][0]


def email():
    if "EMAIL" in os.environ or os.environ.get("YES") == "1" or not sys.stdin.isatty():
        return os.environ.get("EMAIL", "")
    return input("E-mail address for alarms (empty: none): ").strip()


def home():
    """What forwarder.yml says, and the text of a new one if there is none yet. It is written at the end, with the rest."""
    path = pathlib.Path(os.environ.get("CONFIG") or "forwarder.yml")
    target = os.environ.get("TARGET")
    if path.exists():
        found = Home(path.read_text(encoding="utf-8"))
        if target and one_target(target) not in found.targets:
            die(f"{path} exists already, and scrapes {', '.join(found.targets)}, not {target}", "change its target there, or leave TARGET away")
        return found, path, None
    if not target and sys.stdin.isatty() and os.environ.get("YES") != "1":
        target = input("Address of the home Prometheus (host:port): ").strip()
    if not target:
        die(f"there is no {path}", "TARGET=192.0.2.10:9090 make discover writes one; or forwardctl import prometheus.yml --output forwarder.yml")
    text = EXAMPLE.read_text(encoding="utf-8").replace(EXAMPLE_TARGET, one_target(target))
    return Home(text), path, text


def workspaces(aws):
    """The workspace to write to, or None for a new one; and the others of this region, which the VPC may be using."""
    found = [one for one in aws("amp", "list-workspaces").get("workspaces", []) if one["status"]["statusCode"] in ("ACTIVE", "UPDATING", "CREATING")]
    options = [(one["workspaceId"], f"{one['workspaceId']} {one.get('alias', '')}".strip()) for one in found]
    if not found or os.environ.get("WORKSPACE") == "new":
        return None, [one["arn"] for one in found]
    chosen = choose("workspaces", "WORKSPACE", options + ([] if len(options) == 1 else [("new", "a new one")]))
    chosen = None if chosen == "new" else chosen
    return chosen, [one["arn"] for one in found if one["workspaceId"] != chosen]


def partition(aws):
    return "aws-cn" if aws.region.startswith("cn-") else "aws-us-gov" if aws.region.startswith("us-gov-") else "aws"


def names(found, aws, account):
    """Parameters for what forwarder.yml names in Systems Manager, Secrets Manager and S3."""
    arn = f"arn:{partition(aws)}:{{}}:{aws.region}:{account}:{{}}"
    kinds = {
        "SsmParameterArns": [one if one.startswith("arn:") else arn.format("ssm", "parameter/" + one.lstrip("/")) for one in found.parameters],
        # Secrets Manager adds six characters to a name.
        "SecretArns": [arn.format("secretsmanager", f"secret:{one}-??????") for one in found.secrets],
        "SecretObjectArns": [f"arn:{partition(aws)}:s3:::{one}" for one in found.objects],
    }
    return {name: ",".join(arns) for name, arns in kinds.items() if arns}


def services(found, egress):
    """Interface endpoints for what the configuration needs besides AMP and S3. Any other egress leads there, too."""
    if egress != "endpoint":
        return {}
    needed = {"StsEndpoint": found.role, "SsmEndpoint": found.parameters, "SecretsManagerEndpoint": found.secrets}
    return {name: "true" for name, wanted in needed.items() if wanted}


def written(aws, account, found, network, workspace, others, address):
    """The lines of samconfig.toml: (parameter, value, comment)."""
    rows = [
        ("VpcId", network.vpc, network.why),
        ("SubnetIds", ",".join(network.subnets), "Their routes lead to the home: " + network.way),
        ("VpcCidr", ",".join(network.cidrs), "All ranges of the VPC"),
        ("HomeCidr", str(found.cidr), "From the targets of forwarder.yml"),
        ("HomePort", str(found.port), None),
        ("S3PrefixListId", network.s3_prefix_list, None),
    ]
    if network.s3_tables:
        rows.append(("S3RouteTableIds", ",".join(network.s3_tables), "They have no S3 gateway endpoint, and get one (free)"))
    rows.append(("Egress", network.egress, network.egress_why))
    if network.endpoint_group:
        rows.append(("ApsEndpointSecurityGroupId", network.endpoint_group, "The security group of that endpoint"))
        arn = f"arn:{partition(aws)}:aps:{aws.region}:{account}:workspace/{workspace}"
        if not workspace:
            network.notes.append(f"the policy of the endpoint {network.endpoint_id} must admit the new workspace, once it is there: OtherWorkspaceArns of the stack that made it")
        elif not network.admits(arn):
            network.notes.append(f"the policy of the endpoint {network.endpoint_id} does not admit {arn}: name it in the OtherWorkspaceArns of the stack that made the endpoint, "
                                 "or in its policy; until then AMP answers 403")
    elif network.egress == "endpoint":
        rows.append(("EndpointSubnetIds", network.subnets[0], "One zone is enough for a home; each is billed"))
        if others:
            rows.append(("OtherWorkspaceArns", ",".join(others), "Private DNS leads the whole VPC through the endpoint: the other workspaces go on working"))
    for name, value in {**services(found, network.egress), **names(found, aws, account)}.items():
        rows.append((name, value, "forwarder.yml names it"))
    if found.role:
        rows.append(("RemoteWriteRoleArn", found.role, "The sigv4.role_arn of forwarder.yml"))
    rows.append(("WorkspaceId", workspace, None) if workspace else ("CreateWorkspace", "true", "It is kept when the stack is deleted"))
    rows.append(("HomeJob", found.job, None))
    rows.append(("Config", "bucket", "forwarder.yml is uploaded to the spool's bucket; `make config` changes it"))
    if address:
        rows.append(("AlarmEmail", address, "Open the link in the mail that AWS sends there"))
    return rows


def toml(rows, aws, stack, labels):
    quoted = [(json.dumps(f"{name}={value}"), comment) for name, value, comment in rows]
    lines = ["# Written by `make discover`. It is yours: change what you like, and run `make deploy`.", "version = 0.1", "", "[default.deploy.parameters]",
             f'stack_name = "{stack}"', f'region = "{aws.region}"', 'capabilities = "CAPABILITY_IAM"',
             "# The zip goes through a bucket that sam keeps for such.", "resolve_s3 = true", 'tags = ["project=amp-forwarder"]', "parameter_overrides = ["]
    for text, comment in quoted:
        lines += [f"  # {comment}."] if comment else []
        lines.append(f"  {text},")
    if labels:
        matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
        selector = json.dumps("HomeSelector=" + matchers)
        lines += ["  # Alerts in the workspace when the home stops reporting, also when several homes write to it.", '  # "HomeAlerts=true",', f"  # {selector},"]
    return "\n".join([*lines, "]", ""])


def main():
    try:
        discover()
    except (AwsError, HomeError, NetworkError) as error:
        die(*error.args)


def discover():
    found, path, text = home()
    aws = Aws(region())
    account = aws("sts", "get-caller-identity")["Account"]
    say(f"account {account}, {aws.region}; home {found.cidr}, port {found.port}, job {found.job}")
    network = Network(aws, found.cidr, choose)
    workspace, others = workspaces(aws)
    rows = written(aws, account, found, network, workspace, others, email())
    if text:
        path.write_text(text, encoding="utf-8")
        say(f"wrote {path}: it scrapes /federate of {found.targets[0]}")
    stack = os.environ.get("STACK") or "amp-forwarder"
    if SETTINGS.exists():
        SETTINGS.replace(SETTINGS.with_suffix(".toml.old"))
        say(f"the former {SETTINGS} is {SETTINGS.name}.old now")
    SETTINGS.write_text(toml(rows, aws, stack, {"job": found.job, **found.labels}), encoding="utf-8")
    say(f"\nwrote {SETTINGS}:", *(f"  {name:<27} {value}" for name, value, _ in rows))
    say("", *(f"note: {note}" for note in [*found.notes, *network.notes]))
    say("make deploy makes: a function and its role, a schedule (off until the check is content), a bucket, alarms, a dashboard"
        + ("" if network.endpoint_group or network.egress != "endpoint" else ", an interface endpoint for AMP")
        + (", an S3 gateway endpoint" if network.s3_tables else "") + ("" if workspace else ", an AMP workspace") + ".")
    say(*monthly(aws.region, network.egress == "endpoint" and not network.endpoint_group, len(services(found, network.egress)), found.interval))


if __name__ == "__main__":
    main()
