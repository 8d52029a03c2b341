"""`make deploy`, `invoke`, `logs`, `config` and `destroy` (infra/sam/stack.sh).

The AWS CLI talks to moto, and the real function answers invocations.
"""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from sam import ROOT, WORKSPACE
from test_watching import TARGET, TOOLS, staged

SCRIPTS = [ROOT / "infra/sam/stack.sh", ROOT / "infra/sam/lambda_json.py"]
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
  spool: {url: '${SPOOL_URL}'}
"""


class Front(http.server.ThreadingHTTPServer):
    """AWS as the CLI sees it: invocations reach the real function, everything else moto."""

    daemon_threads = True

    def __init__(self, moto, function):
        super().__init__(("127.0.0.1", 0), Handler)
        self.moto, self.function, self.invoked = moto.url, function, []
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        to = self.server.moto
        if self.path.startswith("/2015-03-31/functions/") and self.path.endswith("/invocations"):
            to = self.server.function
            self.server.invoked.append(json.loads(body))
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection", "expect", "accept-encoding")}
        request = urllib.request.Request(to + self.path, data=body or None, headers=headers, method=self.command)
        try:
            response = urllib.request.urlopen(request, timeout=120)
        except urllib.error.HTTPError as error:
            response = error
        content = b"" if self.command == "HEAD" else response.read()
        self.send_response(response.status)
        for key, value in response.headers.items():
            if key.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(key, value)
        self.send_header("Content-Length", response.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


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
    """A folder with a configuration, the script with its samconfig.toml, and the CLI on PATH."""
    folder = tmp_path / "sam"
    folder.mkdir()
    for script in SCRIPTS:
        shutil.copy(script, folder)
    (folder / "template.yaml").symlink_to(ROOT / "infra/sam/template.yaml")
    ec2 = moto.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    overrides = [f"VpcId={vpc}", f"SubnetIds={subnet}", "VpcCidr=10.0.0.0/16", "HomeCidr=192.0.2.10/32", "S3PrefixListId=pl-0123456789abcdef0",
                 f"WorkspaceId={WORKSPACE}", "Config=bucket", "ScheduleState=DISABLED"]
    (folder / "samconfig.toml").write_text(f"[default.deploy.parameters]\nparameter_overrides = {json.dumps(overrides)}\n")
    (tmp_path / "forwarder.yml").write_text(CONFIG)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "aws").symlink_to(TOOLS / "aws/bin/aws")
    (programs / "forwardctl").symlink_to(TARGET / "forwardctl")
    sam = programs / "sam"
    sam.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests/infra/mini_sam.py"} "$@"\n')
    sam.chmod(0o755)
    return tmp_path


def run(person, front, action, **settings):
    environment = {
        "PATH": f"{person / 'bin'}:{os.environ['PATH']}", "HOME": str(person), "AWS_ENDPOINT_URL": front.url, "AWS_ENDPOINT_URL_S3": front.moto, "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "STACK": person.name, "WATCH": "0s", **settings,
    }
    environment = {key: value for key, value in environment.items() if value is not None}
    return subprocess.run([person / "sam/stack.sh", action], cwd=person, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=300)


def state(moto, person):
    stack = moto.client("cloudformation").describe_stacks(StackName=person.name)["Stacks"][0]
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}["ScheduleState"]


def test_a_stack_from_deploy_to_destroy(person, front, moto):
    front.invoked.clear()
    done = run(person, front, "deploy", YES="1")
    assert done.returncode == 0, done.stderr
    # Check and dry run come before the schedule, which starts last.
    assert front.invoked == [{"action": "check"}, {"action": "forward", "dry_run": True}]
    assert done.stderr.index("== check") < done.stderr.index("== dry run") < done.stderr.index("the schedule is ENABLED")
    assert "samples a scrape, of which" in done.stderr and state(moto, person) == "ENABLED"
    outputs = {one["OutputKey"]: one["OutputValue"] for one in
               moto.client("cloudformation").describe_stacks(StackName=person.name)["Stacks"][0]["Outputs"]}
    uploaded = moto.client("s3").get_object(Bucket=outputs["SpoolBucketName"], Key="config/forwarder.yml")["Body"].read().decode()
    assert uploaded == CONFIG

    done = run(person, front, "invoke", ACTION="forward", JOBS="federate")
    report = json.loads(done.stdout)
    assert (done.returncode, report["outcome"], front.invoked[-1]) == (0, "ok", {"action": "forward", "jobs": ["federate"]}), done.stderr
    done = run(person, front, "invoke", ACTION="drian")
    assert done.returncode == 1 and "unknown action" in done.stdout

    before = moto.client("lambda").get_function_configuration(FunctionName=outputs["FunctionName"])["Description"]
    (person / "forwarder.yml").write_text(CONFIG + "# changed\n")
    done = run(person, front, "config")
    assert done.returncode == 0, done.stderr
    uploaded = moto.client("s3").get_object(Bucket=outputs["SpoolBucketName"], Key="config/forwarder.yml")["Body"].read().decode()
    assert uploaded.endswith("# changed\n")
    # A warm process would keep the old one.
    assert moto.client("lambda").get_function_configuration(FunctionName=outputs["FunctionName"])["Description"] != before
    (person / "forwarder.yml").write_text("scrape_configs: [{job_nmae: x}]\n")
    done = run(person, front, "config")
    assert done.returncode == 1 and "job_nmae" in done.stderr and "nothing was uploaded" in done.stderr

    stream = {"logGroupName": outputs["LogGroupName"], "logStreamName": "one"}
    moto.client("logs").create_log_stream(**stream)
    moto.client("logs").put_log_events(**stream, logEvents=[{"timestamp": int(time.time() * 1000), "message": "a tick"}])
    done = run(person, front, "logs")
    assert done.returncode == 0 and "a tick" in done.stdout, done.stderr

    done = run(person, front, "destroy", YES="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("the schedule is DISABLED") < done.stderr.index("== delete")
    assert not [one for one in moto.client("cloudformation").describe_stacks()["Stacks"] if one["StackName"] == person.name]


def test_the_script_reports_what_is_missing(person, front):
    done = run(person, front, "invoke")
    assert done.returncode == 1 and "there is no stack" in done.stderr and "make deploy" in done.stderr
    settings = person / "sam/samconfig.toml"
    settings.write_text(settings.read_text().replace("DISABLED", "ENABLED"))
    done = run(person, front, "deploy")
    assert done.returncode == 1 and "no ScheduleState=DISABLED" in done.stderr
    settings.unlink()
    done = run(person, front, "deploy")
    assert done.returncode == 1 and "samconfig.toml.example" in done.stderr
    done = run(person, front, "deploy", AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true")
    assert done.returncode == 1 and "AWS does not know you" in done.stderr and "aws sso login" in done.stderr
