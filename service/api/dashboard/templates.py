"""Upstream's templates, corrected while they are loaded."""

import re
from collections.abc import Callable

from flask import Flask
from jinja2 import BaseLoader, Environment, FileSystemLoader

# What upstream escapes by hand, so as not to escape it twice.
_ESCAPED_BY_HAND = re.compile(r"<%= \$\('<div/>'\)\.text\((?P<value>[\w.]+)\)\.html\(\) %>")

_REGISTRY_OPTION = "<option {{% if registry_name == '{0}' %}} selected {{% endif %}}>{0}</option>"
_CANCELED_CELL = (
    '<td class="failed"> <a href="<%- d.canceled_url %>">'
    "<%- d.canceled_job_registry_count %></a></td>"
)
_NARROW_CELL = (
    '<td class="narrow"> <a href="<%- d.{0}_url %>"><%- d.{0}_job_registry_count %></a></td>'
)

# Template → (what it says, what it should say), applied after escaping.
_CORRECTIONS: dict[str, list[tuple[str, str]]] = {
    # A queue's name is put into a script as it is, out of the page's own URL: reflected XSS
    # (no upstream issue known).
    "rq_dashboard/scripts/jobs.js": [("'{{ queue.name }}'", "{{ queue.name|tojson }}")],
    # RQ 3's newer registries (no upstream issue known).
    "rq_dashboard/jobs.html": [
        (
            _REGISTRY_OPTION.format("canceled"),
            "\n".join(map(_REGISTRY_OPTION.format, ("canceled", "ready", "rate_limited"))),
        )
    ],
    "rq_dashboard/queues.html": [
        ("&nbsp;jobs", " jobs"),  # nine columns fit the page only if their titles may wrap
        (
            '<th class="narrow">Canceled jobs</th>',
            '<th class="narrow">Canceled jobs</th>\n'
            '<th class="narrow">Ready jobs</th>\n'
            '<th class="narrow">Rate-limited jobs</th>',
        ),
        (
            _CANCELED_CELL,
            "\n".join(
                [
                    _CANCELED_CELL,
                    _NARROW_CELL.format("ready"),
                    _NARROW_CELL.format("rate_limited"),
                ]
            ),
        ),
    ],
    "rq_dashboard/job.html": [
        # JavaScript rounds integers beyond 2**53, so the result comes as text
        # (no upstream issue known).
        ("JSON.stringify(d.result, null, 2)", "d.result"),
        # Upstream shows either the description or the full arguments (upstream pull request #524).
        (
            "<p><strong>Origin queue</strong>",
            "<p><strong>Call</strong>:<br>\n"
            '<div class="description-scroll"><%- d.call %></div></p>\n'
            "<p><strong>Origin queue</strong>",
        ),
    ],
}


class MendedTemplates(BaseLoader):
    """Upstream's template files with every value escaped and the corrections made."""

    def __init__(self, app: Flask) -> None:
        self._files = FileSystemLoader(f"{app.root_path}/{app.template_folder}")

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        source, path, uptodate = self._files.get_source(environment, template)
        return mended(template, source), path, uptodate

    def list_templates(self) -> list[str]:
        return self._files.list_templates()


def mended(template: str, source: str) -> str:
    """Raises `LookupError` where upstream's text is no longer the one that was corrected."""
    source = _escaping(source)
    for wrong, right in _CORRECTIONS.get(template, []):
        if wrong not in source:
            raise LookupError(f"{template} of this rq-dashboard no longer says {wrong!r}")
        source = source.replace(wrong, right)
    return source


def _escaping(source: str) -> str:
    # Underscore's `<%= %>` inserts raw HTML and `<%- %>` escapes: stored XSS through a job's
    # description, result, metadata or error, or a queue's name (upstream issue #526).
    return _ESCAPED_BY_HAND.sub(r"<%- \g<value> %>", source).replace("<%=", "<%-")
