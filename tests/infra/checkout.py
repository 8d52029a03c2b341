"""A folder as a person has it after `git clone`, as far as `make discover`, `make deploy` and the others need it."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

from sam import ROOT

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
TOOLS = pathlib.Path(os.environ.get("AMP_FORWARDER_TOOLS", ROOT / "build/tools"))
FILES = ["Makefile", "infra/forwarder.example.yml", "infra/sam", "src/bin/forwardctl/estimate/prices.json"]
# What the scripts may use besides the shell: nothing that macOS or CloudShell lack, such as flock, sha256sum or a newer coreutils' option.
PROGRAMS = ["awk", "basename", "bash", "cat", "cksum", "cp", "cut", "date", "dirname", "env", "grep", "make", "mkdir", "mktemp", "mv", "printf", "rm", "sed", "sleep",
            "sh", "shasum", "sort", "tail", "tr", "uname"]


class Checkout:
    def __init__(self, folder, front, region="us-east-1", forwardctl=True):
        self.folder, self.front, self.region = folder, front, region
        folder.mkdir(exist_ok=True)
        for name in FILES:
            source, to = ROOT / name, folder / name
            to.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, to, ignore=shutil.ignore_patterns("samconfig.toml*[!e]", "__pycache__", ".aws-sam"))
            else:
                shutil.copy(source, to)
        self.zip = folder / "bootstrap.zip"
        with zipfile.ZipFile(self.zip, "w") as archive:
            archive.writestr("bootstrap", "#!/bin/sh\n")
        done = subprocess.run(["sha256sum", self.zip.name], cwd=folder, capture_output=True, text=True, check=True)
        (folder / "bootstrap.zip.sha256").write_text(done.stdout)
        self.programs = folder / ".programs"
        self.programs.mkdir()
        for program in PROGRAMS:
            found = shutil.which(program)
            if found:
                (self.programs / program).symlink_to(found)
        # A plain one, without the packages of the tests.
        (self.programs / "python3").symlink_to(pathlib.Path(sys.base_prefix) / "bin/python3")
        (self.programs / "aws").symlink_to(TOOLS / "aws/bin/aws")
        (self.programs / "sam").symlink_to(TOOLS / "infra/bin/sam")
        if forwardctl:
            (self.programs / "forwardctl").symlink_to(TARGET / "forwardctl")

    @property
    def settings(self):
        return self.folder / "infra/sam/samconfig.toml"

    def run(self, *command, **settings):
        environment = {
            "PATH": str(self.programs), "HOME": str(self.folder), "AWS_ENDPOINT_URL": self.front.url, "AWS_ENDPOINT_URL_S3": self.front.moto,
            "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "WATCH": "0s", "SAM_CLI_TELEMETRY": "0", "PYTHONDONTWRITEBYTECODE": "1", **settings,
        }
        environment = {key: value for key, value in environment.items() if value is not None}
        return subprocess.run(command, cwd=self.folder, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=600)

    def script(self, action, **settings):
        return self.run(str(self.folder / "infra/sam/stack.sh"), action, **settings)

    def discover(self, program="python3", **settings):
        return self.run(program, "infra/sam/discover.py", **settings)

    def overrides(self):
        import tomllib

        deploy = tomllib.loads(self.settings.read_text())["default"]["deploy"]["parameters"]
        return dict(pair.split("=", 1) for pair in deploy["parameter_overrides"])
