"""AWS as `make discover` asks it: by the AWS CLI (1 or 2), with the person's own credentials."""

import json
import os
import re
import subprocess

INSTALL = "install the AWS CLI: https://docs.aws.amazon.com/cli/"
LOG_IN = "log in (aws sso login, aws configure), and set AWS_PROFILE if it is not the default one"

# What the CLI says, and the next step.
HINTS = [
    (r"Unable to locate credentials|ExpiredToken|expired|InvalidClientTokenId|UnrecognizedClient|SSO|Error loading", LOG_IN),
    (r"AuthFailure", f"{LOG_IN}; a region that the account has not enabled refuses everybody, too"),
    (r"config profile \(.*\) could not be found", "set AWS_PROFILE to one that aws configure list-profiles shows"),
    (r"AccessDenied|UnauthorizedOperation|not authorized", "to look around, the policy ReadOnlyAccess is enough"),
    (r"region_name|Could not connect to the endpoint|Invalid endpoint|Invalid region|Unknown endpoint|is not a valid|resolve host|Connect timeout",
     "is AWS_REGION spelled as in eu-central-1, does AMP exist there (https://docs.aws.amazon.com/general/latest/gr/prometheus-service.html), "
     "and is there a network?"),
    (r"[Ii]nvalid choice", "this AWS CLI is too old: update it"),
]


class AwsError(Exception):
    """A call that failed: the problem, then hints."""


class Aws:
    """The AWS CLI in one region."""

    def __init__(self, region):
        self.region = region

    def __call__(self, *arguments):
        done = cli(*arguments, "--region", self.region, "--output", "json")
        if done.returncode != 0:
            why = done.stderr.strip().splitlines() or ["it gave no reason"]
            hints = [hint for pattern, hint in HINTS if re.search(pattern, done.stderr)]
            raise AwsError(f"aws {arguments[0]} {arguments[1]} failed in {self.region}", why[-1], *(hints[:1] or [LOG_IN]))
        return json.loads(done.stdout or "{}")

    def elsewhere(self, region):
        """The same in another region."""
        return type(self)(region)


def cli(*arguments):
    try:
        return subprocess.run(["aws", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AwsError("aws is not on PATH", INSTALL) from None


def region():
    """The region that the environment or the profile names."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or cli("configure", "get", "region").stdout.strip()
    if not named:
        raise AwsError("no region is set", "take that of the VPN: AWS_REGION=eu-central-1 make discover")
    return named
