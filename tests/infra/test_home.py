"""What runs at home: the service, its image, and the command line beside AWS."""

import datetime
import json
import os
import pathlib
import re
import subprocess

import pytest

from sam import ROOT, WORKSPACE

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
SYSTEMD_ANALYZE = pathlib.Path(os.environ["AMP_FORWARDER_TOOLS"]) / "systemd-analyze/systemd-analyze"
SERVICE = ROOT / "infra/home/amp-forwarder.service"
DOCKERFILE = (ROOT / "infra/home/Dockerfile").read_text()


def forwardctl(*arguments, **environment):
    return subprocess.run([TARGET / "forwardctl", *arguments], capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true", **environment})


@pytest.fixture
def workspace(moto, tmp_path):
    """A configuration whose remote is a workspace of which CloudWatch at moto counts what it discards."""
    config = (ROOT / "infra/forwarder.example.yml").read_text()
    for name, value in {"AMP_REMOTE_WRITE_URL": f"https://aps-workspaces.us-east-1.amazonaws.com/workspaces/{WORKSPACE}/api/v1/remote_write",
                        "AMP_REGION": "us-east-1", "SPOOL_URL": f"file://{tmp_path}/spool"}.items():
        config = config.replace(f"${{{name}}}", value)
    path = tmp_path / "forwarder.yml"
    path.write_text(config)
    environment = {"AWS_ENDPOINT_URL": moto.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    return lambda *arguments: forwardctl("--config", str(path), *arguments, **environment)


def discarded(moto, workspace, reason, samples, hours):
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=hours)
    moto.client("cloudwatch").put_metric_data(Namespace="AWS/Prometheus", MetricData=[{
        "MetricName": "DiscardedSamples", "Value": samples, "Timestamp": at,
        "Dimensions": [{"Name": "Workspace", "Value": workspace}, {"Name": "Reason", "Value": reason}]}])


def test_status_shows_what_amp_has_discarded_by_reason(moto, workspace):
    answer = json.loads(workspace("status", "--online", "--json").stdout)
    assert [(one["workspace"], one["reasons"]) for one in answer["discarded"]] == [(WORKSPACE, [])]
    for reason, samples, hours in [("sample_out_of_order", 7, 1), ("sample_out_of_order", 5, 2), ("per_user_series_limit", 40, 3),
                                   ("sample_out_of_order", 1000, 30)]:
        discarded(moto, WORKSPACE, reason, samples, hours)
    discarded(moto, "ws-other", "rate_limited", 9, 1)
    done = workspace("status", "--online", "--json")
    assert done.returncode == 0, done.stderr
    found, = json.loads(done.stdout)["discarded"]
    assert [(one["reason"], one["samples"]) for one in found["reasons"]] == [("per_user_series_limit", 40), ("sample_out_of_order", 12)]
    shown = workspace("status", "--online").stdout
    assert "discarded by AMP in 1d" in shown and re.search(r"per_user_series_limit +40 +too many series", shown), shown
    found, = json.loads(workspace("status", "--online", "--last", "2d", "--json").stdout)["discarded"]
    assert {one["reason"]: one["samples"] for one in found["reasons"]}["sample_out_of_order"] == 1012


def test_without_permission_it_says_which_one_is_missing(moto, workspace):
    moto.enforce(True)
    try:
        done = workspace("status", "--online")
    finally:
        moto.enforce(False)
    assert done.returncode == 1 and "cloudwatch:ListMetrics and cloudwatch:GetMetricData" in done.stdout, done.stdout


def test_the_service_is_one_and_needs_little(tmp_path):
    # As on a machine where the program and its pages are installed.
    text = SERVICE.read_text().replace("/usr/bin/forwardctl", str(TARGET / "forwardctl"))
    text = re.sub(r"^Documentation=.*$", "", text, flags=re.M)
    installed = tmp_path / "amp-forwarder.service"
    installed.write_text(text)
    verified = subprocess.run([SYSTEMD_ANALYZE, "verify", installed], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stderr
    judged = subprocess.run([SYSTEMD_ANALYZE, "security", "--offline=yes", "--no-pager", "--threshold=15", installed], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("line", re.findall(r"^(?:ExecStart|CMD|ENTRYPOINT).*$", SERVICE.read_text() + DOCKERFILE, re.M))
def test_service_and_image_start_what_there_is(line):
    options = set(re.findall(r"--[a-z-]+", line))
    known = set(re.findall(r"--[a-z-]+", forwardctl("run", "--help").stdout))
    assert options <= known, options - known


def test_the_image_is_built_of_what_the_tree_has():
    features = re.search(r"--no-default-features --features ([a-z,]+)", DOCKERFILE).group(1).split(",")
    manifest = (ROOT / "Cargo.toml").read_text()
    assert all(re.search(rf"^{feature} = \[", manifest, re.M) for feature in features)
    wanted = re.search(r'^rust-version = "([0-9.]+)"', manifest, re.M).group(1)
    assert f"FROM rust:{wanted}-" in DOCKERFILE
