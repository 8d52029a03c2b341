"""What `forwardctl --json` prints, compared with infra/outputs.schema.json, command by command."""

import contextlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.request

import jsonschema
import pytest

from sam import ROOT

SCHEMA = json.loads((ROOT / "infra/outputs.schema.json").read_text())
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
PROMETHEUS = pathlib.Path(os.environ["AMP_FORWARDER_TOOLS"]) / "prometheus-3.5/prometheus"

CONFIG = """
global: {{external_labels: {{site: attic}}, scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {{'match[]': ['{{job=~".+"}}']}}
    metric_relabel_configs: [{{source_labels: [__name__], regex: go_gc_.*, action: drop}}]
    static_configs: [{{targets: ['{home}']}}]
remote_write: [{{name: amp, url: '{remote}/api/v1/write', queue_config: {{max_backoff: 100ms}}}}]
forwarder: {{spool: {{url: 'file://{spool}'}}, metadata: {{enabled: true}}}}
"""


class Gate(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the receiver, or refuses them with the server's `status`."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, text = self.server.status, b"no"
        if status is None:
            headers = {name: self.headers[name] for name in ("Content-Type", "Content-Encoding") if self.headers[name]}
            request = urllib.request.Request(self.server.behind + self.path, data=body, headers=headers, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, text = answer.status, answer.read()
        self.answer(status, text)

    def do_GET(self):
        with urllib.request.urlopen(self.server.behind + self.path, timeout=30) as answer:
            self.answer(answer.status, answer.read())

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, holds):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if holds():
                return
        time.sleep(0.1)
    raise TimeoutError(what)


def value(port, query):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=5) as answer:
        return json.load(answer)["data"]["result"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each command printed, while all was well, while the remote was away, and after it had refused samples."""
    folder = tmp_path_factory.mktemp("outputs")
    ports = {name: free_port() for name in ("home", "remote")}
    (folder / "home.yml").write_text(
        f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{ports['home']}']}}]}}]\n")
    (folder / "remote.yml").write_text("{}\n")
    gate = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    gate.daemon_threads, gate.status, gate.behind = True, None, f"http://127.0.0.1:{ports['remote']}"
    threading.Thread(target=gate.serve_forever, daemon=True).start()
    with contextlib.ExitStack() as stack:
        stack.callback(gate.shutdown)
        for name, port in ports.items():
            with open(folder / f"{name}.log", "w") as log:
                process = subprocess.Popen(
                    [PROMETHEUS, f"--config.file={folder / name}.yml", f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / name}",
                     "--web.enable-remote-write-receiver"], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_for("the home has scraped itself", lambda: value(ports["home"], "up"))
        (folder / "forwarder.yml").write_text(CONFIG.format(
            home=f"127.0.0.1:{ports['home']}", remote=f"http://127.0.0.1:{gate.server_port}", spool=folder / "spool"))
        yield Session(folder, gate).all()


class Session:
    def __init__(self, folder, gate):
        self.folder, self.gate, self.printed = folder, gate, {}

    def run(self, name, *arguments):
        """Runs a command, and keeps each JSON document that it prints under `name`."""
        done = subprocess.run([TARGET / "forwardctl", "--json", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=240,
                              env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "AWS_EC2_METADATA_DISABLED": "true"})
        assert done.stdout, (name, done.stderr)
        decoder, rest = json.JSONDecoder(), done.stdout.strip()
        while rest:
            document, end = decoder.raw_decode(rest)
            self.printed.setdefault(name, []).append(document)
            rest = rest[end:].strip()
        return self.printed[name][-1]

    def all(self):
        self.run("check", "check", "--online")
        self.run("preview", "preview")
        self.run("estimate", "estimate", "--watch", "0s")
        self.run("import", "import", "home.yml")
        for series in ("up", 'go_gc_duration_seconds{job="self"}'):
            self.run("explain", "explain", series, "--online")
        assert self.run("run", "run", "--for", "7s")["outcome"] == "ok"
        self.run("verify", "verify", "--last", "3s", "--settled", "2s")
        # A remote that is away.
        self.gate.status = 503
        self.run("run", "run", "--once")
        status = self.run("status", "status")
        assert status["remotes"][0]["samples"] > 0, status
        self.run("spool ls", "spool", "ls")
        self.run("spool ls", "spool", "ls", "--long")
        self.run("spool show", "spool", "show", self.segment())
        self.run("spool verify", "spool", "verify")
        self.run("spool export", "spool", "export", "--output", "export.txt")
        # One that refuses.
        self.gate.status = 400
        self.run("spool drain", "spool", "drain")
        self.run("spool show", "spool", "show", self.segment("rejected"))
        self.run("spool ls", "spool", "ls", "--long")
        self.gate.status = None
        self.run("run", "run", "--once")
        self.run("status", "status")
        return self.printed

    def segment(self, of="segments"):
        """The name of an object in a folder of the spool."""
        return next(one for one in (self.folder / "spool" / of).rglob("*") if one.is_file()).name


def errors(name, document):
    """What of a document the definition of its command does not know."""
    found = jsonschema.Draft7Validator({**SCHEMA, "anyOf": [{"$ref": f"#/definitions/{name}"}]}).iter_errors(document)
    leaves = [jsonschema.exceptions.best_match([error]) for error in found]
    return [f"{error.json_path}: {error.message}" for error in leaves]


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_each_command_has_a_definition_and_prints_what_it_says(outputs):
    # The ledger is a part of others; a backlog is adopted by hand only.
    assert set(outputs) == set(SCHEMA["definitions"]) - {"ledger", "spool adopt"}
    for name, documents in outputs.items():
        for document in documents:
            assert errors(name, document) == [], (name, document)


def test_what_is_not_described_is_found(outputs):
    for name, documents in outputs.items():
        assert errors(name, {**documents[0], "more": 1}), name
    unnamed = json.loads(json.dumps(outputs["verify"][0]))
    unnamed["remotes"][0]["remote"] = 7
    assert errors("verify", unnamed)
