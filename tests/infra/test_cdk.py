"""The CDK construct: its own tests, and its resources beside those of the SAM template, property by property."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from samcli.yamlhelper import yaml_parse

from sam import ROOT, SITE_TEMPLATE, Resolved, source
from test_template import CHOICES

SOURCE = ROOT / "infra/cdk"
TOOLS = pathlib.Path(os.environ["AMP_FORWARDER_TOOLS"])
# What fetch.sh installs from the lock file.
INSTALLED = TOOLS / "cdk/node_modules"

# The choices of test_template.py, and one that sets whatever those leave at its default. infra/cdk/test/choices.ts has them as props.
ALL_CHOICES = {**CHOICES, "all the rest": {
    "HomeCidr": "198.51.100.7/32", "HomePort": "9090", "OtherWorkspaceArns": "arn:aws:aps:us-east-1:123456789012:workspace/ws-1",
    "EndpointSubnetIds": "subnet-7", "CreateWorkspace": "true", "WorkspaceId": "", "WorkspaceRetentionDays": "30", "HomeAlerts": "true",
    "HomeJob": "attic", "RemoteWriteRoleArn": "arn:aws:iam::210987654321:role/write", "MemorySize": "256", "Timeout": "30",
    "ScheduleState": "ENABLED", "LogLevel": "WARN", "LogRetentionDays": "365", "RejectedDays": "7", "ExpiredDays": "9",
    "Environment": "SITE=attic,QUERY=a", "SecretObjectArns": "arn:aws:s3:::keys/password",
    "SecretKeyArns": "arn:aws:kms:us-east-1:123456789012:key/2",
    "SsmParameterArns": "arn:aws:ssm:us-east-1:123456789012:parameter/a,arn:aws:ssm:us-east-1:123456789012:parameter/b",
    "SecretArns": "arn:aws:secretsmanager:us-east-1:123456789012:secret:c", "LagAlarmSeconds": "600", "BacklogAlarmSeconds": "2400",
}}

# Where the two differ on purpose: (resource, path) and why. A row that no choice needs is an error.
DIFFERENCES = {
    ("Function", "Tags"): "SAM's transform marks what it made",
    ("FunctionEventInvokeConfig", "DestinationConfig"): "SAM's transform writes an empty one",
    ("HomeRules", "Name"): "a stack of CDK may hold several forwarders, so its name has the construct's path, too",
}


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The package as JavaScript, in a folder of its own: nothing is written into the tree."""
    run(ROOT / "tests/support/tools/fetch.sh", TOOLS, "cdk")
    folder = tmp_path_factory.mktemp("cdk")
    for name in ("lib", "example", "test", "tsconfig.json", "package.json"):
        (folder / name).symlink_to(SOURCE / name)
    (folder / "node_modules").symlink_to(INSTALLED)
    run("node", INSTALLED / "typescript/bin/tsc", "-p", folder, "--preserveSymlinks", "--rootDir", folder, "--outDir", folder / "dist")
    return folder


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="session")
def synthesized(compiled, site_folder):
    """Each choice's template. cdk-nag (AwsSolutions) and the library's own rules have found nothing in it."""
    folder = site_folder
    run("node", compiled / "dist/test/choices.js", folder)
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_its_own_tests(compiled):
    run("node", "--test", *sorted((compiled / "dist/test").glob("*.test.js")))


def test_the_lock_file_names_no_registry():
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


BY_IDS = {"vpcCidr": "10.20.0.0/16,10.21.0.0/16", "subnetIds": "subnet-00000001,subnet-00000002", "s3PrefixListId": "pl-00000001"}


def example(compiled, folder, **context):
    """The example app's template and manifest, as `cdk synth -c …` makes them."""
    zip_file, config = folder / "bootstrap.zip", folder / "forwarder.yml"
    zip_file.write_bytes(b"PK\x05\x06" + bytes(18))
    config.write_text("scrape_configs: []\n")
    context = {"zip": str(zip_file), "config": str(config), "vpcId": "vpc-00000001", "homeCidr": "192.0.2.10/32", "workspaceId": "ws-1",
               "email": "me@example.com", "@aws-cdk/core:validateAgainstDefaultRules": True, **context}
    environment = {**os.environ, "CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(folder / "out"),
                   "CDK_DEFAULT_ACCOUNT": "123456789012", "CDK_DEFAULT_REGION": "us-east-1"}
    run("node", compiled / "dist/example/app.js", env=environment, cwd=compiled)
    # SAM's stack has another name.
    return tuple(json.loads((folder / "out" / name).read_text()) for name in ("amp-forwarder-cdk.template.json", "manifest.json"))


def test_the_example_synthesizes(compiled, tmp_path):
    template, manifest = example(compiled, tmp_path, **BY_IDS, homePort="9090", s3RouteTableIds="rtb-00000001", egress="ipv6")
    assert "missing" not in manifest
    # The outputs that SAM's has under the same conditions, and the parameter that `make enable` sets. The configuration is an asset.
    ours = set(source()["Outputs"]) - {"EndpointSecurityGroupId", "ConfigUrl", "SitesUrl", "HomesPrefixListId", "SiteRoleArn", "SiteVerifySchedule", "SiteKeyArn"}
    assert set(template["Outputs"]) == ours
    assert template["Parameters"]["ScheduleState"]["Default"] == "DISABLED"
    text = json.dumps(template)
    assert '"FromPort": 9090' in text and "rtb-00000001" in text and "api.aws" in text
    template, _ = example(compiled, tmp_path, **BY_IDS)
    assert "EndpointSecurityGroupId" in template["Outputs"] and "10.21.0.0/16" in json.dumps(template)
    # What is not given is looked up in the account; until then there are dummies in its place, which no rule would pass.
    _, manifest = example(compiled, tmp_path, **{"@aws-cdk/core:validateAgainstDefaultRules": False})
    assert {one["provider"] for one in manifest["missing"]} == {"vpc-provider", "cc-api-provider"}
    # cdk.json runs the same program.
    assert json.loads((SOURCE / "cdk.json").read_text())["app"].endswith("dist/example/app.js")


def test_the_api_document_is_what_the_comments_say(compiled):
    made = run("node", SOURCE / "api.mjs", compiled / "dist/lib", "-")
    assert made == (SOURCE / "API.md").read_text(), "npm run api writes it again"
    # Something without a comment is an error.
    folder = compiled / "undocumented"
    shutil.copytree(compiled / "dist/lib", folder)
    declared = folder / "spool.d.ts"
    declared.write_text(declared.read_text().replace("/** Where the function's spool is in its bucket. */", ""))
    done = subprocess.run(["node", SOURCE / "api.mjs", folder, "-"], capture_output=True, text=True)
    assert done.returncode != 0 and "SPOOL_PREFIX has no comment" in done.stderr


APP = """
import { App, Stack } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { AmpForwarder, type AmpForwarderProps, Workspace } from 'amp-forwarder-cdk';

const app = new App();
const stack = new Stack(app, 'mine');
const props: AmpForwarderProps = {
  code: lambda.Code.fromAsset('bootstrap.zip'),
  vpc: { vpcId: 'vpc-00000001', cidr: '10.0.0.0/16', subnetIds: ['subnet-00000001'] },
  home: { cidr: '192.0.2.10/32' },
  s3PrefixListId: 'pl-00000001',
  workspace: Workspace.fromId('ws-1'),
};
new AmpForwarder(stack, 'Forwarder', props).outputs();
app.synth();
"""


def test_the_package_serves_another_app(compiled, tmp_path):
    package, app = tmp_path / "package", tmp_path / "app"
    shutil.copytree(compiled / "dist/lib", package / "dist/lib")
    # What must not be in it.
    shutil.copytree(compiled / "dist/test", package / "dist/test")
    for name in ("package.json", "README.md", "API.md"):
        shutil.copy(SOURCE / name, package / name)
    packed, = json.loads(run("npm", "pack", "--json", "--ignore-scripts", "--offline", "--pack-destination", tmp_path, cwd=package))
    names = {one["path"] for one in packed["files"]}
    assert {"API.md", "README.md", "package.json", "dist/lib/index.js", "dist/lib/index.d.ts"} <= names
    assert not [name for name in names if "test" in name or "example" in name], names
    installed = app / "node_modules/amp-forwarder-cdk"
    installed.mkdir(parents=True)
    with tarfile.open(tmp_path / packed["filename"]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    shutil.copytree(tmp_path / "unpacked/package", installed, dirs_exist_ok=True)
    manifest = json.loads((installed / "package.json").read_text())
    assert not manifest.get("private") and not manifest.get("dependencies")
    for name in manifest["peerDependencies"]:
        (app / "node_modules" / name).symlink_to(INSTALLED / name)
    (app / "node_modules/@types").symlink_to(INSTALLED / "@types")
    (app / "app.ts").write_text(APP)
    (app / "bootstrap.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (app / "tsconfig.json").write_text(json.dumps({"compilerOptions": {
        "module": "nodenext", "target": "es2023", "strict": True, "types": ["node"], "skipLibCheck": True}, "include": ["app.ts"]}))
    run("node", INSTALLED / "typescript/bin/tsc", "-p", app)
    run("node", "app.js", cwd=app, env={**os.environ, "CDK_OUTDIR": str(app / "out")})
    resources = json.loads((app / "out/mine.template.json").read_text())["Resources"]
    assert [one["Type"] for one in resources.values()].count("AWS::Lambda::Function") == 1


def test_the_metrics_are_those_that_the_function_emits():
    # rustfmt may break a line after the parenthesis and after each comma.
    metric = r'^ +\(\s*"(\w+)",\s*"(?:Count|Seconds|Milliseconds)",\s'
    emitted = re.findall(metric, (ROOT / "src/report/emf.rs").read_text(), re.MULTILINE)
    listed = re.findall(r"^  (\w+): '(?:Sum|Maximum)',", (SOURCE / "lib/metrics.ts").read_text(), re.MULTILINE)
    assert len(emitted) == 15 and listed == emitted


def test_both_have_the_same_choices(synthesized):
    assert set(synthesized) == set(ALL_CHOICES)


@pytest.mark.parametrize("choice", ALL_CHOICES)
def test_cdk_has_the_outputs_of_sam(choice, synthesized):
    resolved = Resolved(ALL_CHOICES[choice])
    assert set(synthesized[choice]["Outputs"]) == {name for name, one in source()["Outputs"].items() if resolved.holds(one.get("Condition"))}


@pytest.fixture(scope="session")
def differences(synthesized):
    """What differs between SAM and CDK, by choice."""
    return {choice: list(compare(sam(parameters), cdk(synthesized[choice]))) for choice, parameters in ALL_CHOICES.items()}


@pytest.mark.parametrize("choice", ALL_CHOICES)
def test_cdk_makes_what_sam_makes(choice, differences):
    unintended = [row for row in differences[choice] if row[:2] not in DIFFERENCES]
    assert not unintended, "\n".join(f"{name}.{path}: SAM {ours!r}, CDK {theirs!r}" for name, path, ours, theirs in unintended)


def test_each_intended_difference_is_one(differences):
    found = {row[:2] for rows in differences.values() for row in rows}
    assert set(DIFFERENCES) <= found


def test_a_changed_property_is_found(synthesized):
    changed = json.loads(json.dumps(synthesized["default"]).replace('"Timeout": 90', '"Timeout": 91').replace("spool/expired/", "spool/"))
    found = [row[:2] for row in compare(sam({}), cdk(changed)) if row[:2] not in DIFFERENCES]
    assert found == [("Function", "Timeout"), ("SpoolBucket", "LifecycleConfiguration.Rules.1.Prefix")]


SITE = {"Site": "tokyo", "FunctionArn": "<Function.Arn>", "FunctionRoleArn": "<FunctionRole.Arn>", "ScheduleGroupName": "<ScheduleGroup>",
        "ScheduleRoleArn": "<ScheduleRole.Arn>", "SharedStack": "stack", "ScheduleState": "ENABLED", "VerifySchedule": "cron(30 3 * * ? *)",
        "SpoolBucketArn": "<SpoolBucket.Arn>", "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
        "WriteWorkspaceArn": "arn:aws:aps:us-east-1:123456789012:workspace/ws-2"}


def test_a_site_of_cdk_is_a_site_of_sam(synthesized_site):
    """`addSite` makes what site.yaml makes, and the second of both comes from the name."""
    shared, theirs = synthesized_site
    start = theirs["Schedule"]["StartDate"]
    ours = resources(Resolved({**SITE, "Start": start}, yaml_parse(SITE_TEMPLATE.read_text())))
    # In a stack of its own, a site's schedule need not wait for the role's policy.
    for name in ("Schedule", "VerificationSchedule"):
        ours[name]["DependsOn"] = theirs[name]["DependsOn"]
    rows = list(compare(ours, theirs))
    assert not rows, "\n".join(f"{name}.{path}: SAM {one!r}, CDK {other!r}" for name, path, one, other in rows)
    second = run(sys.executable, ROOT / "infra/sam/lambda_json.py", "start", "tokyo").strip()[17:]
    assert start == f"2026-01-01T00:00:{second}"
    # Everything else is the shared stack's.
    assert sorted(name for name in shared if shared[name]["Type"] == "AWS::Scheduler::Schedule") == [
        "Site-atticSchedule", "Site-atticVerificationSchedule", "Site-tokyoSchedule", "Site-tokyoVerificationSchedule"]
    assert shared["Workspace"]["WorkspaceConfiguration"]["LimitsPerLabelSets"] == [
        {"LabelSet": [{"Name": "site", "Value": "tokyo"}], "Limits": {"MaxSeries": 50000}}]
    assert shared["Homes"]["Entries"] == [{"Cidr": "192.0.2.10/32", "Description": "tokyo"}]


@pytest.fixture(scope="session")
def synthesized_site(synthesized, site_folder):
    """All resources of a stack with two sites, and those of one of them by the names that site.yaml has."""
    shared = cdk(json.loads((site_folder / "sites/shared.json").read_text()))
    prefix = "Site-tokyo"
    text = json.dumps({name: one for name, one in shared.items() if name.startswith(prefix)}, default=sorted)
    own = json.loads(text.replace(prefix, ""))
    return shared, {name: {**one, "DependsOn": set(one["DependsOn"])} for name, one in own.items()}


def sam(parameters):
    return resources(Resolved(parameters))


def cdk(template):
    """The resources of a synthesized stack by the names that SAM has: a construct's path without what is above it, and without `Resource`."""
    text = json.dumps(template)
    for name, resource in template["Resources"].items():
        path = resource["Metadata"]["aws:cdk:path"].split("/")
        assert path[1] == "Forwarder", path
        text = text.replace(f'"{name}"', '"{}"'.format("".join(path[2:]).removesuffix("Resource")))
    # The library looks at the form of ids.
    text = re.sub(r'"(vpc|subnet|rtb|sg|pl)-0+(\d)"', r'"\1-\2"', text).replace("key/00000000-0000-0000-0000-000000000001", "key/1")
    template = json.loads(text)
    # It has no parameters but the bootstrap's version, which no resource refers to.
    return resources(Resolved(None, {**template, "Parameters": Resolved().template["Parameters"]}))


def resources(resolved):
    names = {name: resource["Type"] for name, resource in resolved.resources.items()}
    return {name: normal(resource, names) for name, resource in resolved.resources.items()}


def normal(resource, types):
    """A resource as it is compared."""
    depends = resource.get("DependsOn", [])
    properties = {key: shaped(key, value, types) for key, value in resource["Properties"].items()}
    return {
        "Type": resource["Type"],
        "DeletionPolicy": resource.get("DeletionPolicy", "Delete"),
        "UpdateReplacePolicy": resource.get("UpdateReplacePolicy", "Delete"),
        "DependsOn": {depends} if isinstance(depends, str) else set(depends),
        **properties,
    }


def shaped(key, value, types):
    """Values that mean the same look the same."""
    if isinstance(value, dict):
        return {name: shaped(name, inner, types) for name, inner in value.items()}
    if isinstance(value, list):
        items = [shaped(key, inner, types) for inner in value]
        # IAM takes one for a list of one, in any order.
        if key in ("Action", "Resource"):
            return items[0] if len(items) == 1 else sorted(items)
        # A map in two forms.
        return sorted(items, key=lambda item: item["Name"]) if key in ("Dimensions",) else items
    if isinstance(value, str):
        reference = re.fullmatch(r"<(\w+)>", value)
        # What `Ref` gives for a security group in a VPC.
        if reference and types.get(reference[1]) == "AWS::EC2::SecurityGroup":
            return f"<{reference[1]}.GroupId>"
        if key == "DashboardBody":
            return json.loads(value)
    return value


def compare(ours, theirs):
    for name in sorted(ours.keys() | theirs.keys()):
        yield from difference(name, "", ours.get(name), theirs.get(name))


def difference(name, path, ours, theirs):
    def under(key):
        return f"{path}.{key}".lstrip(".")

    if path == "DependsOn":
        # CDK waits for more, at times.
        if not ours <= theirs:
            yield name, path, ours, theirs
    elif isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from difference(name, under(key), ours.get(key), theirs.get(key))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs)):
            yield from difference(name, under(index), *pair)
    elif ours != theirs:
        yield name, path, ours, theirs
