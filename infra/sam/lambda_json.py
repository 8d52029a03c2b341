#!/usr/bin/env python3
"""Builds the function's events and reads its answers, for stack.sh and site.sh.

    lambda_json.py event ACTION JOBS DRY_RUN SITE    prints the event; JOBS is a,b or empty, and so may SITE be
    lambda_json.py field FILE PATH              prints one value of an answer: ledger.scraped
    lambda_json.py samples FILE                 prints the samples in the spool, from a status answer
    lambda_json.py findings FILE                prints a line for each finding of a check's answer
    lambda_json.py exports FILE                 prints the function's variables for a shell of this machine
    lambda_json.py start SITE                   prints when the schedule of a site begins
    lambda_json.py limits FILE LABEL SITE MAX   prints the limits of a workspace's configuration with that of a site
"""

import datetime
import json
import os
import shlex
import sys


def event(action, jobs, dry_run, site=""):
    made = {"action": action}
    if jobs:
        made["jobs"] = jobs.split(",")
    if dry_run:
        made["dry_run"] = True
    if site:
        made["site"] = site
    print(json.dumps(made))


def read(path):
    """The answer in a file. A failed tick carries its report in the error's message."""
    with open(path, encoding="utf-8") as file:
        answer = json.load(file)
    try:
        return json.loads(answer["errorMessage"])
    except (KeyError, TypeError, ValueError):
        return answer


def field(path, names):
    value = read(path)
    for name in names.split("."):
        value = value[int(name)] if isinstance(value, list) else (value or {}).get(name)
    if value is None:
        print()
    else:
        print(value if isinstance(value, str) else json.dumps(value))


def samples(path):
    print(sum(remote["samples"] for remote in read(path)["remotes"]))


def findings(path):
    for one in read(path)["findings"]:
        word = "warn" if one["warning"] else "ok  " if one["ok"] else "FAIL"
        # Names and answers come from elsewhere: nothing of them may change the terminal.
        line = f"{word} {one['subject']}: {one['message']}"
        print("".join(c if c.isprintable() else "\ufffd" for c in line))


# What a configuration for the templates takes from its environment, apart from variables of its own.
EXPORTED = ["AMP_REGION", "AMP_REMOTE_WRITE_URL", "AMP_WORKSPACE_ID", "FORWARDER_ENVIRONMENT", "SPOOL_URL"]


def exports(path):
    found = {name: value for name, value in read(path).items() if name in EXPORTED and value}
    # Of the spool's bucket.
    found["AWS_REGION"] = os.environ["AWS_REGION"]
    for name, value in sorted(found.items()):
        print(f"export {name}={shlex.quote(value)}")


def second(site):
    """The second of each minute at which a site has its tick: infra/cdk/lib/site.ts has the same."""
    # FNV-1a, whose high bits vary more than the low ones.
    hashed = 2166136261
    for byte in site.encode():
        hashed = (hashed ^ byte) * 16777619 % 2**32
    return (hashed ^ hashed >> 16) % 60


def start(site):
    """EventBridge Scheduler takes no start that is over, so it is the site's second in one of the next minutes."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    begun = (now + datetime.timedelta(minutes=2)).replace(second=second(site))
    print(begun.strftime("%Y-%m-%dT%H:%M:%SZ"))


def limits(path, label, site, most):
    """AMP's limits by label set, of which that of the site is new."""
    with open(path, encoding="utf-8") as file:
        known = json.load(file)["workspaceConfiguration"].get("limitsPerLabelSet", [])
    others = [one for one in known if one["labelSet"] != {label: site}]
    print(json.dumps([*others, {"limits": {"maxSeries": int(most)}, "labelSet": {label: site}}]))


COMMANDS = {"event": event, "field": field, "samples": samples, "findings": findings, "exports": exports, "start": start, "limits": limits}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
