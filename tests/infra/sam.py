"""The SAM template: read, translated as CloudFormation's macro does it, and deployed on moto."""

import copy
import functools
import json
import os
import pathlib
import re

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra/sam/template.yaml"
SITE_TEMPLATE = ROOT / "infra/sam/site.yaml"
REGION = "us-east-1"
ACCOUNT = "123456789012"
WORKSPACE = "ws-00000000-0000-0000-0000-000000000000"

# SAM's translator asks boto for a region.
os.environ.setdefault("AWS_DEFAULT_REGION", REGION)


def source():
    """The template as it is written."""
    return yaml_parse(TEMPLATE.read_text())


@functools.cache
def translated(code=("code", "bootstrap.zip")):
    """What CloudFormation makes of it; the artefact is where `sam package` would have put it."""
    template = source()
    template["Resources"]["Function"]["Properties"]["CodeUri"] = {"Bucket": code[0], "Key": code[1]}
    return Translator({}, Parser()).translate(template, {})


class Resolved:
    """A template under parameters, as CloudFormation resolves it: conditions decided, `Fn::If` and `AWS::NoValue` gone.

    References to resources stay symbolic: `Ref` gives `<Name>`, `Fn::GetAtt` gives `<Name.Attribute>`.
    """

    _NOTHING = object()

    def __init__(self, parameters=None, template=None):
        self.template = copy.deepcopy(template or translated())
        declared = self.template["Parameters"]
        shared = {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2", "VpcCidr": "10.0.0.0/16", "HomeCidr": "192.0.2.10/32",
                  "S3PrefixListId": "pl-1", "WorkspaceId": WORKSPACE}
        # The template of a site has none of them.
        given = {**({} if "Site" in declared else shared), **(parameters or {})}
        unknown = set(given) - set(declared)
        assert not unknown, f"unknown parameters {unknown}"
        self.values = {name: given.get(name, declared[name].get("Default")) for name in declared}
        missing = [name for name, value in self.values.items() if value is None]
        assert not missing, f"parameters without a value: {missing}"
        for name, parameter in declared.items():
            kind = parameter["Type"]
            if kind.startswith("List<") or kind == "CommaDelimitedList":
                self.values[name] = str(self.values[name]).split(",")
            elif kind == "Number":
                self.values[name] = int(self.values[name])
        self.values |= {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::StackName": "stack",
                        "AWS::URLSuffix": "amazonaws.com"}
        self.resources = {}
        for name, resource in self.template["Resources"].items():
            if self.holds(resource.get("Condition")):
                self.resources[name] = {**resource, "Properties": self.value(resource.get("Properties", {}))}

    def holds(self, condition):
        return condition is None or bool(self.value(self.template["Conditions"][condition]))

    def broken_rules(self):
        """The assertions of `Rules` that these parameters break."""
        broken = []
        for rule in self.template["Rules"].values():
            if "RuleCondition" not in rule or self.value(rule["RuleCondition"]):
                broken += [one["AssertDescription"] for one in rule["Assertions"] if not self.value(one["Assert"])]
        return broken

    def of_type(self, kind):
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}

    def properties(self, name):
        return self.resources[name]["Properties"]

    def value(self, node):
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not self._NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (key, argument), = node.items()
            method = getattr(self, "_" + key.replace("Fn::", "").lower(), None)
            if method and (key.startswith("Fn::") or key in ("Ref", "Condition")) and not (key == "Condition" and isinstance(argument, dict)):
                return method(argument)
        resolved = {key: self.value(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not self._NOTHING}

    def _ref(self, name):
        if name == "AWS::NoValue":
            return self._NOTHING
        return self.values[name] if name in self.values else f"<{name}>"

    def _getatt(self, path):
        return "<{}>".format(".".join(path) if isinstance(path, list) else path)

    def _condition(self, name):
        return self.holds(name)

    def _if(self, arguments):
        return self.value(arguments[1] if self.holds(arguments[0]) else arguments[2])

    def _equals(self, arguments):
        left, right = map(self.value, arguments)
        return str(left) == str(right)

    def _not(self, arguments):
        return not self.value(arguments[0])

    def _and(self, arguments):
        return all(map(self.value, arguments))

    def _or(self, arguments):
        return any(map(self.value, arguments))

    def _join(self, arguments):
        return arguments[0].join(self.value(arguments[1]))

    def _split(self, arguments):
        return self.value(arguments[1]).split(arguments[0])

    def _select(self, arguments):
        return self.value(arguments[1])[int(arguments[0])]

    def _sub(self, argument):
        text, variables = argument if isinstance(argument, list) else (argument, {})

        def replace(match):
            name = match.group(1)
            if name in variables:
                return str(self.value(variables[name]))
            return str(self._getatt(name) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^!}][^}]*)\}", replace, text)


def statements(resolved, name):
    """The statements of a policy by their Sid, actions as lists."""
    found = {}
    for statement in resolved.properties(name)["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        found[statement["Sid"]] = {**statement, "Action": [actions] if isinstance(actions, str) else actions}
    return found


def dump(value):
    return json.dumps(value, indent=1, sort_keys=True)
