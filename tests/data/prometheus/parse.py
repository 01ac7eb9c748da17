"""Prints the samples of a file in Prometheus' text format as JSON: a list of name, type, labels and value."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

with open(sys.argv[1], encoding="utf-8") as file:
    families = list(text_string_to_metric_families(file.read()))
samples = [[s.name, f.type, s.labels, s.value] for f in families for s in f.samples]
assert all(f.documentation for f in families), "a family without a HELP line"
print(json.dumps(samples))
