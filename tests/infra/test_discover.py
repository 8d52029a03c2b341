"""`make discover`: what it finds in an account (moto's EC2 and AMP), and what it writes."""

import contextlib
import io
import json
import re
import subprocess
import sys
import urllib.request

import pytest

from checkout import Checkout
from moto_stack import Moto
from sam import ROOT, Resolved

sys.path.insert(0, str(ROOT / "infra/sam"))
import discover  # noqa: E402
from aws import AwsError  # noqa: E402
from cost import monthly  # noqa: E402
from home import Home, HomeError, targets  # noqa: E402

HOME = "192.0.2.10"
REGION = "eu-central-1"


class Library:
    """The calls of discover.Aws by boto3, which starts no program for each. One test below uses the AWS CLI itself."""

    def __init__(self, moto, region):
        self.moto, self.region = moto, region

    def elsewhere(self, region):
        return Library(self.moto, region)

    def __call__(self, service, call, *options):
        arguments = {}
        for option, value in zip(options[::2], options[1::2], strict=True):
            key = "".join(part.capitalize() for part in option.strip("-").split("-"))
            arguments[key] = [{"Name": name, "Values": values.split(",")} for name, values in re.findall(r"Name=([^,]+),Values=(.+)", value)] or value
        return getattr(self.moto.client(service, region=self.region), call.replace("-", "_"))(**arguments)


@pytest.fixture
def in_process(bare, monkeypatch):
    """Runs `make discover` in this process."""
    def run(person, **settings):
        for name, value in {"YES": None, "TARGET": None, "EMAIL": None, "VPC": None, "WORKSPACE": None, "AWS_REGION": person.region, **settings}.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        monkeypatch.chdir(person.folder)
        monkeypatch.setattr(discover, "SETTINGS", person.settings)
        monkeypatch.setattr(discover, "Aws", lambda region: Library(bare, region))
        told, code = io.StringIO(), 0
        with contextlib.redirect_stderr(told):
            try:
                discover.main()
            except SystemExit as end:
                code = end.code
        return subprocess.CompletedProcess([], code, "", told.getvalue())

    return run


class Account:
    """One region of moto, and what is made in it."""

    def __init__(self, moto, region=REGION):
        self.region = region
        self.ec2, self.amp = (moto.client(service, region=self.region) for service in ("ec2", "amp"))

    def vpc(self, cidr="10.20.0.0/16", way="vpn", zones=2, home="192.0.2.0/24", **options):
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock=cidr, **options)["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        base = cidr.rsplit(".", 2)[0]
        subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"{base}.{n}.0/24", AvailabilityZone=f"{self.region}{'abc'[n]}")["Subnet"]["SubnetId"] for n in range(zones)]
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        # One more whose routes lead nowhere.
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"{base}.9.0/24")
        if way == "vpn":
            gateway = ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]
            ec2.attach_vpn_gateway(VpcId=vpc, VpnGatewayId=gateway)
            ec2.create_route(RouteTableId=table, DestinationCidrBlock=home, GatewayId=gateway)
        elif way == "transit":
            gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
            ec2.create_transit_gateway_vpc_attachment(TransitGatewayId=gateway, VpcId=vpc, SubnetIds=subnets)
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.0.0.0/16", TransitGatewayId=gateway)
        return vpc, table, subnets

    def workspace(self):
        return self.amp.create_workspace(alias="home")["workspaceId"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """moto alone: nothing is invoked or deployed here."""
    server = Moto(tmp_path_factory.mktemp("moto") / "log")
    server.moto = server.url
    yield server
    server.stop()


@pytest.fixture
def account(bare):
    """An empty one."""
    urllib.request.urlopen(urllib.request.Request(f"{bare.url}/moto-api/reset", method="POST"), timeout=30).read()
    return Account(bare)


@pytest.fixture
def by_hand(bare, tmp_path):
    return Checkout(tmp_path, bare, REGION, forwardctl=False)


@pytest.fixture
def person(by_hand, in_process):
    """One whose `make discover` runs in this process."""
    by_hand.discover = lambda **settings: in_process(by_hand, **settings)
    return by_hand


def found(person, **settings):
    done = person.discover(**{"TARGET": f"{HOME}:30090", "YES": "1", **settings})
    assert done.returncode == 0, done.stderr
    overrides = person.overrides()
    # CloudFormation would take it.
    resolved = Resolved({"WorkspaceId": "", **overrides})
    assert resolved.broken_rules() == []
    return overrides, done.stderr


def test_a_vpn(by_hand, account):
    person = by_hand
    vpc, table, subnets = account.vpc()
    workspace = account.workspace()
    overrides, told = found(person, EMAIL="me@example.com")
    prefix_list, = account.ec2.describe_managed_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{account.region}.s3"]}])["PrefixLists"]
    assert overrides == {
        "VpcId": vpc, "SubnetIds": ",".join(subnets), "VpcCidr": "10.20.0.0/16", "HomeCidr": f"{HOME}/32", "HomePort": "30090",
        "S3PrefixListId": prefix_list["PrefixListId"], "S3RouteTableIds": table, "Egress": "endpoint", "EndpointSubnetIds": subnets[0],
        "WorkspaceId": workspace, "HomeJob": "federate", "Config": "bucket", "AlarmEmail": "me@example.com",
    }
    assert f'region = "{account.region}"' in person.settings.read_text() and "# Their routes lead to the home: the VPN's" in person.settings.read_text()
    assert "an interface endpoint for AMP" in told and "a month (list prices" in told and "$7.30" in told
    assert f"'{HOME}:30090'" in (person.folder / "forwarder.yml").read_text()
    # Nothing is set that a deployment would then set again.
    assert "ScheduleState" not in person.settings.read_text()


def test_a_transit_gateway_and_no_workspace(person, account):
    vpc, _, subnets = account.vpc(way="transit", zones=3)
    overrides, told = found(person)
    assert (overrides["VpcId"], overrides["SubnetIds"], overrides["CreateWorkspace"]) == (vpc, ",".join(subnets[:2]), "true")
    assert "a transit gateway tgw-" in person.settings.read_text() and "an AMP workspace" in told


def test_two_candidates(person, account):
    (first, *_), (second, *_) = account.vpc(), account.vpc("10.30.0.0/16")
    one, two = account.workspace(), account.workspace()
    command = {"TARGET": f"{HOME}:30090", "YES": "1"}
    done = person.discover(**command)
    assert done.returncode == 1 and "VPC=…" in done.stderr and first in done.stderr and second in done.stderr
    done = person.discover(**command, VPC=second)
    assert done.returncode == 1 and "WORKSPACE=…" in done.stderr and one in done.stderr
    # A run that ends early leaves nothing behind, so that the same command works afterwards.
    assert not person.settings.exists() and not (person.folder / "forwarder.yml").exists()
    done = person.discover(**command, VPC=second, WORKSPACE=two)
    assert done.returncode == 0, done.stderr
    overrides = person.overrides()
    assert (overrides["VpcId"], overrides["VpcCidr"], overrides["WorkspaceId"]) == (second, "10.30.0.0/16", two)
    # Private DNS would cut off whoever uses the other one.
    assert overrides["OtherWorkspaceArns"].endswith(one)


def test_none(person, account, bare):
    command = {"TARGET": f"{HOME}:30090", "YES": "1"}
    # Somewhere else there is one.
    elsewhere = Account(bare, "us-west-2")
    vpc, *_ = elsewhere.vpc()
    gateway, = elsewhere.ec2.describe_vpn_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])["VpnGateways"]
    done = person.discover(**command)
    assert done.returncode == 1 and f"no VPC in {account.region} has a route to 192.0.2.10/32" in done.stderr, done.stderr
    assert f"{elsewhere.region} has {gateway['VpnGatewayId']}" in done.stderr and f"AWS_REGION={elsewhere.region} make discover" in done.stderr
    assert f"AWS_REGION={account.region}" not in done.stderr
    # A VPN, and no route by it.
    vpc, table, _ = account.vpc()
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock="192.0.2.0/24")
    done = person.discover(**command)
    assert done.returncode == 1 and f"{vpc} has the virtual private gateway" in done.stderr and "propagate the gateway's routes" in done.stderr
    assert "routes lead to nothing that way" in done.stderr


def test_no_gateway_anywhere(person, account, bare, monkeypatch):
    class Bare(Library):
        def elsewhere(self, region):
            def refuse(*_):
                raise AwsError("not allowed there")
            return refuse

    monkeypatch.setattr(sys.modules[__name__], "Library", Bare)
    done = person.discover(TARGET=f"{HOME}:30090", YES="1")
    assert done.returncode == 1 and "AWS_PROFILE" in done.stderr and "set up the Site-to-Site VPN first: infra/README.md, What you need" in done.stderr


def test_a_wrong_address(person, account):
    vpc, *_ = account.vpc()
    done = person.discover(TARGET="192.0.3.10:30090", YES="1")
    assert done.returncode == 1 and f"{vpc} has the virtual private gateway" in done.stderr, done.stderr
    assert "routes lead to 192.0.2.0/24 that way" in done.stderr and "is 192.0.3.10/32 the home's address?" in done.stderr
    done = person.discover(TARGET="10.20.1.7:30090", YES="1")
    assert done.returncode == 1 and f"10.20.1.7/32 is an address of {vpc} itself" in done.stderr, done.stderr
    # In a file that is there already, it is not replaced.
    account.workspace()
    (person.folder / "forwarder.yml").write_text(CONFIG)
    done = person.discover(TARGET=f"{HOME}:9091", YES="1")
    assert done.returncode == 1 and "scrapes 192.0.2.10:9090, 192.0.2.13:9090, not 192.0.2.10:9091" in done.stderr, done.stderr
    found(person, TARGET=f"{HOME}:9090")
    assert (person.folder / "forwarder.yml").read_text() == CONFIG


@pytest.mark.parametrize(("target", "says"), [
    ("http://192.0.2.10:9090", "without http://"), ("192.0.2.10", "with the port"), ("192.0.2.10:9090/federate", "without a path"),
    ("localhost:9090", "this machine itself"), ("127.0.0.1:9090", "this machine itself"), ("no.such.host.invalid:9090", "HOME_CIDR="),
])
def test_a_target_that_cannot_be(person, target, says):
    done = person.discover(TARGET=target, YES="1")
    assert done.returncode == 1 and says in done.stderr and not (person.folder / "forwarder.yml").exists(), done.stderr


@pytest.mark.parametrize(("settings", "says"), [
    ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"}, ("Unable to locate credentials", "aws configure")),
    ({"AWS_PROFILE": "attic"}, ("config profile (attic) could not be found", "aws configure list-profiles")),
    ({"AWS_REGION": "eu_central_1", "AWS_ENDPOINT_URL": None}, ("eu_central_1", "is AWS_REGION spelled as in eu-central-1")),
    ({"AWS_REGION": None, "AWS_DEFAULT_REGION": None}, ("no region is set", "take that of the VPN: AWS_REGION=")),
    ({"PATH": "/nowhere"}, ("aws is not on PATH", "install the AWS CLI")),
])
def test_what_the_aws_cli_lacks_is_said_with_the_next_step(by_hand, settings, says):
    python = {} if "PATH" not in settings else {"program": str(by_hand.programs / "python3")}
    done = by_hand.discover(TARGET=f"{HOME}:30090", YES="1", **python, **settings)
    assert done.returncode == 1 and all(text in done.stderr for text in says) and "Traceback" not in done.stderr, done.stderr


def test_a_call_that_is_not_allowed(by_hand, account, bare):
    bare.enforce(True)
    try:
        done = by_hand.discover(TARGET=f"{HOME}:30090", YES="1")
    finally:
        bare.enforce(False)
    assert done.returncode == 1 and "failed in" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert "ReadOnlyAccess" in done.stderr or "log in" in done.stderr, done.stderr


def endpoint(account, vpc, subnet, service="aps-workspaces", workspaces=None, **options):
    """An interface endpoint; returns its security group."""
    group = account.ec2.create_security_group(GroupName=service, Description="aps", VpcId=vpc)["GroupId"]
    if workspaces:
        statement = {"Effect": "Allow", "Principal": "*", "Action": ["aps:RemoteWrite", "aps:QueryMetrics"], "Resource": workspaces}
        options["PolicyDocument"] = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    account.ec2.create_vpc_endpoint(VpcId=vpc, VpcEndpointType="Interface", ServiceName=f"com.amazonaws.{account.region}.{service}", SubnetIds=[subnet],
                                    SecurityGroupIds=[group], **{"PrivateDnsEnabled": True, **options})
    return group


def test_endpoints_that_are_there(person, account):
    vpc, table, subnets = account.vpc()
    group = endpoint(account, vpc, subnets[0])
    account.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"com.amazonaws.{account.region}.s3", RouteTableIds=[table])
    account.workspace()
    overrides, told = found(person)
    assert (overrides["Egress"], overrides["ApsEndpointSecurityGroupId"]) == ("endpoint", group)
    assert "S3RouteTableIds" not in overrides and "EndpointSubnetIds" not in overrides and "interface endpoint" not in told
    assert "note:" not in told


def test_an_endpoint_whose_policy_knows_other_workspaces(person, account):
    vpc, _, subnets = account.vpc()
    endpoint(account, vpc, subnets[0], workspaces=f"arn:aws:aps:{account.region}:123456789012:workspace/ws-1")
    workspace = account.workspace()
    told = found(person)[1]
    assert f"does not admit arn:aws:aps:{account.region}:123456789012:workspace/{workspace}: name it in the OtherWorkspaceArns" in told
    assert "must admit the new workspace" in found(person, WORKSPACE="new")[1]


def test_endpoints_that_do_not_take_amps_name(person, account):
    vpc, _, subnets = account.vpc()
    endpoint(account, vpc, subnets[0], PrivateDnsEnabled=False)
    endpoint(account, vpc, subnets[0], "aps-workspaces-fips")
    account.workspace()
    overrides, _ = found(person)
    assert "ApsEndpointSecurityGroupId" not in overrides and overrides["EndpointSubnetIds"] == subnets[0]


def test_ipv6_with_a_way_out(person, account):
    vpc, table, subnets = account.vpc(AmazonProvidedIpv6CidrBlock=True)
    block = account.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    for number, subnet in enumerate(subnets):
        account.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block.replace("00::/56", f"0{number}::/64"))
    account.workspace()
    assert found(person)[0]["Egress"] == "endpoint", "no way out yet"
    gateway = account.ec2.create_egress_only_internet_gateway(VpcId=vpc)["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
    account.ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId=gateway)
    overrides, told = found(person, TARGET=None)
    assert overrides["Egress"] == "ipv6" and "interface endpoint" not in told
    assert person.settings.with_suffix(".toml.old").exists()


def test_two_ranges_and_a_nat_gateway(person, account):
    vpc, table, subnets = account.vpc()
    account.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/16")
    nat = account.ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    account.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    account.workspace()
    overrides, _ = found(person)
    assert (overrides["VpcCidr"], overrides["Egress"]) == ("10.20.0.0/16,100.64.0.0/16", "nat")


CONFIG = """
global: {external_labels: {site: attic, __replica__: a}}
scrape_configs:
  - job_name: 'home'   # the cluster
    scrape_interval: 30s
    basic_auth: {username: me, password_file: 's3://keys/secrets/password'}
    static_configs:
      - targets:
          # two nodes
          - 192.0.2.10:9090
          - "${SECOND:-192.0.2.13}:9090"
remote_write:
  - url: https://x
    sigv4: {region: x, role_arn: 'arn:aws:iam::2:role/write'}
    headers: {X: '${ssm:/a/b}', Y: '${secretsmanager:name:key}'}
"""


def test_what_a_configuration_says():
    home = Home(CONFIG, {})
    assert (str(home.cidr), home.port, home.job, home.labels, home.interval) == ("192.0.2.8/29", 9090, "home", {"site": "attic"}, "30s")
    assert (home.parameters, home.secrets, home.objects, home.role) == (["/a/b"], ["name"], ["keys/secrets/password"], "arn:aws:iam::2:role/write")
    example = Home((ROOT / "infra/forwarder.example.yml").read_text(), {})
    assert (str(example.cidr), example.port, example.labels) == ("192.0.2.10/32", 30090, {"site": "home"})


@pytest.mark.parametrize(("text", "expected"), [
    ("static_configs: [{targets: ['192.0.2.10:30090']}]", ["192.0.2.10:30090"]),
    ("    static_configs: [{targets: [a:1, \"b:2\"]}]", ["a:1", "b:2"]),
    ("static_configs:\n- targets: ['a:1']\n- targets:\n  - b:2\n", ["a:1", "b:2"]),
    ("static_configs:\n  # targets: ['old:1']\n  - targets: ['a:1']  # new\n", ["a:1"]),
    ("- targets: ['${A}:1']", ["x:1"]),
    ("", []),
])
def test_targets_in_every_form(text, expected):
    assert targets(text, {"A": "x"}) == expected


@pytest.mark.parametrize(("text", "says"), [
    ("", "names no target"), ("targets: ['${HOME_A}:1']", "HOME_A"), ("targets: ['192.0.2.1:1', '192.0.2.1:2']", "ports [1, 2]"),
    ("targets: ['no.such.host.invalid:1']", "HOME_CIDR"), ("targets: ['localhost:1']", "this machine itself"),
])
def test_what_it_cannot_know_is_asked(text, says):
    with pytest.raises(HomeError) as error:
        Home(text, {})
    assert says in " ".join(error.value.args)


@pytest.mark.parametrize("cidr", ["192.0.2.10/24", "home", "2001:db8::/32"])
def test_a_home_cidr_that_is_none(cidr):
    with pytest.raises(HomeError) as error:
        Home(CONFIG, {"HOME_CIDR": cidr})
    assert "is no IPv4 network" in error.value.args[0]
    assert str(Home(CONFIG, {"HOME_CIDR": "192.0.2.0/28"}).cidr) == "192.0.2.0/28"


def test_names_become_arns(person, account):
    account.vpc()
    account.workspace()
    (person.folder / "forwarder.yml").write_text(CONFIG)
    overrides, _ = found(person, TARGET=None)
    assert overrides["SsmParameterArns"] == f"arn:aws:ssm:{account.region}:123456789012:parameter/a/b"
    assert overrides["SecretArns"] == f"arn:aws:secretsmanager:{account.region}:123456789012:secret:name-??????"
    assert overrides["SecretObjectArns"] == "arn:aws:s3:::keys/secrets/password"
    assert {name for name in overrides if name.endswith("Endpoint")} == {"StsEndpoint", "SsmEndpoint", "SecretsManagerEndpoint"}
    assert overrides["RemoteWriteRoleArn"] == "arn:aws:iam::2:role/write"
    assert json.dumps('HomeSelector=job="home",site="attic"') in person.settings.read_text()


def test_the_price_is_that_of_the_guide():
    """discover's few lines beside the rows that the code of `forwardctl estimate` is tested with."""
    guide = (ROOT / "infra/README.md").read_text()
    for interval, row in re.findall(r"^\| 5000 \| (\d+) s \| (.*) \|$", guide, re.MULTILINE):
        _, ingestion, _, function, s3, endpoint, cloudwatch, *_ = (cell.strip("* M") for cell in row.split(" | "))
        fixed, samples = monthly("us-east-1", True, 0, f"{interval}s")
        said = {name: float(dollars) for name, dollars in re.findall(r"([a-zA-Z][^$:]*?) \$([\d.]+)", fixed.split(": ", 2)[2])}
        assert said["S3"] == float(s3) and abs(said["Lambda and its schedule"] - float(function)) < 0.02, fixed
        # Without the bytes through the endpoint, and without logs.
        assert 0 <= float(endpoint) - said["interface endpoints"] < 0.3 and 0 <= float(cloudwatch) - said["metrics, alarms, dashboard"] < 0.05, fixed
        assert f"${ingestion};" in samples, samples
