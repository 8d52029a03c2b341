"""What a month costs before any sample, and what the samples cost, from the list prices of `forwardctl estimate`."""

import json
import pathlib
import re

PRICES = pathlib.Path(__file__).resolve().parents[2] / "src/bin/forwardctl/estimate/prices.json"
# As in src/bin/forwardctl/estimate/bill.rs.
MONTH_HOURS = 730
TICKS = MONTH_HOURS * 60
WORK_SECONDS = 0.6


def seconds(interval):
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", interval)
    return int(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 60


def monthly(region, endpoint, services, interval):
    """Lines for people: dollars a month by part, at list price without free tiers."""
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    own = prices["regions"].get(region, {})

    def price(item):
        return own.get(item, prices["items"][item]["tiers"][0][1])

    every = max(seconds(interval), 1)
    tick = WORK_SECONDS + (60 - every / 2 if every < 60 else 0)
    parts = {
        "Lambda and its schedule": TICKS * (tick * 128 / 1024 * price("lambda_x86_64") + price("lambda_requests") + price("scheduler")),
        "S3": 2 * TICKS * price("s3_put"),
        "metrics, alarms, dashboard": 10 * price("cloudwatch_metric") + 11 * price("cloudwatch_alarm") + price("cloudwatch_dashboard"),
        "interface endpoints": (int(endpoint) + services) * MONTH_HOURS * price("interface_endpoint"),
    }
    samples = 5000 * MONTH_HOURS * 3600 / every
    shown = ", ".join(f"{name} ${dollars:.2f}" for name, dollars in parts.items() if dollars)
    place = "" if region in prices["regions"] else f" of {prices['region']}"
    return [f"a month (list prices{place} of {prices['date']}, no free tier): ${sum(parts.values()):.2f}: {shown}",
            f"and AMP for the samples: 5,000 series every {interval} are {samples / 1e6:,.0f} million, ${samples * price('amp_ingestion'):.2f}; "
            "forwardctl estimate counts yours"]
