"""Figures → a Markdown table and a plot."""

from pathlib import Path
from typing import Any


def table(figures: dict[str, Any], loads: list[str]) -> str:
    """Everything, as Markdown."""
    base = figures["rates"]["RQ worker"]
    lines = [
        f"Jobs per second, {figures['workers']} workers (and how many times RQ's):",
        "",
        "| | " + " | ".join(loads) + " |",
        "| --- |" + " --- |" * len(loads),
    ]
    for name, rates in figures["rates"].items():
        cells = [f"{rates[load]:.0f} ({rates[load] / base[load]:.2f} x)" for load in loads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    idle = figures["idle"]
    rows = {
        "jobs/s of a task that imports numpy": (figures["numpy"], "{:.0f}"),
        "ms from enqueuing to the task's first line": (figures["pickup_ms"], "{:.1f}"),
        "% of a core, idle": ({n: c["core_percent"] for n, c in idle.items()}, "{:.2f}"),
        "Redis commands/s, idle": (
            {n: c["commands_per_second"] for n, c in idle.items()},
            "{:.1f}",
        ),
    }
    names = list(idle)
    lines += ["", "| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for title, (values, form) in rows.items():
        lines.append(f"| {title} | " + " | ".join(form.format(values[n]) for n in names) + " |")
    return "\n".join(lines)


def plot(figures: dict[str, Any], loads: list[str], path: Path) -> None:
    """A bar for each contender and load."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = list(figures["rates"])
    figure, axes = pyplot.subplots(1, len(loads), figsize=(12, 3.2), sharey=True)
    for axis, load in zip(axes, loads, strict=True):
        axis.barh(names, [figures["rates"][name][load] for name in names], color="#9a6700")
        axis.set_title(f"{load}: jobs/s")
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)


def submit_table(figures: dict[str, dict[str, float]]) -> str:
    """Submissions, as Markdown."""
    noop, base = figures["no-op endpoint"], figures["RQ, def"]
    lines = [
        "| | accepted/s | of RQ, def | no-op is | p50 ms | p95 ms | p99 ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in figures.items():
        lines.append(
            f"| {name} | {row['rate']:.0f} | {row['rate'] / base['rate']:.2f} x "
            f"| {noop['rate'] / row['rate']:.2f} x | {row['p50']:.1f} | {row['p95']:.1f} "
            f"| {row['p99']:.1f} |"
        )
    return "\n".join(lines)


def plot_bars(values: dict[str, float], title: str, path: Path) -> None:
    """A bar for each."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 3.2))
    axis.barh(list(values), list(values.values()), color="#9a6700")
    axis.set_title(title)
    axis.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)


def waiting_table(figures: dict[str, Any]) -> str:
    """Jobs that wait, as Markdown."""
    rows = figures["median"]
    base = rows.get("arq", next(iter(rows.values())))
    lines = [
        f"{figures['jobs']} jobs of a second each, {figures['concurrency']} at once; "
        f"load average {figures['load_average'][0]:.1f}",
        "",
        "| | sleep: jobs/s | of arq | fetch: jobs/s | of arq | MiB, sleep | MiB, fetch | ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        cells = [name]
        for load in ("sleep", "fetch"):
            rate = row[f"{load} jobs/s"]
            cells += [f"{rate:.1f}", f"{rate / base[f'{load} jobs/s']:.2f} x"]
        cells += [f"{row[f'{load} MiB']:.0f}" for load in ("sleep", "fetch")]
        lines.append("| " + " | ".join([*cells, f"{row['ms']:.1f}"]) + " |")
    return "\n".join(lines)
