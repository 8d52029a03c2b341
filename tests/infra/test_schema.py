"""What editors are told of forwarder.yml."""

import json
import re

import jsonschema
import pytest
import yaml

from sam import ROOT

SCHEMA = json.loads((ROOT / "infra/forwarder.schema.json").read_text())
EXAMPLE = yaml.safe_load((ROOT / "infra/forwarder.example.yml").read_text())


def errors(document):
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(document)]


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_the_example_is_valid():
    assert errors(EXAMPLE) == []


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md"])
def test_the_configurations_in_the_documents_are_valid(page):
    block, = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert errors(yaml.safe_load(block)) == []


@pytest.mark.parametrize("change", [
    lambda it: it["scrape_configs"][0].update(scrape_intervall="15s"),
    lambda it: it["scrape_configs"][0].update(honor_labels="yes please"),
    lambda it: it["scrape_configs"][0].update(scrape_interval=15),
    lambda it: it["scrape_configs"][0].update(scrape_interval="15"),
    lambda it: it["scrape_configs"][0].update(scrape_interval=""),
    lambda it: it["scrape_configs"][0].update(static_configs={"targets": []}),
    lambda it: it["scrape_configs"][0].update(kubernetes_sd_configs=[]),
    lambda it: it["remote_write"][0].update(send_exemplars=True),
    lambda it: it["remote_write"][0]["queue_config"].update(capacity="many"),
    lambda it: it["remote_write"][0].update(write_relabel_configs=[{"action": "remove"}]),
    lambda it: it["forwarder"].update(remote_read={"mode": "sometimes"}),
    lambda it: it["forwarder"]["spool"].update(max_bytes="10 gigabytes"),
    lambda it: it.pop("remote_write"),
    lambda it: it.update(rule_files=[]),
])
def test_a_wrong_key_or_value_is_refused(change):
    document = yaml.safe_load((ROOT / "infra/forwarder.example.yml").read_text())
    change(document)
    assert len(errors(document)) == 1, errors(document)


@pytest.mark.parametrize("change", [
    lambda it: it["scrape_configs"][0].update(scrape_interval="1m30s", sample_limit=0, body_size_limit="1.5MB"),
    lambda it: it["remote_write"][0].update(send_exemplars=False, headers={"x": 1}),
    lambda it: it["forwarder"].update(remote_read={"overlap": "auto", "resolution": 0}, metadata=None),
    lambda it: it["forwarder"]["spool"].update(rejected={"max_bytes": "100MiB"}),
    lambda it: it["scrape_configs"][0].update(http_headers={"X-Scope": {"values": ["a"]}}),
])
def test_what_the_loader_takes_is_valid(change):
    document = yaml.safe_load((ROOT / "infra/forwarder.example.yml").read_text())
    change(document)
    assert errors(document) == []
