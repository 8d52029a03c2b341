"""The translated template, deployed on moto's CloudFormation."""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
from botocore.config import Config

from sam import ACCOUNT, REGION, WORKSPACE, translated

CODE_BUCKET, CODE_KEY = "artefacts", "bootstrap.zip"


class Moto:
    """A moto server on a free port, and clients for it."""

    def __init__(self, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        program = pathlib.Path(sys.executable).with_name("moto_server")
        with open(log, "w") as output:
            # moto would run Lambda functions in containers.
            self.process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(self.port)], stdout=output, stderr=output,
                                            env={"PATH": "/usr/bin:/bin", "MOTO_DOCKER_LAMBDA_IMAGE": "none"})
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, pathlib.Path(self.log).read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).read()
                return
            time.sleep(0.05)
        raise TimeoutError(f"moto is not ready: {pathlib.Path(self.log).read_text()}")

    def client(self, service, credentials=None, region=REGION):
        keys = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test", "SessionToken": None}
        return boto3.client(service, endpoint_url=self.url, region_name=region, aws_access_key_id=keys["AccessKeyId"],
                            aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"],
                            config=Config(retries={"max_attempts": 1}))

    def enforce(self, on):
        """Whether each further call needs a permission."""
        body = b"0" if on else b"inf"
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset-auth", data=body, method="POST", headers={"Content-Type": "text/plain"}), timeout=10).read()

    def stop(self):
        # It keeps nothing, and its own way to end takes seconds.
        self.process.kill()
        self.process.wait()


class Stack:
    """One deployment."""

    def __init__(self, moto, name, parameters):
        self.moto, self.name = moto, name
        ec2 = moto.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
        given = {"VpcId": vpc, "SubnetIds": ",".join(subnets), "VpcCidr": "10.0.0.0/16", "HomeCidr": "192.0.2.10/32",
                 "S3PrefixListId": "pl-0123456789abcdef0", "WorkspaceId": WORKSPACE, **parameters}
        self.template = translated((CODE_BUCKET, CODE_KEY))
        moto.client("cloudformation").create_stack(
            StackName=name, TemplateBody=json.dumps(self.template), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()])
        stack = moto.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        pages = moto.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
        self.resources = {one["LogicalResourceId"]: one for page in pages for one in page["StackResourceSummaries"]}

    def id(self, logical):
        return self.resources[logical]["PhysicalResourceId"]

    def role_credentials(self, role="FunctionRole"):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{self.id(role)}"
        return self.moto.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
