#!/usr/bin/env python3
"""Builds the function's events and reads its answers, for stack.sh.

    lambda_json.py event ACTION JOBS DRY_RUN    prints the event; JOBS is a,b or empty
    lambda_json.py field FILE PATH              prints one value of an answer: ledger.scraped
    lambda_json.py samples FILE                 prints the samples in the spool, from a status answer
"""

import json
import sys


def event(action, jobs, dry_run):
    made = {"action": action}
    if jobs:
        made["jobs"] = jobs.split(",")
    if dry_run:
        made["dry_run"] = True
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


COMMANDS = {"event": event, "field": field, "samples": samples}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
