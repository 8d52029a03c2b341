"""`make deploy`, `invoke`, `logs`, `config`, `enable` and `destroy` (infra/sam/stack.sh).

The AWS CLI and the SAM CLI talk to moto, and the real function answers invocations.
"""

import json
import subprocess
import time

import pytest

from checkout import Checkout
from front import Front
from sam import ROOT, WORKSPACE
from test_cdk import BY_IDS, compiled, example  # noqa: F401
from test_discover import Account
from test_guide import commands
from test_watching import staged

CONFIG = """
scrape_configs:
  - job_name: federate
    scrape_interval: 1m
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{__name__=~".+"}']}
    static_configs: [{targets: ['${HOME_ADDRESS:-192.0.2.10:30090}']}]
remote_write:
  - url: ${AMP_REMOTE_WRITE_URL}
    sigv4: {region: '${AMP_REGION}'}
forwarder:
  metrics: {enabled: false}
"""


@pytest.fixture(scope="module")
def front(moto, tmp_path_factory):
    spool = tmp_path_factory.mktemp("spool")
    config = tmp_path_factory.mktemp("config") / "forwarder.yml"
    config.write_text(CONFIG)
    environment = {"FORWARDER_CONFIG": str(config), "SPOOL_URL": f"file://{spool}", "AMP_REGION": "us-east-1"}
    with staged(environment, "--serve") as stage:
        yield Front(moto, stage["invoke"])


@pytest.fixture
def person(front, moto, tmp_path):
    """A folder as after `git clone`, with a configuration and a samconfig.toml."""
    person = Checkout(tmp_path, front)
    ec2 = moto.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    overrides = [f"VpcId={vpc}", f"SubnetIds={subnet}", "VpcCidr=10.0.0.0/16", "HomeCidr=192.0.2.10/32", "S3PrefixListId=pl-0123456789abcdef0",
                 f"WorkspaceId={WORKSPACE}", "Config=bucket", "AlarmEmail=me@example.com"]
    # It asks before each deployment, unless YES=1 says otherwise.
    lines = ["version = 0.1", "[default.deploy.parameters]", f'stack_name = "{tmp_path.name}"', 'region = "us-east-1"', "confirm_changeset = true"]
    person.settings.write_text("\n".join([*lines, f"parameter_overrides = {json.dumps(overrides)}", ""]))
    (tmp_path / "forwarder.yml").write_text(CONFIG)
    person.name = tmp_path.name
    front.invoked.clear()
    front.answers.clear()
    front.regions.clear()
    return person


def deploy(person, **settings):
    # As somebody does who has no compiler; another region in the environment changes nothing.
    return person.script("deploy", **{"ZIP": str(person.zip), "YES": "1", "AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-west-3", **settings})


def state(moto, person):
    stack = moto.client("cloudformation").describe_stacks(StackName=person.name)["Stacks"][0]
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}["ScheduleState"]


def outputs(moto, person):
    stack = moto.client("cloudformation").describe_stacks(StackName=person.name)["Stacks"][0]
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


def test_a_stack_from_deploy_to_destroy(person, front, moto):
    done = deploy(person)
    assert done.returncode == 0, done.stderr + done.stdout
    # The schedule starts last, after a tick by hand.
    assert front.invoked == [{"action": "check"}, {"action": "forward", "dry_run": True}, {"action": "forward"}]
    order = ["has the checksum", "note: the region is us-east-1", "== check", "== dry run", "== the first tick", "the schedule is ENABLED"]
    places = [done.stderr.index(text) for text in ["== check", "== dry run", "== the first tick", "the schedule is ENABLED"]]
    assert all(text in done.stderr for text in order) and places == sorted(places)
    assert front.regions == {"us-east-1"}, "one region, whatever the environment says"
    assert "samples a scrape, of which" in done.stderr and state(moto, person) == "ENABLED"
    assert "alarms do not reach me@example.com until the link" in done.stderr
    made = outputs(moto, person)
    assert moto.client("s3").get_object(Bucket=made["SpoolBucketName"], Key="config/forwarder.yml")["Body"].read().decode() == CONFIG

    # An upgrade leaves the schedule as it is, and replaces the processes that have the former configuration.
    before = moto.client("lambda").get_function_configuration(FunctionName=made["FunctionName"])["Description"]
    (person.folder / "forwarder.yml").write_text(CONFIG + "# changed\n")
    finding = {"subject": "remote amp", "ok": False, "warning": False, "message": "answered 403\x1b"}
    front.answers["check"] = {"ok": False, "findings": [finding]}
    done = deploy(person)
    assert done.returncode == 1 and "the schedule is still ENABLED" in done.stderr, done.stderr
    assert "FAIL remote amp: answered 403\ufffd\n" in done.stderr, done.stderr
    assert state(moto, person) == "ENABLED"
    assert moto.client("lambda").get_function_configuration(FunctionName=made["FunctionName"])["Description"] != before

    done = person.script("invoke", ACTION="forward", JOBS="federate")
    report = json.loads(done.stdout)
    assert (done.returncode, report["outcome"], front.invoked[-1]) == (0, "ok", {"action": "forward", "jobs": ["federate"]}), done.stderr
    done = person.script("invoke", ACTION="check")
    assert done.returncode == 0 and done.stdout == "FAIL remote amp: answered 403\ufffd\n", done.stdout
    done = person.script("env")
    assert done.returncode == 0, done.stderr
    exported = dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())
    wanted = f"https://aps-workspaces.us-east-1.amazonaws.com/workspaces/{WORKSPACE}/api/v1/remote_write"
    assert exported == {"AMP_REGION": "us-east-1", "AMP_REMOTE_WRITE_URL": wanted, "AMP_WORKSPACE_ID": WORKSPACE, "AWS_REGION": "us-east-1",
                        "SPOOL_URL": f"s3://{made['SpoolBucketName']}/spool"}
    done = person.script("invoke", ACTION="drian")
    assert done.returncode == 1 and "unknown action" in done.stdout

    (person.folder / "forwarder.yml").write_text("scrape_configs: [{job_nmae: x}]\n")
    done = person.script("config")
    assert done.returncode == 1 and "job_nmae" in done.stderr and "nothing was changed in AWS" in done.stderr

    stream = {"logGroupName": made["LogGroupName"], "logStreamName": "one"}
    moto.client("logs").create_log_stream(**stream)
    moto.client("logs").put_log_events(**stream, logEvents=[{"timestamp": int(time.time() * 1000), "message": "a tick"}])
    done = person.script("logs")
    assert done.returncode == 0 and "a tick" in done.stdout, done.stderr

    done = person.script("destroy", YES="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("the schedule is DISABLED") < done.stderr.index("== delete")
    assert not [one for one in moto.client("cloudformation").describe_stacks()["Stacks"] if one["StackName"] == person.name]


def test_only_a_good_check_starts_the_schedule(person, front, moto):
    front.answers["check"] = {"ok": False, "findings": []}
    done = deploy(person)
    assert done.returncode == 1 and "the check found problems" in done.stderr and "the schedule is still DISABLED" in done.stderr, done.stderr
    assert state(moto, person) == "DISABLED" and front.invoked == [{"action": "check"}]
    # Later, by hand: a tick comes first there, too.
    done = person.script("enable")
    assert done.returncode == 0 and state(moto, person) == "ENABLED", done.stderr
    assert front.invoked[-1] == {"action": "forward"}


def test_a_stack_of_many_homes_has_nothing_to_check_itself(person, front):
    text = person.settings.read_text().replace("HomeCidr=192.0.2.10/32", "Sites=true").replace('"Config=bucket", ', "")
    person.settings.write_text(text)
    done = deploy(person)
    assert done.returncode == 0 and "make site-add SITE=" in done.stderr, done.stderr
    assert front.invoked == []
    enabled = person.script("enable")
    assert enabled.returncode == 0 and "the schedule is ENABLED" in enabled.stderr, enabled.stderr
    assert front.invoked == []


def test_a_wrong_configuration_makes_no_stack(person, front, moto):
    (person.folder / "forwarder.yml").write_text(CONFIG.replace("job_name", "job_nmae"))
    done = deploy(person)
    assert done.returncode == 1 and "job_nmae" in done.stderr and "nothing was changed in AWS" in done.stderr, done.stderr
    (person.folder / "forwarder.yml").unlink()
    done = deploy(person)
    assert done.returncode == 1 and "there is no configuration at forwarder.yml" in done.stderr and "make discover TARGET=" in done.stderr, done.stderr
    assert not [one for one in moto.client("cloudformation").describe_stacks()["Stacks"] if one["StackName"] == person.name]


def test_a_first_creation_that_failed_is_made_again(person, front, moto):
    assert deploy(person).returncode == 0
    front.failed.add(person.name)
    done = deploy(person, YES=None)
    assert done.returncode == 1 and f"the first creation of {person.name} failed" in done.stderr and "this question needs an answer" in done.stderr, done.stderr
    done = deploy(person)
    assert done.returncode == 0 and state(moto, person) == "ENABLED" and not front.failed, done.stderr


def test_without_a_compiler_a_released_zip_is_named(person):
    done = person.run("make", "deploy", YES="1", CARGO="cargo")
    assert done.returncode != 0 and "make deploy ZIP=bootstrap.zip" in done.stderr, done.stderr
    # What is missing besides is said before anything is compiled.
    person.settings.unlink()
    done = person.run("make", "deploy", YES="1", CARGO="true")
    assert done.returncode != 0 and "make discover writes it" in done.stderr and "true lambda" not in done.stdout, done.stderr


@pytest.mark.parametrize(("line", "value"), [
    ('parameter_overrides = ["VpcId=vpc-1", "Config=bucket"]', "bucket"), ('  "Config=s3://a/b.yml",', "s3://a/b.yml"), ('  # "Config=bucket",', ""),
    (r'parameter_overrides = "VpcId=\"vpc-1\" Config=\"bucket\" HomePort=\"1\""', "bucket"), ('parameter_overrides = "Config=bucket VpcId=vpc-1"', "bucket"),
    ('"OtherConfig=bucket"', ""), ("", ""),
])
def test_a_parameter_in_any_form_of_samconfig(line, value, tmp_path):
    (tmp_path / "samconfig.toml").write_text(f"[default.deploy.parameters]\n{line}\n")
    common = ROOT / "infra/sam/common.sh"
    done = subprocess.run(["bash", "-euc", f"here=. settings={tmp_path}/samconfig.toml; . {common}; override Config"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, value), done.stderr


def test_the_guide_to_the_letter(front, moto, tmp_path):
    """The first commands of infra/README.md in a new folder, by somebody who has no compiler and no forwardctl."""
    front.invoked.clear()
    front.answers.clear()
    export, discover, make = commands()
    region = export.removeprefix("export AWS_REGION=")
    account = Account(moto, region)
    account.vpc(home="192.168.10.0/24")
    account.workspace()
    person = Checkout(tmp_path, front, region=None, forwardctl=False)
    started = time.monotonic()
    done = person.run("bash", "-ec", "\n".join([export, discover, f"{make} ZIP=bootstrap.zip"]), YES="1")
    print(f"{time.monotonic() - started:.0f} s")
    assert done.returncode == 0, done.stderr + done.stdout
    assert front.invoked == [{"action": "check"}, {"action": "forward", "dry_run": True}, {"action": "forward"}]
    stack, = moto.client("cloudformation", region=region).describe_stacks(StackName="amp-forwarder")["Stacks"]
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    assert (stack["StackStatus"], parameters["ScheduleState"], parameters["HomeCidr"]) == ("UPDATE_COMPLETE", "ENABLED", "192.168.10.11/32")


def test_the_commands_work_with_a_stack_of_cdk(front, moto, compiled, tmp_path):  # noqa: F811
    """The example app of infra/cdk, with its own stack's name."""
    front.invoked.clear()
    front.answers.clear()
    app = tmp_path / "app"
    app.mkdir()
    template, _ = example(compiled, app, **BY_IDS)
    # moto takes the value of this parameter for the name of another one at an update.
    del template["Parameters"]["BootstrapVersion"], template["Rules"]
    ec2 = moto.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    text = json.dumps(template).replace("vpc-00000001", vpc)
    for number in (1, 2):
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24")["Subnet"]["SubnetId"]
        text = text.replace(f"subnet-0000000{number}", subnet)
    # What `cdk deploy` uploads.
    code, = (one["Properties"]["Code"] for one in template["Resources"].values() if one["Type"] == "AWS::Lambda::Function")
    moto.client("s3").create_bucket(Bucket=code["S3Bucket"])
    moto.client("s3").put_object(Bucket=code["S3Bucket"], Key=code["S3Key"], Body=b"PK\x05\x06" + bytes(18))
    moto.client("cloudformation").create_stack(StackName="amp-forwarder-cdk", TemplateBody=text, Capabilities=["CAPABILITY_IAM"])
    person = Checkout(tmp_path / "person", front, forwardctl=False)
    person.name = "amp-forwarder-cdk"
    assert state(moto, person) == "DISABLED"
    done = person.run("make", "enable", "STACK=amp-forwarder-cdk")
    assert (done.returncode, state(moto, person), front.invoked) == (0, "ENABLED", [{"action": "forward"}]), done.stderr
    done = person.run("make", "invoke", "STACK=amp-forwarder-cdk", "ACTION=status")
    assert done.returncode == 0 and "samples" in done.stdout, done.stderr
    done = person.run("make", "disable", "STACK=amp-forwarder-cdk")
    assert (done.returncode, state(moto, person)) == (0, "DISABLED"), done.stderr


def test_the_script_reports_what_is_missing(person, front):
    done = person.script("invoke")
    assert done.returncode == 1 and "there is no stack" in done.stderr and "make deploy" in done.stderr
    (person.folder / "bootstrap.zip.sha256").write_text("0" * 64 + "  bootstrap.zip\n")
    done = deploy(person)
    assert done.returncode == 1 and "is not what was released" in done.stderr
    (person.folder / "bootstrap.zip.sha256").unlink()
    done = deploy(person)
    assert done.returncode == 1 and "has no checksum" in done.stderr
    settings = person.settings.read_text()
    person.settings.write_text(settings.replace('"Config=bucket", ', ""))
    done = deploy(person, SHA256="0" * 64)
    assert done.returncode == 1 and "is not what was released" in done.stderr
    person.settings.write_text(settings.replace('"Config=bucket"', '"ScheduleState=DISABLED"'))
    done = deploy(person)
    assert done.returncode == 1 and "ScheduleState is set in" in done.stderr
    person.settings.unlink()
    done = deploy(person)
    assert done.returncode == 1 and "make discover writes it" in done.stderr
    done = deploy(person, AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true")
    assert done.returncode == 1 and "AWS does not accept your credentials" in done.stderr and "aws sso login" in done.stderr
