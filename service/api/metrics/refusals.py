"""Submissions that were refused, out of how requests to the tasks' routes were answered."""

import re
from collections import Counter
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

_SUBMITS = re.compile(r"/tasks/(?P<task>\w+)(/batch)?")


def refusals(answered: Iterable[Metric]) -> Metric:
    """By task and status: jobs and batches over HTTP that nothing was accepted of."""
    counts = Counter[tuple[str, str]]()
    for sample in (sample for metric in answered for sample in metric.samples):
        found = _SUBMITS.fullmatch(sample.labels["route"])
        refused = sample.labels["status"] >= "400" and sample.labels["method"] == "POST"
        if found and refused and sample.name.endswith("_count"):
            counts[found["task"], sample.labels["status"]] += int(sample.value)
    family = CounterMetricFamily(
        "paddock_submissions_refused",
        "Submissions over HTTP that were answered with an error.",
        labels=("task", "status"),
    )
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family
