"""The zip: one for SAM, CDK and a plain upload."""

import os
import re
import subprocess
import zipfile

import pytest

from sam import ROOT, Resolved

CHECK = ROOT / "tests/support/tools/check-function.sh"


def plan(folder):
    """What `make build` would run in that folder."""
    done = subprocess.run(["make", "-n", "-f", ROOT / "Makefile", "build"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_the_configuration_goes_into_the_zip_when_there_is_one(tmp_path):
    without = plan(tmp_path)
    assert "--output-format zip" in without and "--include" not in without
    (tmp_path / "forwarder.yml").write_text("global: {}\n")
    assert "--output-format zip --include forwarder.yml" in plan(tmp_path)


def test_the_zip_is_where_the_template_looks():
    template = (ROOT / "infra/sam/template.yaml").read_text()
    path, = re.findall(r"CodeUri: (\S+)", template)
    assert (ROOT / "infra/sam" / path).resolve() == (ROOT / "target/lambda/amp-forwarder/bootstrap.zip").resolve()
    assert Resolved().properties("Function")["Handler"] == "bootstrap"


def check(archive, most="1000000"):
    return subprocess.run([CHECK, archive, "2.34", most], capture_output=True, text=True)


@pytest.mark.parametrize(("body", "passes"), [
    # Of glibc 2.2.5, and of 2.36.
    ("#include <stdlib.h>\nint main(void) { return rand(); }", True),
    ("#include <stdlib.h>\nint main(void) { return (int)arc4random(); }", False),
])
def test_a_newer_glibc_than_lambdas_is_refused(tmp_path, body, passes):
    (tmp_path / "main.c").write_text(body)
    # Statically resolved start-up symbols of this machine's own glibc are of 2.34.
    built = subprocess.run([os.environ.get("CC", "cc"), "-o", "bootstrap", "main.c"], cwd=tmp_path, capture_output=True, text=True)
    if not passes and built.returncode != 0:
        pytest.skip("this machine's glibc has no symbol that is newer than Lambda's")
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(tmp_path / "bootstrap.zip", "w") as archive:
        archive.write(tmp_path / "bootstrap", "bootstrap")
    done = check(tmp_path / "bootstrap.zip")
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    assert passes or "needs glibc 2.36, Lambda's al2023 has 2.34" in done.stderr


def test_a_program_that_has_grown_is_refused(tmp_path):
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    subprocess.run([os.environ.get("CC", "cc"), "-o", "bootstrap", "main.c"], cwd=tmp_path, check=True)
    path = tmp_path / "bootstrap.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "bootstrap", "bootstrap")
        # A person's configuration is not the program.
        archive.writestr("forwarder.yml", os.urandom(100_000))
        packed = archive.getinfo("bootstrap").compress_size
    assert check(path, str(packed)).returncode == 0
    done = check(path, str(packed - 1))
    assert done.returncode == 1
    assert f"the program takes {packed} bytes in the zip, {packed - 1} are allowed" in done.stderr


def test_the_function_has_at_most_four_and_a_half_megabytes(tmp_path):
    assert "bootstrap.zip 2.34 4500000" in plan(tmp_path)
