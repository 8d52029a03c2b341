"""The template on moto's CloudFormation, which lacks some types: those are deployed through their own API here, or only counted."""

import json

import pytest

from moto_stack import Stack
from sam import Resolved, WORKSPACE

CREATED = {
    "ApsEndpoint": "AWS::EC2::VPCEndpoint",
    "AlarmTopic": "AWS::SNS::Topic",
    "ConfigPolicy": "AWS::IAM::Policy",
    "Dashboard": "AWS::CloudWatch::Dashboard",
    "EndpointIngress": "AWS::EC2::SecurityGroupIngress",
    "EndpointSecurityGroup": "AWS::EC2::SecurityGroup",
    "Function": "AWS::Lambda::Function",
    "FunctionPolicy": "AWS::IAM::Policy",
    "FunctionRole": "AWS::IAM::Role",
    "FunctionSecurityGroup": "AWS::EC2::SecurityGroup",
    "LogGroup": "AWS::Logs::LogGroup",
    "NetworkInterfacePolicy": "AWS::IAM::Policy",
    "Recovery": "AWS::Events::Rule",
    "SchedulePolicy": "AWS::IAM::Policy",
    "ScheduleRole": "AWS::IAM::Role",
    "SpoolBucket": "AWS::S3::Bucket",
}

SKIPPED = {
    "AtHomeOnlyAlarm": "AWS::CloudWatch::Alarm",
    "AlarmSubscription": "AWS::SNS::Subscription",
    "AlarmTopicPolicy": "AWS::SNS::TopicPolicy",
    "BacklogAlarm": "AWS::CloudWatch::Alarm",
    "DiscardedAlarm": "AWS::CloudWatch::Alarm",
    "ErrorsAlarm": "AWS::CloudWatch::Alarm",
    "ExpiredAlarm": "AWS::CloudWatch::Alarm",
    "FunctionEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
    "LagAlarm": "AWS::CloudWatch::Alarm",
    "LostAlarm": "AWS::CloudWatch::Alarm",
    "NoSuccessAlarm": "AWS::CloudWatch::Alarm",
    "RejectedAlarm": "AWS::CloudWatch::Alarm",
    "Schedule": "AWS::Scheduler::Schedule",
    "ScheduleGroup": "AWS::Scheduler::ScheduleGroup",
    "SpoolBucketPolicy": "AWS::S3::BucketPolicy",
    "ThrottlesAlarm": "AWS::CloudWatch::Alarm",
}


@pytest.fixture(scope="module")
def resolved():
    return Resolved({"AlarmEmail": "me@example.com", "Config": "bucket"})


def test_what_is_created_and_what_moto_skips(stack, resolved):
    created = {name: one["ResourceType"] for name, one in stack.resources.items() if name}
    assert created == CREATED
    wanted = {name: one["Type"] for name, one in resolved.resources.items()}
    assert {name: kind for name, kind in wanted.items() if name not in created} == SKIPPED


def test_the_function_has_its_environment_and_network(moto, stack):
    function = moto.client("lambda").get_function_configuration(FunctionName=stack.id("Function"))
    bucket = stack.outputs["SpoolBucketName"]
    assert function["Environment"]["Variables"] == {
        "FORWARDER_CONFIG": f"s3://{bucket}/config/forwarder.yml",
        "AMP_REGION": "us-east-1",
        "AMP_WORKSPACE_ID": WORKSPACE,
        "AMP_REMOTE_WRITE_URL": f"https://aps-workspaces.us-east-1.amazonaws.com/workspaces/{WORKSPACE}/api/v1/remote_write",
        "SPOOL_URL": f"s3://{bucket}/spool",
        "AWS_USE_FIPS_ENDPOINT": "false",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
    }
    assert (function["Timeout"], function["MemorySize"], function["Architectures"]) == (90, 128, ["x86_64"])
    assert function["Role"].endswith(stack.id("FunctionRole"))
    assert function["VpcConfig"]["SecurityGroupIds"] == [stack.id("FunctionSecurityGroup")]


def test_the_bucket_is_as_it_must_be(moto, stack, resolved):
    s3, bucket = moto.client("s3"), stack.outputs["SpoolBucketName"]
    default, = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert default["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    # moto's CloudFormation leaves these out.
    properties = resolved.properties("SpoolBucket")
    rules = []
    for rule in properties["LifecycleConfiguration"]["Rules"]:
        one = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
        if "ExpirationInDays" in rule:
            one["Expiration"] = {"Days": rule["ExpirationInDays"]}
        else:
            one["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
        rules.append(one)
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert len(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]) == 3
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=properties["PublicAccessBlockConfiguration"])


def test_the_schedule_goes_through_its_api(moto, stack, resolved):
    scheduler = moto.client("scheduler")
    wanted = resolved.properties("Schedule")
    role = f"arn:aws:iam::123456789012:role/{stack.id('ScheduleRole')}"
    function = stack.outputs["FunctionArn"]
    scheduler.create_schedule_group(Name="group")
    target = {**wanted["Target"], "Arn": function, "RoleArn": role}
    scheduler.create_schedule(**{**wanted, "Name": "tick", "GroupName": "group", "Target": target})
    made = scheduler.get_schedule(Name="tick", GroupName="group")
    assert {key: made[key] for key in ("ScheduleExpression", "State", "FlexibleTimeWindow")} == {
        "ScheduleExpression": "rate(1 minute)", "State": "DISABLED", "FlexibleTimeWindow": {"Mode": "OFF"}}
    assert made["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    # The role of the schedule may be taken by the Scheduler alone, for this account and this group, and start this function alone.
    iam = moto.client("iam")
    trust, = iam.get_role(RoleName=stack.id("ScheduleRole"))["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    assert trust["Condition"]["ArnEquals"]["aws:SourceArn"].startswith("arn:aws:scheduler:us-east-1:123456789012:schedule-group/")
    name, = iam.list_role_policies(RoleName=stack.id("ScheduleRole"))["PolicyNames"]
    statement, = iam.get_role_policy(RoleName=stack.id("ScheduleRole"), PolicyName=name)["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("lambda:InvokeFunction", function)


def test_two_stacks_at_once(moto, stack):
    other = Stack(moto, "second", {"Egress": "existing"})
    shared = {one["PhysicalResourceId"] for name, one in stack.resources.items() if name} & {
        one["PhysicalResourceId"] for name, one in other.resources.items() if name}
    assert shared == set()


def test_the_skipped_types_are_valid_where_moto_has_an_api(moto, stack, resolved):
    cloudwatch = moto.client("cloudwatch")
    for name, properties in resolved.of_type("AWS::CloudWatch::Alarm").items():
        cloudwatch.put_metric_alarm(AlarmName=name, **json.loads(json.dumps(properties)))
    bucket, policy = stack.outputs["SpoolBucketName"], resolved.properties("SpoolBucketPolicy")["PolicyDocument"]
    text = json.dumps(policy).replace("<SpoolBucket.Arn>", f"arn:aws:s3:::{bucket}")
    s3 = moto.client("s3")
    s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(text)
    # moto takes a condition that is not met for a denial.
    s3.delete_bucket_policy(Bucket=bucket)
    config = {key: value for key, value in resolved.properties("FunctionEventInvokeConfig").items() if key.startswith("Maximum")}
    moto.client("lambda").put_function_event_invoke_config(FunctionName=stack.id("Function"), **config)
