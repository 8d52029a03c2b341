"""The guide (infra/README.md), its troubleshooting and the manifests for the home."""

import ipaddress
import re

import kubernetes_validate
import pytest
import yaml

from sam import ROOT

HOME = ROOT / "infra/home"
GUIDE = (ROOT / "infra/README.md").read_text()
FUNCTION_SUBNETS = ["10.20.1.0/24", "10.20.2.0/24"]
KUBERNETES = "1.32"


def manifests():
    return {path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(HOME.glob("*.yaml"))}


def section(title, text=GUIDE):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize("name", manifests())
def test_the_manifests_are_kubernetes(name):
    for resource in manifests()[name]:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_wrong_manifest_is_found():
    resource = manifests()["nodeport.yaml"][0]
    resource["spec"]["externalTraficPolicy"] = "Local"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_service_is_one_replica_and_keeps_the_functions_address():
    services = [resource for resources in manifests().values() for resource in resources if resource["kind"] == "Service"]
    assert len(services) == 3
    for service in services:
        assert service["spec"]["selector"].keys() == {"statefulset.kubernetes.io/pod-name"}
        assert service["spec"]["externalTrafficPolicy"] == "Local"
    ports = [port.get("nodePort") for service in services if service["spec"]["type"] == "NodePort" for port in service["spec"]["ports"]]
    assert ports == [30090, 30091]


def test_only_the_functions_subnets_are_let_in():
    policy, = (resource for resource in manifests()["nodeport.yaml"] if resource["kind"] == "NetworkPolicy")
    outside, cluster = policy["spec"]["ingress"]
    assert [source["ipBlock"]["cidr"] for source in outside["from"]] == FUNCTION_SUBNETS
    assert [port["port"] for port in outside["ports"]] == [9090]
    # Nobody from outside of the cluster by the second rule.
    assert cluster["from"] == [{"namespaceSelector": {}}]
    balancer, = manifests()["loadbalancer.yaml"]
    assert balancer["spec"]["loadBalancerSourceRanges"] == FUNCTION_SUBNETS
    # The same subnets as in the guide's firewall policy.
    for subnet in map(ipaddress.ip_network, FUNCTION_SUBNETS):
        assert f"set subnet {subnet.network_address} {subnet.netmask}" in section("The home's side")


def test_what_the_troubleshooting_quotes_is_what_the_function_says():
    source = "".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.rs")))
    # A backslash at the end of a line continues a literal of Rust, without what indents it.
    source = re.sub(r"\\\n\s*", "", source)
    page = (ROOT / "docs/troubleshooting.md").read_text()
    quoted = re.findall(r'"([^"|]{12,})"', section("By symptom", page))
    assert len(quoted) > 15
    for text in quoted:
        text = text.strip(" …")
        assert text in source, text


def test_each_link_leads_somewhere():
    headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", GUIDE):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / "infra" / target.split("#")[0]).exists(), target


def commands():
    """The first commands of the guide, without comments."""
    block = re.search(r"```console\n(.*?)```", GUIDE, re.DOTALL)[1]
    return [re.sub(r"\s+#.*", "", line.removeprefix("$ ")) for line in block.splitlines()]


def test_the_guide_begins_with_three_commands():
    first, second, third = commands()
    assert GUIDE.index("```console") < 200
    assert first.startswith("export AWS_REGION=") and second.startswith("make discover TARGET=") and third == "make deploy"


def test_nothing_is_left_to_be_written():
    assert "to be written" not in GUIDE
