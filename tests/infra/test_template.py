"""What the template makes of its parameters."""

import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from sam import Resolved, SITE_TEMPLATE, TEMPLATE, dump, source, statements

TOOLS = pathlib.Path(sys.executable).parent

# Every choice that makes other resources, once.
CHOICES = {
    "default": {},
    "email": {"AlarmEmail": "me@example.com"},
    "topic": {"AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:t"},
    "no alarms": {"Alarms": "false"},
    "workspace": {"CreateWorkspace": "true", "WorkspaceId": "", "HomeAlerts": "true", "AlarmEmail": "me@example.com"},
    "rules for a workspace": {"HomeAlerts": "true"},
    "nat": {"Egress": "nat", "EgressRouteTableId": "rtb-1", "NatSubnetId": "subnet-9"},
    "nat that exists": {"Egress": "nat"},
    "ipv6": {"Egress": "ipv6", "EgressRouteTableId": "rtb-1"},
    "ipv6 that exists": {"Egress": "ipv6"},
    "existing": {"Egress": "existing", "EgressCidr": "10.0.0.0/16"},
    "nightly verification": {"VerifySchedule": "cron(30 3 * * ? *)", "AlarmEmail": "me@example.com"},
    "verification without alarms": {"VerifySchedule": "rate(1 day)", "Alarms": "false"},
    "existing endpoint": {"ApsEndpointSecurityGroupId": "sg-1"},
    "s3 endpoint": {"S3RouteTableIds": "rtb-1,rtb-2"},
    "endpoints": {"StsEndpoint": "true", "SsmEndpoint": "true", "SecretsManagerEndpoint": "true", "KmsEndpoint": "true"},
    "endpoints without amp's": {"Egress": "existing", "StsEndpoint": "true"},
    "fips": {"Fips": "true"},
    "fips and ipv6": {"Fips": "true", "Egress": "ipv6"},
    "two ranges": {"VpcCidr": "10.0.0.0/16,10.1.0.0/16,100.64.0.0/16"},
    "another account": {"WorkspaceId": "", "WorkspaceArn": "arn:aws:aps:us-west-2:210987654321:workspace/ws-2",
                        "RemoteWriteRoleArn": "arn:aws:iam::210987654321:role/write", "AlarmEmail": "me@example.com"},
    "rules for one of several homes": {"HomeAlerts": "true", "HomeSelector": 'job="federate",site=~"attic|cellar"'},
    "kms": {"KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1"},
    "config in the bucket": {"Config": "bucket"},
    "config elsewhere": {"Config": "s3://other/path/forwarder.yml"},
    "sites": {"Sites": "true", "HomeCidr": "", "AlarmEmail": "me@example.com"},
    "sites with roles": {"Sites": "true", "SiteRoles": "true", "HomeCidr": "10.0.0.0/8", "HomePort": "9090", "FailingSitesAlarm": "3",
                         "AlarmEmail": "me@example.com"},
    "sites that are verified": {"Sites": "true", "HomeCidr": "", "VerifySchedule": "cron(30 3 * * ? *)",
                                "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1"},
    "sites with roles that are verified": {"Sites": "true", "SiteRoles": "true", "HomeCidr": "", "VerifySchedule": "cron(30 3 * * ? *)",
                                           "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1"},
    "sites without alarms": {"Sites": "true", "HomeCidr": "", "HomeEntries": "200", "Alarms": "false"},
    "arm64": {"Architecture": "arm64", "ReservedConcurrency": "1"},
}


def run(*command):
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("template", [TEMPLATE, SITE_TEMPLATE])
def test_cfn_lint_finds_nothing(template):
    done = run(TOOLS / "cfn-lint", "--", template)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_sam_validates():
    done = run(TOOLS / "sam", "validate", "--lint", "--template", TEMPLATE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("choice", CHOICES)
def test_parameters_resolve(choice):
    resolved = Resolved(CHOICES[choice])
    assert resolved.broken_rules() == []
    # Nothing refers to what is not made.
    made = set(resolved.resources)
    # The event's own fields stand in the same brackets.
    for name in re.findall(r"<(\w+)", re.sub(r'"InputTemplate": ".*"', "", dump(resolved.resources))):
        assert name in made, f"{choice}: <{name}> is not made"
    for name, resource in resolved.resources.items():
        depends = resource.get("DependsOn", [])
        assert set([depends] if isinstance(depends, str) else depends) <= made, name


def test_wrong_parameters_are_told():
    one = ["Give a WorkspaceId or a WorkspaceArn, or set CreateWorkspace to true, and only one of them"]
    assert Resolved({"WorkspaceId": ""}).broken_rules() == Resolved({"CreateWorkspace": "true"}).broken_rules() == one
    other = {"WorkspaceArn": "arn:aws:aps:us-west-2:210987654321:workspace/ws-2", "RemoteWriteRoleArn": "arn:aws:iam::2:role/w"}
    assert Resolved(other).broken_rules() == Resolved({**other, "WorkspaceId": "", "CreateWorkspace": "true"}).broken_rules() == one
    other["WorkspaceId"] = ""
    assert Resolved(other).broken_rules() == []
    assert Resolved({**other, "RemoteWriteRoleArn": ""}).broken_rules() == ["WorkspaceArn is a workspace of another account, whose role RemoteWriteRoleArn names"]
    rules, = Resolved({**other, "HomeAlerts": "true"}).broken_rules()
    assert rules.startswith("HomeAlerts makes rules in a workspace of this account")
    assert Resolved({"Egress": "nat", "EgressRouteTableId": "rtb-1"}).broken_rules() == ["A new NAT gateway needs NatSubnetId, a public subnet"]
    assert Resolved({"HomeCidr": ""}).broken_rules() == ["HomeCidr has the addresses of the home; only with Sites it may be empty"]
    assert Resolved({"SiteRoles": "true"}).broken_rules() == ["SiteRoles is for Sites"]
    of_sites = {"Sites": "true", "VerifySchedule": "rate(1 day)"}
    assert Resolved(of_sites).broken_rules() == []
    assert Resolved({**of_sites, "Config": "bucket"}).broken_rules() == [
        "With Sites, each configuration is in the spool's bucket, and Config is left out"]
    elsewhere, = Resolved({**of_sites, "SiteRoles": "true", "RemoteWriteRoleArn": "arn:aws:iam::2:role/w"}).broken_rules()
    assert elsewhere.startswith("With SiteRoles, each site writes to a workspace of this account")


def test_each_parameter_does_something_and_is_explained():
    template = source()
    body = dump({key: template[key] for key in ("Resources", "Conditions")})
    readme = (TEMPLATE.parents[1] / "README.md").read_text()
    grouped = list(itertools.chain(*(group["Parameters"] for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"])))
    assert sorted(grouped) == sorted(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert f'"{name}"' in body or f"${{{name}}}" in body, name
        assert parameter.get("Description"), name
        assert f"`{name}`" in readme, f"{name} is not in infra/README.md"


def test_two_stacks_live_side_by_side():
    for choice in CHOICES.values():
        for name, resource in Resolved(choice).resources.items():
            for key, value in resource["Properties"].items():
                fixed = re.fullmatch(r".*Name", key) and key not in ("ServiceName", "PolicyName", "DisplayName", "MetricName", "GroupName", "FunctionName")
                # A name that another stack would take, too.
                assert not fixed or "stack" in str(value), f"{name}.{key} = {value}"


def test_the_function():
    function = Resolved().properties("Function")
    assert (function["Runtime"], function["Handler"], function["Architectures"]) == ("provided.al2023", "bootstrap", ["x86_64"])
    assert (function["MemorySize"], function["Timeout"]) == (128, 90)
    assert "ReservedConcurrentExecutions" not in function
    assert function["LoggingConfig"] == {"LogGroup": "<LogGroup>", "LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}
    assert function["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["<FunctionSecurityGroup>"]}
    event = Resolved().properties("FunctionEventInvokeConfig")
    assert (event["MaximumRetryAttempts"], event["MaximumEventAgeInSeconds"]) == (0, 60)
    arm = Resolved(CHOICES["arm64"]).properties("Function")
    assert (arm["Architectures"], arm["ReservedConcurrentExecutions"]) == (["arm64"], 1)
    assert Resolved(CHOICES["ipv6"]).properties("Function")["VpcConfig"]["Ipv6AllowedForDualStack"] is True


@pytest.mark.parametrize(("choice", "url"), [
    ("default", "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-00000000-0000-0000-0000-000000000000/api/v1/remote_write"),
    ("fips", "https://aps-workspaces-fips.us-east-1.amazonaws.com/workspaces/ws-00000000-0000-0000-0000-000000000000/api/v1/remote_write"),
    ("ipv6", "https://aps-workspaces.us-east-1.api.aws/workspaces/ws-00000000-0000-0000-0000-000000000000/api/v1/remote_write"),
    ("fips and ipv6", "https://aps-workspaces-fips.us-east-1.api.aws/workspaces/ws-00000000-0000-0000-0000-000000000000/api/v1/remote_write"),
    ("workspace", "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/<Workspace.WorkspaceId>/api/v1/remote_write"),
])
def test_the_environment_names_the_workspace(choice, url):
    variables = Resolved(CHOICES[choice]).properties("Function")["Environment"]["Variables"]
    assert variables["AMP_REMOTE_WRITE_URL"] == url
    assert (variables["AMP_REGION"], variables["SPOOL_URL"]) == ("us-east-1", "s3://<SpoolBucket>/spool")
    assert variables["AWS_USE_FIPS_ENDPOINT"] == ("true" if "fips" in choice else "false")
    assert "FORWARDER_ENVIRONMENT" not in variables


def test_further_variables_are_passed_on():
    variables = Resolved({"Environment": "SITE=attic,QUERY=a=b"}).properties("Function")["Environment"]["Variables"]
    assert variables["FORWARDER_ENVIRONMENT"] == "SITE=attic,QUERY=a=b"
    pattern = source()["Parameters"]["Environment"]["AllowedPattern"]
    for text, fits in (("", True), ("A=1", True), ("A=1,_B2=", True), ("A", False), ("A=1,B", False), ("1A=1", False), (",", False)):
        assert bool(re.match(pattern, text)) == fits, text


def test_a_workspace_of_another_account_is_named_wherever_it_matters():
    resolved = Resolved(CHOICES["another account"])
    arn = CHOICES["another account"]["WorkspaceArn"]
    variables = resolved.properties("Function")["Environment"]["Variables"]
    assert variables["AMP_REMOTE_WRITE_URL"] == "https://aps-workspaces.us-west-2.amazonaws.com/workspaces/ws-2/api/v1/remote_write"
    assert (variables["AMP_REGION"], variables["AMP_WORKSPACE_ID"]) == ("us-west-2", "ws-2")
    assert statements(resolved, "ApsEndpoint")["WriteAndQuery"]["Resource"] == [arn]
    assert statements(resolved, "FunctionPolicy")["Write"]["Resource"] == arn
    # Its metrics are in its own account: an alarm and a graph here would watch nothing.
    assert "DiscardedAlarm" not in resolved.resources and "DiscardedAlarm" in Resolved().resources
    titles = {choice: [one["properties"]["title"] for one in json.loads(Resolved(CHOICES[choice]).properties("Dashboard")["DashboardBody"])["widgets"]]
              for choice in ("default", "another account")}
    assert len(titles["default"]) == 6 and set(titles["default"]) - set(titles["another account"]) == {"Discarded by AMP, by reason"}


@pytest.mark.parametrize(("choice", "place"), [
    ("default", ""), ("config in the bucket", "s3://<SpoolBucket>/config/forwarder.yml"), ("config elsewhere", "s3://other/path/forwarder.yml"),
])
def test_the_configuration_is_where_the_parameter_says(choice, place):
    assert Resolved(CHOICES[choice]).properties("Function")["Environment"]["Variables"]["FORWARDER_CONFIG"] == place


def egress(choice):
    rules = Resolved(CHOICES[choice]).properties("FunctionSecurityGroup")["SecurityGroupEgress"]
    where = ("CidrIp", "CidrIpv6", "DestinationPrefixListId", "DestinationSecurityGroupId")
    assert all(rule["IpProtocol"] == "tcp" and rule["FromPort"] == rule["ToPort"] for rule in rules)
    return sorted((next(rule[key] for key in where if key in rule), rule["FromPort"]) for rule in rules)


@pytest.mark.parametrize(("choice", "amp"), [
    ("default", [("<EndpointSecurityGroup.GroupId>", 443)]),
    ("existing endpoint", [("sg-1", 443)]),
    ("nat", [("0.0.0.0/0", 443)]),
    ("existing", [("10.0.0.0/16", 443)]),
    ("ipv6", [("::/0", 443)]),
])
def test_nothing_is_open_that_need_not_be(choice, amp):
    assert egress(choice) == sorted([("192.0.2.10/32", 30090), ("pl-1", 443), *amp])
    assert "SecurityGroupIngress" not in Resolved(CHOICES[choice]).properties("FunctionSecurityGroup")


def test_other_endpoints_than_amps_are_reached_too():
    assert Resolved(CHOICES["endpoints"]).of_type("AWS::EC2::SecurityGroupEgress") == {}, "they share the group of AMP's endpoint"
    rule, = Resolved(CHOICES["endpoints without amp's"]).of_type("AWS::EC2::SecurityGroupEgress").values()
    assert (rule["GroupId"], rule["DestinationSecurityGroupId"]) == ("<FunctionSecurityGroup.GroupId>", "<EndpointSecurityGroup.GroupId>")
    assert (rule["FromPort"], rule["ToPort"]) == (443, 443)


def test_the_endpoints_admit_the_whole_vpc_and_nothing_else():
    group = Resolved().properties("EndpointSecurityGroup")
    assert [(rule["CidrIp"], rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in group["SecurityGroupIngress"]] == [("10.0.0.0/16", 443, 443, "tcp")]
    further = Resolved(CHOICES["two ranges"]).of_type("AWS::EC2::SecurityGroupIngress")
    assert [rule["CidrIp"] for rule in further.values() if "CidrIp" in rule] == ["10.1.0.0/16", "100.64.0.0/16"]
    # And the function itself, wherever its subnets are.
    rule = Resolved().properties("EndpointIngress")
    assert (rule["GroupId"], rule["SourceSecurityGroupId"]) == ("<EndpointSecurityGroup.GroupId>", "<FunctionSecurityGroup.GroupId>")
    outputs = source()["Outputs"]["EndpointSecurityGroupId"]
    assert outputs["Condition"] == "MakeInterfaceEndpoint"
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["255.255.255.255/32"]


def test_each_egress_makes_its_own_network_and_no_other():
    kinds = ("AWS::EC2::VPCEndpoint", "AWS::EC2::NatGateway", "AWS::EC2::EgressOnlyInternetGateway", "AWS::EC2::Route", "AWS::EC2::EIP",
             "AWS::EC2::SecurityGroupIngress")
    made = {choice: sorted(name for kind in kinds for name in Resolved(CHOICES[choice]).of_type(kind)) for choice in CHOICES}
    made = {choice: [name for name in names if not name.startswith("EndpointIngress")] for choice, names in made.items()}
    assert made["default"] == ["ApsEndpoint"]
    assert made["nat"] == ["NatAddress", "NatGateway", "NatRoute"]
    assert made["ipv6"] == ["Ipv6Gateway", "Ipv6Route"]
    assert made["nat that exists"] == made["ipv6 that exists"] == made["existing"] == []
    assert made["existing endpoint"] == ["ApsEndpointIngress"]
    assert made["s3 endpoint"] == ["ApsEndpoint", "S3VpcEndpoint"]
    assert made["endpoints"] == ["ApsEndpoint", "KmsVpcEndpoint", "SecretsManagerVpcEndpoint", "SsmVpcEndpoint", "StsVpcEndpoint"]


def test_the_endpoint_of_amp_keeps_what_the_vpc_does_already():
    own = "arn:aws:aps:us-east-1:123456789012:workspace/ws-00000000-0000-0000-0000-000000000000"
    other = "arn:aws:aps:us-east-1:123456789012:workspace/ws-1"
    endpoint = Resolved().properties("ApsEndpoint")
    assert endpoint["PrivateDnsEnabled"] is True
    statement = statements(Resolved(), "ApsEndpoint")["WriteAndQuery"]
    assert statement["Resource"] == [own]
    assert {"aps:RemoteWrite", "aps:QueryMetrics", "aps:GetSeries", "aps:GetLabels", "aps:GetMetricMetadata"} <= set(statement["Action"])
    # Reading and writing samples only: nothing that changes a workspace.
    assert all(re.match(r"aps:(Get|List|QueryMetrics$|RemoteWrite$)", action) for action in statement["Action"])
    more = Resolved({"OtherWorkspaceArns": f"{other},{other}b"})
    assert statements(more, "ApsEndpoint")["WriteAndQuery"]["Resource"] == [own, other, other + "b"]
    assert Resolved({"EndpointSubnetIds": "subnet-7"}).properties("ApsEndpoint")["SubnetIds"] == ["subnet-7"]


def test_the_gateway_endpoint_takes_nothing_from_its_other_users():
    endpoint = Resolved(CHOICES["s3 endpoint"]).properties("S3VpcEndpoint")
    assert endpoint["RouteTableIds"] == ["rtb-1", "rtb-2"]
    statement, = endpoint["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"], statement["Resource"]) == ("Allow", "*", "s3:*", "*")


def test_the_bucket_keeps_what_is_owed():
    for name in ("SpoolBucket", "SpoolBucketPolicy"):
        resource = Resolved().resources[name]
        # A stack that could not be made leaves nothing behind.
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    resource = Resolved().resources["SpoolBucket"]
    bucket = resource["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "VersioningConfiguration" not in bucket and "BucketName" not in bucket
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert {rule.get("Prefix"): rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule} == {"spool/rejected/": 30, "spool/expired/": 30}
    assert [rule["AbortIncompleteMultipartUpload"] for rule in rules if "ExpirationInDays" not in rule] == [{"DaysAfterInitiation": 1}]
    for owed in ("spool/state.json", "spool/segments/amp/0000000001-00000001-0001.seg"):
        assert not [rule for rule in rules if "ExpirationInDays" in rule and owed.startswith(rule["Prefix"])], owed
    default, = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert default == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    keyed, = Resolved(CHOICES["kms"]).properties("SpoolBucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert keyed == {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": {
        "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:us-east-1:123456789012:key/1"}}
    policy = statements(Resolved(), "SpoolBucketPolicy")
    assert {name: (one["Effect"], one["Action"]) for name, one in policy.items()} == {"OnlyTls": ("Deny", ["s3:*"]), "OnlyTls12": ("Deny", ["s3:*"])}
    assert policy["OnlyTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_schedule_does_not_repeat_itself():
    schedule = Resolved({"ScheduleState": "ENABLED"}).properties("Schedule")
    assert (schedule["ScheduleExpression"], schedule["FlexibleTimeWindow"], schedule["State"]) == ("rate(1 minute)", {"Mode": "OFF"}, "ENABLED")
    assert schedule["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    # A new stack waits for its check.
    assert Resolved().properties("Schedule")["State"] == "DISABLED"


def test_a_workspace_of_its_own_stays_and_takes_late_samples():
    resource = Resolved(CHOICES["workspace"]).resources["Workspace"]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert resource["Properties"]["WorkspaceConfiguration"] == {"RetentionPeriodInDays": 150, "OutOfOrderTimeWindowInSeconds": 600}
    assert Resolved().of_type("AWS::APS::Workspace") == {} and Resolved().of_type("AWS::APS::RuleGroupsNamespace") == {}


def test_the_example_of_a_samconfig_fits():
    deploy = tomllib.loads((TEMPLATE.parent / "samconfig.toml.example").read_text())["default"]["deploy"]["parameters"]
    given = dict(pair.split("=", 1) for pair in deploy["parameter_overrides"])
    resolved = Resolved(given)
    assert resolved.broken_rules() == []
    for name, value in given.items():
        pattern = resolved.template["Parameters"][name].get("AllowedPattern")
        assert not pattern or re.fullmatch(pattern.strip("^$"), value), f"{name}={value}"
    # IAM roles without names of their own.
    assert deploy["capabilities"] == "CAPABILITY_IAM"
