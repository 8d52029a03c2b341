"""`make site-add`, `site-list` and `site-remove` against moto: a stack that serves many homes, and the small stacks of its sites."""

import datetime
import json
import time
import urllib.parse

import pytest
from samcli.yamlhelper import yaml_parse

from checkout import Checkout
from front import Front, Handler
from moto_stack import Stack
from sam import Resolved

HOME = "192.0.2.10/32"
# A configuration that serves any site.
CONFIG = """
global: {external_labels: {site: '${SITE}'}}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job=~".+"}']}
    static_configs: [{targets: ['prometheus.${SITE}.example:9090']}]
remote_write: [{url: '${AMP_REMOTE_WRITE_URL}', sigv4: {region: '${AMP_REGION}'}}]
"""


OUTPUT = "<member><OutputKey>{}</OutputKey><OutputValue>{}</OutputValue></member>"


class SiteHandler(Handler):
    """moto's CloudFormation has no schedules and no prefix lists: they are made through their own APIs, and are outputs of the shared stack."""

    def forward(self, to, body, changed=lambda content: content):
        name = urllib.parse.parse_qs(body.decode()).get("StackName", [""])[0] if body.startswith(b"Action=DescribeStacks") else ""
        if name in self.server.updated:
            return super().forward(to, body, lambda content: content.replace(b"CREATE_COMPLETE", b"UPDATE_COMPLETE"))
        if name == "sites":
            more = "".join(OUTPUT.format(*one) for one in self.server.made.items()).encode()
            return super().forward(to, body, lambda content: content.replace(b"</Outputs>", more + b"</Outputs>"))
        super().forward(to, body, changed)

    def answer(self):
        if not self.path.endswith("/configuration"):
            return super().answer()
        if self.command == "PATCH":
            self.server.limits = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["limitsPerLabelSet"]
            return self.reply(200, {}, b'{"status": {"statusCode": "UPDATING"}}')
        configuration = {"status": {"statusCode": "ACTIVE"}, "retentionPeriodInDays": 150, "limitsPerLabelSet": self.server.limits}
        self.reply(200, {}, json.dumps({"workspaceConfiguration": configuration}).encode())

    def execute(self, form):
        # moto fails to update a stack of which it makes nothing.
        if form["ChangeSetType"] == "CREATE":
            self.send({"Action": "ExecuteChangeSet", **{key: form[key] for key in ("Version", "StackName", "ChangeSetName")}})
        else:
            self.server.updated.add(form["StackName"])
        self.server.deployed(form)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer


class SiteFront(Front):
    def __init__(self, moto):
        super().__init__(moto, None)
        self.RequestHandlerClass = SiteHandler
        self.scheduler = moto.client("scheduler")
        self.scheduled, self.given, self.made, self.updated = [], [], {}, set()
        # The limits of the workspace, which moto does not know.
        self.limits = [{"limits": {"maxSeries": 7}, "labelSet": {"site": "osaka"}}]

    def deployed(self, form):
        # The others keep the value that they have, which is their default here.
        given = {form[key.replace("Value", "Key")]: value for key, value in form.items() if key.endswith(".ParameterValue")}
        wanted = Resolved(given, yaml_parse(form["TemplateBody"])).properties("Schedule")
        self.scheduled.append((wanted["Name"], wanted["State"]))
        self.given.append(given)
        known = {one["Name"] for one in self.scheduler.list_schedules(GroupName=wanted["GroupName"])["Schedules"]}
        (self.scheduler.update_schedule if wanted["Name"] in known else self.scheduler.create_schedule)(**wanted)


@pytest.fixture
def sites(moto, tmp_path):
    stack = Stack(moto, "sites", {"Sites": "true", "HomeCidr": "", "Egress": "existing"})
    front = SiteFront(moto)
    wanted = Resolved({"Sites": "true", "HomeCidr": ""}).properties("Homes")
    homes = moto.client("ec2").create_managed_prefix_list(
        PrefixListName=wanted["PrefixListName"], AddressFamily=wanted["AddressFamily"], MaxEntries=wanted["MaxEntries"])["PrefixList"]["PrefixListId"]
    front.made = {"ScheduleGroupName": "sites-group", "HomesPrefixListId": homes}
    front.scheduler.create_schedule_group(Name="sites-group")
    checkout = Checkout(tmp_path / "checkout", front)
    (checkout.folder / "sites").mkdir()
    (checkout.folder / "sites/tokyo.yml").write_text(CONFIG)
    (checkout.folder / "infra/sam/samconfig.toml").write_text('[default.deploy.parameters]\nstack_name = "sites"\n')
    front.answers = {"check": {"ok": True, "findings": []}, "forward": {"outcome": "ok"}, "status": {"remotes": [{"samples": 0}]}}
    yield moto, stack, front, checkout
    front.scheduler.delete_schedule_group(Name="sites-group")
    moto.client("cloudformation").delete_stack(StackName="sites")
    front.shutdown()


def make(checkout, action, **settings):
    return checkout.run(str(checkout.folder / "infra/sam/site.sh"), action, **settings)


def entries(moto, front):
    found = moto.client("ec2").get_managed_prefix_list_entries(PrefixListId=front.made["HomesPrefixListId"])["Entries"]
    return [(one["Cidr"], one.get("Description")) for one in found]


def minute():
    return datetime.datetime.now(datetime.timezone.utc).minute


def test_a_site_comes_and_goes(sites):
    moto, stack, front, checkout = sites
    done = make(checkout, "add", SITE="tokyo", HOME_CIDR=HOME, YES="1")
    assert done.returncode == 0, done.stderr
    added = minute()
    # First off, then checked and scraped once, then on.
    assert front.scheduled == [("tokyo", "DISABLED"), ("tokyo", "ENABLED")]
    assert front.invoked == [{"site": "tokyo", "action": "check"}, {"site": "tokyo", "action": "forward"}]
    uploaded = moto.client("s3").get_object(Bucket=stack.outputs["SpoolBucketName"], Key="sites/tokyo/forwarder.yml")
    assert uploaded["Body"].read().decode() == CONFIG
    schedule = front.scheduler.get_schedule(GroupName="sites-group", Name="tokyo")
    assert (schedule["Target"]["Input"], schedule["ScheduleExpression"]) == ('{"site":"tokyo"}', "rate(1 minute)")
    assert entries(moto, front) == [(HOME, "tokyo")]

    asked = checkout.script("invoke", ACTION="check", SITE="tokyo")
    assert asked.returncode == 0 and front.invoked.pop() == {"action": "check", "site": "tokyo"}, asked.stderr
    refused = checkout.script("destroy", YES="1")
    assert refused.returncode != 0 and "still serves tokyo" in refused.stderr, refused.stderr

    listed = make(checkout, "list")
    assert listed.stdout.split() == ["tokyo", "ENABLED"], listed.stderr
    # A changed configuration: the schedule stays as it is, and nothing is entered twice.
    again = make(checkout, "add", SITE="tokyo", HOME_CIDR=HOME, YES="1")
    assert again.returncode == 0, again.stderr
    assert front.scheduled[2:] == [("tokyo", "ENABLED")] and entries(moto, front) == [(HOME, "tokyo")]

    # A backlog is sent first, and what cannot be sent keeps the site.
    front.answers |= {"status": {"remotes": [{"samples": 7}]}, "drain": {"outcome": "partial"}}
    # moto compares an update with the first deployment, which was off as well: the start, a matter of the minute, must differ.
    while minute() == added:
        time.sleep(0.2)
    kept = make(checkout, "remove", SITE="tokyo", HOME_CIDR=HOME, YES="1")
    assert kept.returncode != 0 and "nothing was deleted" in kept.stderr, kept.stderr
    assert {"site": "tokyo", "action": "drain"} in front.invoked and front.scheduled[-1] == ("tokyo", "DISABLED")
    front.answers["status"] = {"remotes": [{"samples": 0}]}
    gone = make(checkout, "remove", SITE="tokyo", HOME_CIDR=HOME, YES="1")
    assert gone.returncode == 0, gone.stderr
    assert entries(moto, front) == []
    stacks = {one["StackName"] for one in moto.client("cloudformation").describe_stacks()["Stacks"]}
    assert "sites-site-tokyo" not in stacks


def test_what_is_wrong_changes_nothing(sites):
    _, _, front, checkout = sites
    for settings, says in [
        ({"SITE": "Tokyo"}, "is no name of a site"),
        ({"SITE": ""}, "is no name of a site"),
        ({"SITE": "osaka"}, "there is no configuration"),
    ]:
        done = make(checkout, "add", YES="1", **settings)
        assert done.returncode != 0 and says in done.stderr, done.stderr
    (checkout.folder / "sites/tokyo.yml").write_text(CONFIG.replace("job_name", "job_nmae"))
    done = make(checkout, "add", SITE="tokyo", YES="1")
    assert done.returncode != 0 and "job_nmae" in done.stderr and "nothing was changed" in done.stderr, done.stderr
    assert front.scheduled == [] and front.invoked == []


def test_a_site_gets_what_the_shared_stack_has_for_sites(sites):
    """A role of its own, a nightly verification, and a limit of its series."""
    _, stack, front, checkout = sites
    role = "arn:aws:iam::123456789012:role/amp-forwarder/sites/sites-{site}"
    front.made |= {"SiteRoleArn": role, "SiteVerifySchedule": "cron(30 3 * * ? *)", "SiteKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1"}
    # A role that is new is not known everywhere at once.
    unknown = {"errorMessage": "config: cannot read s3://b/k: cannot assume the role r: not authorized", "errorType": "ConfigurationError"}
    front.failing["check"] = [unknown]
    done = make(checkout, "add", SITE="tokyo", MAX_SERIES="50000", YES="1")
    assert done.returncode == 0 and "is not known everywhere yet" in done.stderr, done.stderr
    given = front.given[0]
    assert given["SharedStack"] == "sites" and given["VerifySchedule"] == "cron(30 3 * * ? *)"
    assert given["WriteWorkspaceArn"] == stack.outputs["WorkspaceArn"] and given["SpoolBucketArn"] == stack.outputs["SpoolBucketArn"]
    assert given["KmsKeyArn"].endswith("key/1")
    tokyo = {"limits": {"maxSeries": 50000}, "labelSet": {"site": "tokyo"}}
    assert front.limits == [{"limits": {"maxSeries": 7}, "labelSet": {"site": "osaka"}}, tokyo]
    # Another limit takes the place of the first one, and no other site's; another workspace is the person's choice.
    done = make(checkout, "add", SITE="tokyo", MAX_SERIES="60000", WRITE_WORKSPACE_ARN="arn:aws:aps:us-east-1:123456789012:workspace/ws-2", YES="1")
    assert done.returncode == 0, done.stderr
    assert [one["limits"]["maxSeries"] for one in front.limits] == [7, 60000]
    assert front.given[-1]["WriteWorkspaceArn"].endswith("/ws-2")
    refused = make(checkout, "add", SITE="tokyo", MAX_SERIES="many", YES="1")
    assert refused.returncode != 0 and "is no number of series" in refused.stderr, refused.stderr


def test_a_check_that_fails_leaves_the_schedule_off(sites):
    _, _, front, checkout = sites
    front.answers["check"] = {"ok": False, "findings": [{"subject": "home", "ok": False, "message": "timed out"}]}
    done = make(checkout, "add", SITE="tokyo", YES="1")
    assert done.returncode != 0 and "timed out" in done.stdout + done.stderr, done.stderr
    assert front.scheduled == [("tokyo", "DISABLED")]


def test_a_stack_of_one_home_takes_no_site(moto, stack, tmp_path):
    front = SiteFront(moto)
    checkout = Checkout(tmp_path / "checkout", front)
    done = make(checkout, "list", STACK="forwarder")
    assert done.returncode != 0 and "serves one home" in done.stderr, done.stderr
    front.shutdown()
