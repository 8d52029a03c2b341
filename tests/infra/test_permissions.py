"""What the function may do: this, all of this, and nothing else."""

import json
import os
import re
import subprocess

import pytest

from samcli.yamlhelper import yaml_parse

from moto_stack import Stack
from sam import ACCOUNT, ROOT, SITE_TEMPLATE, Resolved, statements

WRITE = "arn:aws:aps:us-east-1:123456789012:workspace/ws-00000000-0000-0000-0000-000000000000"
INTERFACES = ["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
              "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses"]
ALWAYS = {
    "Write": ("Allow", ["aps:RemoteWrite"], WRITE, None),
    "Spool": ("Allow", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "<SpoolBucket.Arn>/spool/*", None),
    "SpoolList": ("Allow", ["s3:ListBucket"], "<SpoolBucket.Arn>", {"StringLikeIfExists": {"s3:prefix": "spool/*"}}),
    "Logs": ("Allow", ["logs:CreateLogStream", "logs:PutLogEvents"], "<LogGroup.Arn>", None),
    "NetworkInterfaces": ("Allow", INTERFACES, "*", None),
    "NotTheCode": ("Deny", sorted([*INTERFACES, "ec2:DetachNetworkInterface"]), "*", {"ArnEquals": {"lambda:SourceFunctionArn": "<Function.Arn>"}}),
}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
# A function of many sites reads their configurations, and writes beside them and nowhere else.
SITES = {
    "Spool": ("Allow", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "<SpoolBucket.Arn>/sites/*/spool/*", None),
    "SpoolList": ("Allow", ["s3:ListBucket"], "<SpoolBucket.Arn>", {"StringLikeIfExists": {"s3:prefix": "sites/*"}}),
    "SiteConfigs": ("Allow", ["s3:GetObject"], "<SpoolBucket.Arn>/sites/*/forwarder.yml", None),
}
SITE_ROLES = {"SiteRoles": ("Allow", ["sts:AssumeRole"], "arn:aws:iam::123456789012:role/amp-forwarder/stack/*", None)}
OPTIONAL = [
    ({"Config": "bucket"}, {"Config": ("Allow", ["s3:GetObject"], "<SpoolBucket.Arn>/config/forwarder.yml", None)}),
    ({"Config": "s3://other/a/b.yml"}, {"Config": ("Allow", ["s3:GetObject"], "arn:aws:s3:::other/a/b.yml", None)}),
    ({"KmsKeyArn": KEY}, {"Key": ("Allow", ["kms:Decrypt", "kms:GenerateDataKey"], KEY, {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}})}),
    ({"RemoteWriteRoleArn": "arn:aws:iam::2:role/w"}, {"RemoteWriteRole": ("Allow", ["sts:AssumeRole"], "arn:aws:iam::2:role/w", None)}),
    ({"SsmParameterArns": "arn:a,arn:b"}, {"Parameters": ("Allow", ["ssm:GetParameter"], ["arn:a", "arn:b"], None)}),
    ({"VerifySchedule": "rate(1 day)"}, {"Verify": ("Allow", ["aps:QueryMetrics"], WRITE, None)}),
    ({"SecretObjectArns": "arn:aws:s3:::keys/password"}, {"SecretObjects": ("Allow", ["s3:GetObject"], ["arn:aws:s3:::keys/password"], None)}),
    ({"SecretKeyArns": "arn:d"}, {"SecretKeys": ("Allow", ["kms:Decrypt"], ["arn:d"], {"StringEquals": {
        "kms:ViaService": [f"{service}.us-east-1.amazonaws.com" for service in ("s3", "secretsmanager", "ssm")]}})}),
    ({"SecretArns": "arn:c"}, {"Secrets": ("Allow", ["secretsmanager:GetSecretValue"], ["arn:c"], None)}),
]


def policies(resolved, role="FunctionRole"):
    """Every statement that the role has, wherever it stands."""
    assert set(resolved.properties(role)) == {"Description", "AssumeRolePolicyDocument"}, "all policies are resources of their own"
    found = {}
    for name, properties in resolved.of_type("AWS::IAM::Policy").items():
        if f"<{role}>" in properties["Roles"]:
            for sid, one in statements(resolved, name).items():
                assert sid not in found and set(one) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
                found[sid] = (one["Effect"], one["Action"], one["Resource"], one.get("Condition"))
    assert not resolved.of_type("AWS::IAM::ManagedPolicy")
    return found


@pytest.mark.parametrize(("parameters", "more"), [({}, {}), *OPTIONAL])
def test_the_exact_list(parameters, more):
    assert policies(Resolved(parameters)) == {**ALWAYS, **more}


def test_the_exact_list_of_many_sites():
    assert policies(Resolved({"Sites": "true"})) == {**ALWAYS, **SITES}
    # What a site's own role may do, the function's own role may not.
    own_roles = {**{sid: ALWAYS[sid] for sid in ("Logs", "NetworkInterfaces", "NotTheCode")}, **SITE_ROLES}
    with_all = {"Sites": "true", "SiteRoles": "true", "KmsKeyArn": KEY, "VerifySchedule": "rate(1 day)"}
    for parameters in ({"Sites": "true", "SiteRoles": "true"}, with_all):
        resolved = Resolved(parameters)
        assert policies(resolved) == own_roles
        variables = resolved.properties("Function")["Environment"]["Variables"]
        assert variables["FORWARDER_ROLE_ARN"] == "arn:aws:iam::123456789012:role/amp-forwarder/stack/stack-{site}"
    assert "FORWARDER_ROLE_ARN" not in Resolved({"Sites": "true"}).properties("Function")["Environment"]["Variables"]


SITE = {"Site": "tokyo", "FunctionArn": "f", "FunctionRoleArn": "arn:aws:iam::123456789012:role/f", "ScheduleGroupName": "g", "ScheduleRoleArn": "s",
        "SharedStack": "stack", "WriteWorkspaceArn": WRITE, "SpoolBucketArn": "arn:aws:s3:::b"}


def site(**more):
    return Resolved({**SITE, **more}, yaml_parse(SITE_TEMPLATE.read_text()))


def test_the_exact_list_of_a_site_with_a_role_of_its_own():
    resolved = site()
    role = resolved.properties("Role")
    assert (role["Path"], role["RoleName"]) == ("/amp-forwarder/stack/", "stack-tokyo")
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"AWS": SITE["FunctionRoleArn"]}, "Action": "sts:AssumeRole"}]
    found = {sid: (one["Action"], one["Resource"], one.get("Condition")) for sid, one in statements(resolved, "Policy").items()}
    assert found == {
        "Write": (["aps:RemoteWrite"], WRITE, None),
        "Config": (["s3:GetObject"], "arn:aws:s3:::b/sites/tokyo/forwarder.yml", None),
        "Spool": (["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "arn:aws:s3:::b/sites/tokyo/spool/*", None),
        "SpoolList": (["s3:ListBucket"], "arn:aws:s3:::b", {"StringLikeIfExists": {"s3:prefix": "sites/tokyo/*"}}),
    }
    more = site(KmsKeyArn=KEY, VerifySchedule="rate(1 day)")
    assert statements(more, "Policy")["Write"]["Action"] == ["aps:RemoteWrite", "aps:QueryMetrics"]
    assert statements(more, "KeyPolicy")["Key"]["Resource"] == KEY
    assert "Role" not in site(WriteWorkspaceArn="").resources


def test_who_may_take_the_role():
    trust, = Resolved().properties("FunctionRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}


# What the code asks AWS for, by where it does so: the crate's name in src/, or the operation of one of its clients.
# A new crate or operation fails the test below until it is listed here, with its permission, and the templates grant it.
CRATES = {
    "aws_config": {"sts:AssumeRole"},  # sigv4.role_arn; the function's own credentials come from its environment
    "aws_credential_types": set(),
    "aws_sdk_s3": None,  # by operation
    "aws_sigv4": {"aps:RemoteWrite"},  # and aps:QueryMetrics of a verification, which is optional
    "aws_smithy_runtime_api": set(),
    "aws_smithy_types": set(),
    "aws_types": set(),
}
OPERATIONS = {
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
}


def sources():
    """src/ without its tests, as a Lambda function runs none of them."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if "tests" not in path.relative_to(ROOT).parts and not path.stem.endswith("tests"):
            yield path, path.read_text().split("#[cfg(test)]")[0]


def called():
    crates, operations = set(), set()
    for _, text in sources():
        crates |= set(re.findall(r"\b(aws_[a-z0-9_]+)::", text))
        if re.search(r"\baws_sdk_", text):
            # A fluent builder: no arguments, then its inputs or what sends it.
            operations |= set(re.findall(r"client\s*\.([a-z][a-z0-9_]+)\(\)\s*\.", text))
    return crates, operations


def test_every_call_the_code_makes_is_known_and_allowed():
    crates, operations = called()
    assert crates == set(CRATES), "a crate that speaks to AWS came or went: say which permissions its calls need"
    assert operations == set(OPERATIONS), "an SDK operation came or went: say which permission it needs"
    needed = set(OPERATIONS.values()).union(*(value for value in CRATES.values() if value))
    everything = policies(Resolved({"Config": "bucket", "KmsKeyArn": KEY, "RemoteWriteRoleArn": "arn:aws:iam::2:role/w"}))
    allowed = {action for effect, actions, _, _ in everything.values() if effect == "Allow" for action in actions}
    assert needed <= allowed, needed - allowed
    # And the other way: what is allowed is asked for, by the code, by Lambda for it, or by S3 for a key.
    by_aws = {"logs:CreateLogStream", "logs:PutLogEvents", "kms:Decrypt", "kms:GenerateDataKey", *INTERFACES}
    assert allowed - by_aws == needed


@pytest.fixture(scope="module")
def spool_tests():
    """The program of tests/real/store."""
    command = [os.environ.get("CARGO", "cargo"), "test", "--quiet", "--locked", "--workspace", "--test", "store", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    messages = map(json.loads, built.stdout.splitlines())
    return next(one["executable"] for one in messages if one.get("executable") and one["target"]["name"] == "store")


def run_spool_tests(program, moto, stack, credentials, prefix="spool", **more):
    """The promises of a store under these credentials."""
    environment = {
        **os.environ, "AWS_ENDPOINT_URL_S3": moto.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"], "AWS_SESSION_TOKEN": credentials["SessionToken"],
        "SPOOL_BUCKET": stack.outputs["SpoolBucketName"], "SPOOL_PREFIX": prefix, **more,
    }
    command = [program, "--ignored", "--exact", "role::the_deployed_role_may_do_what_a_spool_does"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "1 passed" in done.stdout or "1 failed" in done.stdout, done.stdout + done.stderr
    return done


@pytest.fixture
def enforced(moto, stack):
    """The deployed role's credentials, while moto asks for permissions; the spool is empty."""
    credentials = stack.role_credentials()
    bucket = moto.client("s3")
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=stack.outputs["SpoolBucketName"], Prefix="spool/")
    for page in pages:
        if "Contents" in page:
            keys = [{"Key": one["Key"]} for one in page["Contents"]]
            bucket.delete_objects(Bucket=stack.outputs["SpoolBucketName"], Delete={"Objects": keys})
    moto.enforce(True)
    yield credentials
    moto.enforce(False)


def test_the_deployed_role_serves_the_spool(moto, stack, enforced, spool_tests):
    done = run_spool_tests(spool_tests, moto, stack, enforced)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("action", ALWAYS["Spool"][1] + ALWAYS["SpoolList"][1])
def test_no_action_can_be_missed(moto, stack, enforced, spool_tests, action):
    iam = moto.client("iam")
    role = stack.id("FunctionRole")
    moto.enforce(False)
    document = iam.get_role_policy(RoleName=role, PolicyName="forward")["PolicyDocument"]
    less = {**document, "Statement": []}
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        left = [one for one in actions if one != action]
        if left:
            less["Statement"].append({**statement, "Action": left})
    try:
        iam.put_role_policy(RoleName=role, PolicyName="forward", PolicyDocument=json.dumps(less))
        moto.enforce(True)
        done = run_spool_tests(spool_tests, moto, stack, enforced)
    finally:
        moto.enforce(False)
        iam.put_role_policy(RoleName=role, PolicyName="forward", PolicyDocument=json.dumps(document))
    assert done.returncode != 0, f"the spool's tests pass without {action}"
    assert "AccessDenied" in done.stdout, done.stdout


@pytest.fixture
def many_sites(moto):
    """A stack whose sites have roles, and the stacks of two of them, on a moto that asks for permissions."""
    shared = Stack(moto, "many", {"Sites": "true", "SiteRoles": "true", "HomeCidr": "10.0.0.0/8", "Egress": "existing"})
    cloudformation = moto.client("cloudformation")
    for name in ("tokyo", "osaka"):
        given = {**SITE, "Site": name, "SharedStack": "many", "FunctionRoleArn": shared.outputs["FunctionRoleArn"],
                 "SpoolBucketArn": shared.outputs["SpoolBucketArn"]}
        cloudformation.create_stack(
            StackName=f"many-site-{name}", TemplateBody=SITE_TEMPLATE.read_text(), Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()])
    # moto takes a session of the function's role for another principal than the role, which AWS does not. Whom the role admits is a matter
    # of the list above.
    for name in ("tokyo", "osaka"):
        role = moto.client("iam").get_role(RoleName=f"many-{name}")["Role"]
        trust = role["AssumeRolePolicyDocument"]
        assert [one["Principal"] for one in trust["Statement"]] == [{"AWS": shared.outputs["FunctionRoleArn"]}]
        trust["Statement"][0]["Principal"] = {"AWS": "*"}
        moto.client("iam").update_assume_role_policy(RoleName=f"many-{name}", PolicyDocument=json.dumps(trust))
    credentials = shared.role_credentials()
    moto.enforce(True)
    yield shared, credentials
    moto.enforce(False)
    for name in ("many-site-tokyo", "many-site-osaka", "many"):
        cloudformation.delete_stack(StackName=name)


def test_the_role_of_a_site_serves_its_spool_and_no_other(moto, many_sites, spool_tests):
    shared, credentials = many_sites
    role = shared.outputs["SiteRoleArn"].replace("{site}", "tokyo")
    assert role == f"arn:aws:iam::{ACCOUNT}:role/amp-forwarder/many/many-tokyo"
    under_role = {"AWS_ENDPOINT_URL_STS": moto.url, "FORWARDER_ROLE_ARN": role}
    own = run_spool_tests(spool_tests, moto, shared, credentials, "sites/tokyo/spool", **under_role)
    assert own.returncode == 0, own.stdout + own.stderr
    other = run_spool_tests(spool_tests, moto, shared, credentials, "sites/osaka/spool", **under_role)
    assert other.returncode != 0 and "AccessDenied" in other.stdout, other.stdout
    # Nor may the function itself, or assume a role that is none of a site's.
    itself = run_spool_tests(spool_tests, moto, shared, credentials, "sites/tokyo/spool")
    assert itself.returncode != 0 and "AccessDenied" in itself.stdout, itself.stdout
    foreign = {**under_role, "FORWARDER_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/elsewhere"}
    refused = run_spool_tests(spool_tests, moto, shared, credentials, "sites/tokyo/spool", **foreign)
    assert refused.returncode != 0 and "cannot assume the role" in refused.stdout, refused.stdout
