"""Alarms and dashboards watch what the function emits and what the receiver has."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import urllib.parse
import urllib.request

import pytest

from sam import ROOT, Resolved, WORKSPACE, yaml_parse

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
TOOLS = pathlib.Path(os.environ.get("AMP_FORWARDER_TOOLS", ROOT / "build/tools"))
EXAMPLE = (ROOT / "infra/forwarder.example.yml").read_text()
DASHBOARD = json.loads((ROOT / "infra/dashboards/home.json").read_text())

# What AWS emits by itself: Lambda developer guide, "Types of metrics for Lambda functions"; Amazon Managed Service for Prometheus user guide,
# "Use CloudWatch metrics to monitor resources". FunctionName and Workspace are dimensions of theirs.
BY_AWS = {("AWS/Lambda", name, ("FunctionName",)) for name in ("Invocations", "Errors", "Throttles", "Duration")}
# It has a value only when samples stay at home. test_cdk compares its name with the source.
SELDOM = {("AmpForwarder", "AtHomeOnly", ("FunctionName",))}
QUERY = re.compile(r"""SELECT SUM\(DiscardedSamples\) FROM "AWS/Prometheus" WHERE Workspace = 'ws-[0-9-]+' GROUP BY Reason( ORDER BY SUM\(\) DESC)?""")


@contextlib.contextmanager
def staged(environment, *flags):
    """The function between two real Prometheus servers (tests/support/src/bin/stage.rs), for two ticks."""
    command = [TARGET / "stage", "--function", TARGET / "amp-forwarder"]
    command += [*flags, *(f"--env={name}={value}" for name, value in environment.items())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            yield json.loads(line) if line else pytest.fail(process.stderr.read())
        finally:
            process.stdin.close()
            process.wait(30)


@pytest.fixture(scope="module")
def stage(moto, stack):
    """As the stack deploys it: its environment, its role, the configuration in its bucket; moto asks for permissions."""
    function = moto.client("lambda").get_function_configuration(FunctionName=stack.id("Function"))
    # The home of this stage in place of the example's, and more scrapes in less time; shorter ones time out on a busy machine.
    config = EXAMPLE.replace("192.0.2.10:30090", "${HOME_ADDRESS}").replace("15s", "4s")
    # A tick here has eight seconds: the default margin would leave one for the last sends.
    config = config.replace("forwarder:\n", "forwarder:\n  deadline_margin: 500ms\n")
    assert config.count("${HOME_ADDRESS}") == config.count("4s") == config.count("deadline_margin") == 1
    moto.client("s3").put_object(Bucket=stack.outputs["SpoolBucketName"], Key="config/forwarder.yml", Body=config.encode())
    credentials = stack.role_credentials()
    environment = {
        **function["Environment"]["Variables"], "AWS_LAMBDA_FUNCTION_NAME": stack.id("Function"), "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"], "AWS_ENDPOINT_URL_S3": moto.url,
        # The highest: what it keeps, every level keeps.
        "AWS_LAMBDA_LOG_LEVEL": "ERROR",
    }
    moto.enforce(True)
    try:
        with staged(environment) as stage:
            yield stage
    finally:
        moto.enforce(False)


@pytest.fixture(scope="module")
def emitted(stage, stack):
    """(namespace, metric, names of dimensions) of each metric, as the function wrote them."""
    found = set()
    for line in stage["metrics"]:
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for dimensions in directive["Dimensions"]:
                assert all(line[name] for name in dimensions)
                found |= {(directive["Namespace"], metric["Name"], tuple(dimensions)) for metric in directive["Metrics"] if metric["Name"] in line}
        assert line["FunctionName"] == stack.id("Function")
    return found


@pytest.fixture(scope="module")
def resolved():
    return Resolved({"AlarmEmail": "me@example.com"})


def test_the_deployed_role_and_configuration_carry_a_tick(stage):
    assert [report["outcome"] for report in stage["reports"]] == ["ok", "ok"], stage["reports"]
    assert all(report["ledger"]["written"] > 500 for report in stage["reports"])


def test_metrics_survive_the_highest_log_level(stage):
    assert len(stage["metrics"]) == 2
    # With JSON logs, Lambda drops a line whose level is below the one set, and takes one without a level for INFO.
    assert {line["level"] for line in stage["metrics"]} == {"ERROR"}


def test_at_most_ten_metrics(emitted):
    assert len(emitted) == 10, emitted


def test_each_alarm_watches_what_is_there(resolved, emitted):
    alarms = resolved.of_type("AWS::CloudWatch::Alarm")
    watched = set()
    for name, alarm in alarms.items():
        if "Metrics" in alarm:
            query, = alarm["Metrics"]
            assert QUERY.fullmatch(query["Expression"]) and WORKSPACE in query["Expression"], query
            continue
        assert [(one["Name"], one["Value"]) for one in alarm["Dimensions"]] == [("FunctionName", "<Function>")], name
        watched.add((alarm["Namespace"], alarm["MetricName"], ("FunctionName",)))
    assert watched <= emitted | BY_AWS | SELDOM, watched - emitted - BY_AWS - SELDOM
    assert {metric for _, metric, _ in watched} == {"Failures", "Lag", "BacklogAge", "Rejected", "Expired", "Lost", "AtHomeOnly", "Errors", "Throttles"}


def test_each_alarm_tells_somebody_what_to_do(resolved):
    for name, alarm in resolved.of_type("AWS::CloudWatch::Alarm").items():
        assert 120 < len(alarm["AlarmDescription"]) <= 1024, name
        assert alarm["AlarmActions"] == ["<AlarmTopic>"] and "OKActions" not in alarm, name
    assert Resolved({"ScheduleState": "ENABLED"}).properties("NoSuccessAlarm")["TreatMissingData"] == "breaching"
    # While the stack itself has the schedule off, no tick is missed.
    assert resolved.properties("NoSuccessAlarm")["TreatMissingData"] == "notBreaching"
    assert {alarm["TreatMissingData"] for name, alarm in resolved.of_type("AWS::CloudWatch::Alarm").items() if name != "NoSuccessAlarm"} == {"notBreaching"}
    mine = Resolved({"AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:mine"})
    assert {tuple(alarm["AlarmActions"]) for alarm in mine.of_type("AWS::CloudWatch::Alarm").values()} == {("arn:aws:sns:us-east-1:123456789012:mine",)}
    assert Resolved({"Alarms": "false"}).of_type("AWS::CloudWatch::Alarm") == {}
    assert all("AlarmActions" not in alarm for alarm in Resolved().of_type("AWS::CloudWatch::Alarm").values())


def in_alarm(alarm, points):
    """Whether CloudWatch would have this alarm in ALARM after these values, one a period; None is a period without data.

    CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data"."""
    over = {"GreaterThanThreshold": lambda value: value > alarm["Threshold"], "GreaterThanOrEqualToThreshold": lambda value: value >= alarm["Threshold"]}
    breaching = over[alarm["ComparisonOperator"]]
    last = points[-alarm["EvaluationPeriods"]:]
    found = [alarm["TreatMissingData"] == "breaching" if value is None else breaching(value) for value in last]
    return sum(found) >= alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])


@pytest.mark.parametrize("minutes", range(1, 11))
def test_a_home_that_is_away_is_noticed_at_any_interval(minutes):
    """Each tick counts the targets whose last scrape failed; the tick of a slot is an error of the function, too."""
    alarms = Resolved({"ScheduleState": "ENABLED"}).of_type("AWS::CloudWatch::Alarm")
    failures, errors = [0] * 30 + [1] * 30, [0] * 30 + [1 if minute % minutes == 0 else 0 for minute in range(30)]
    assert in_alarm(alarms["NoSuccessAlarm"], failures[:35]) and not in_alarm(alarms["NoSuccessAlarm"], failures[:34])
    assert in_alarm(alarms["ErrorsAlarm"], errors[:46]) == (minutes <= 5), minutes
    assert not in_alarm(alarms["ErrorsAlarm"], [0, 1] + [0] * 28)


def test_a_schedule_that_is_off_or_was_never_on_is_no_alarm():
    off, on = (Resolved({"ScheduleState": state}).properties("NoSuccessAlarm") for state in ("DISABLED", "ENABLED"))
    assert not in_alarm(off, [None] * 5) and in_alarm(on, [None] * 5)
    # The first tick is invoked by hand, before the schedule is on.
    assert not in_alarm(on, [None] * 4 + [0])


def test_only_an_alarm_that_ends_is_told_as_over(resolved):
    from moto.events.models import EventPattern

    rule = resolved.properties("Recovery")
    pattern = json.loads(json.dumps(rule["EventPattern"]))

    def arn(alarm):
        return f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:<{alarm}>"

    assert set(pattern["resources"]) == {arn(name) for name in resolved.of_type("AWS::CloudWatch::Alarm")}
    # Each alarm that there may be, and no other.
    for more in ({"VerifySchedule": "rate(1 day)"}, {"WorkspaceArn": "arn:aws:aps:us-west-2:2:workspace/ws-2", "WorkspaceId": ""}):
        one = Resolved({"AlarmEmail": "me@example.com", **more})
        assert set(one.properties("Recovery")["EventPattern"]["resources"]) == {arn(name) for name in one.of_type("AWS::CloudWatch::Alarm")}
    matcher = EventPattern.load(json.dumps(pattern))

    def told(before, after):
        return matcher.matches_event({"source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change", "resources": [arn("LagAlarm")],
                                      "detail": {"state": {"value": after}, "previousState": {"value": before}}})

    states = ("OK", "ALARM", "INSUFFICIENT_DATA")
    assert [(one, other) for one in states for other in states if told(one, other)] == [("ALARM", "OK")]
    target, = rule["Targets"]
    assert target["Arn"] == "<AlarmTopic>"
    allowed = {one["Sid"]: one for one in resolved.properties("AlarmTopicPolicy")["PolicyDocument"]["Statement"]}["Recovery"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "events.amazonaws.com"}, "sns:Publish")
    assert "Recovery" not in Resolved().resources and "Recovery" not in Resolved({"Alarms": "false", "AlarmEmail": "a@b"}).resources


def test_what_can_be_read_in_an_alarm_exists(resolved):
    """Commands, actions, parameters and folders that the texts name."""
    texts = " ".join(alarm["AlarmDescription"] for alarm in resolved.of_type("AWS::CloudWatch::Alarm").values())
    page = (ROOT / "docs/spool.md").read_text()
    for action in re.findall(r'\{"action":"(\w+)"\}', texts):
        assert f'"{action}"' in (ROOT / "src/event.rs").read_text(), action
    for command in re.findall(r"forwardctl (spool \w+)", texts):
        assert f"forwardctl {command}" in page, command
    for parameter in ("Timeout", "MemorySize", "ReservedConcurrency"):
        assert parameter in texts and parameter in resolved.values


def test_each_widget_shows_what_is_there(resolved, emitted):
    body = json.loads(resolved.properties("Dashboard")["DashboardBody"])
    shown = set()
    for widget in body["widgets"]:
        assert widget["properties"]["title"] and widget["properties"]["region"] == "us-east-1"
        for row in widget["properties"]["metrics"]:
            if isinstance(row[0], dict):
                assert QUERY.fullmatch(row[0]["expression"]), row
                continue
            namespace, metric, *dimensions = row
            assert dimensions == ["FunctionName", "<Function>"], row
            shown.add((namespace, metric, ("FunctionName",)))
    assert shown <= emitted | BY_AWS, shown - emitted - BY_AWS
    assert emitted <= shown, f"not on the dashboard: {emitted - shown}"


def queries():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")


@pytest.mark.parametrize("expression", list(queries()))
def test_each_expression_returns_series(stage, expression):
    for variable, value in (("$forwarder", "federate"), ("$__rate_interval", "1m")):
        expression = expression.replace(variable, value)
    assert "$" not in expression
    with urllib.request.urlopen(f"{stage['receiver']}/api/v1/query?" + urllib.parse.urlencode({"query": expression}), timeout=30) as answer:
        result = json.load(answer)["data"]["result"]
    assert result and all(one["value"][1] != "NaN" for one in result), result


def test_the_variable_of_the_home_has_values(stage):
    """Without one, every panel is empty."""
    variable, = (one for one in DASHBOARD["templating"]["list"] if one["type"] == "query")
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
    query = urllib.parse.urlencode({"match[]": metric})
    with urllib.request.urlopen(f"{stage['receiver']}/api/v1/label/{label}/values?{query}", timeout=30) as answer:
        # The home's own jobs are offered, too: they have this series, and /federate shows it.
        assert "federate" in json.load(answer)["data"]


@pytest.mark.parametrize("path", sorted((ROOT / "infra/dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_each_panel_asks_something_and_stands_on_its_own(path):
    """The tests above look into each panel: none is in a row that is closed, and none is without a query."""
    for panel in json.loads(path.read_text())["panels"]:
        assert not panel.get("panels"), panel["title"]
        assert bool(panel.get("targets")) == (panel["type"] != "row"), panel["title"]


@pytest.mark.parametrize("path", sorted((ROOT / "infra/dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_asks_its_own_variables_and_no_panel_hides_another(path):
    dashboard = json.loads(path.read_text())
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) - {"__rate_interval"}
    assert used == names
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    places = [(x, y) for panel in dashboard["panels"] for place in [panel["gridPos"]]
              for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(places) == len(set(places)) and max(x for x, _ in places) == 23


# The home's alerts.

def promtool(*arguments):
    done = subprocess.run([TOOLS / "prometheus-3.5/promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_the_home_stops():
    promtool("check", "rules", ROOT / "infra/alarms/home.rules.yml")
    promtool("test", "rules", ROOT / "infra/alarms/home.test.yml")


@pytest.mark.parametrize("parameters", [{}, {"CreateWorkspace": "true", "WorkspaceId": ""}])
def test_the_template_has_the_tested_rules(parameters):
    resolved = Resolved({"HomeAlerts": "true", **parameters})
    resolved.values["AWS::StackName"] = "amp-forwarder"
    rules = resolved.value(resolved.template["Resources"]["HomeRules"]["Properties"])
    assert yaml_parse(rules["Data"]) == yaml_parse((ROOT / "infra/alarms/home.rules.yml").read_text())
    workspace = "<Workspace.WorkspaceId>" if parameters else WORKSPACE
    assert rules["Workspace"] == f"arn:aws:aps:us-east-1:123456789012:workspace/{workspace}"


@pytest.mark.parametrize(("parameters", "home"), [
    ({"HomeJob": "attic"}, 'job="attic"'),
    ({"HomeSelector": 'job="federate",site=~"attic|cellar"'}, 'job="federate",site=~"attic|cellar"'),
])
def test_the_rules_watch_the_home_that_is_named(parameters, home, tmp_path):
    data = Resolved({"HomeAlerts": "true", **parameters}).properties("HomeRules")["Data"]
    rules, = (group["rules"] for group in yaml_parse(data)["groups"])
    for rule in rules:
        assert set(re.findall(r"up\{(.*?)\}", rule["expr"])) == {home}, rule
    (tmp_path / "rules.yml").write_text(data)
    promtool("check", "rules", tmp_path / "rules.yml")


@pytest.mark.parametrize(("selector", "fits"), [
    ('job="federate"', True), ('a="b", c=~"d.*"', True), ("", True), ("job", False), ('job="a"}', False), ('job="a\\"', False), ('job="a",', False),
])
def test_a_selector_is_a_list_of_matchers(selector, fits):
    assert bool(re.match(Resolved().template["Parameters"]["HomeSelector"]["AllowedPattern"], selector)) == fits


def test_a_new_workspace_tells_the_topic():
    parameters = {"HomeAlerts": "true", "CreateWorkspace": "true", "WorkspaceId": ""}
    told = Resolved({**parameters, "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:topic"})
    definition = yaml_parse(told.properties("Workspace")["AlertManagerDefinition"])
    assert definition == yaml_parse((ROOT / "infra/alarms/alertmanager.yml").read_text())
    assert "AlertManagerDefinition" not in Resolved(parameters).properties("Workspace"), "nobody to tell"
    made = Resolved({**parameters, "AlarmEmail": "me@example.com"})
    assert "topic_arn: <AlarmTopic>" in made.properties("Workspace")["AlertManagerDefinition"]
    statement = {one["Sid"]: one for one in made.properties("AlarmTopicPolicy")["PolicyDocument"]["Statement"]}["Alertmanager"]
    assert (statement["Principal"], statement["Action"]) == ({"Service": "aps.amazonaws.com"}, ["sns:GetTopicAttributes", "sns:Publish"])
