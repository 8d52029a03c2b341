"""`sam deploy` for tests: the real one sends the template untranslated, which moto's CloudFormation does not know.

Reads the same files and flags, translates as CloudFormation's macro does, and makes or updates the stack at AWS_ENDPOINT_URL.
"""

import argparse
import json
import os
import tomllib

import boto3

from moto_stack import CODE_BUCKET, CODE_KEY
from sam import translated


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["deploy"])
    for flag in ("--template-file", "--config-file", "--stack-name"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--capabilities", nargs="+")
    for flag in ("--resolve-s3", "--no-fail-on-empty-changeset"):
        parser.add_argument(flag, action="store_true", required=True)
    arguments = parser.parse_args()
    with open(arguments.config_file, "rb") as file:
        overrides = tomllib.load(file)["default"]["deploy"]["parameters"]["parameter_overrides"]
    template = translated((CODE_BUCKET, CODE_KEY))
    # moto forgets defaults, and then knows no previous value of theirs.
    defaults = {name: str(one["Default"]) for name, one in template["Parameters"].items() if "Default" in one}
    values = defaults | dict(pair.split("=", 1) for pair in overrides)
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]
    client = boto3.client("cloudformation", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.create_stack(StackName=arguments.stack_name, TemplateBody=json.dumps(template), Parameters=parameters, Capabilities=arguments.capabilities)


main()
