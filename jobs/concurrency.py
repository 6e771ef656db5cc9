"""Which jobs of a task share a limit on how many run at once."""

import hashlib
import json
from urllib.parse import quote

from jobs.parameters import JSONObject, Parameters
from jobs.policy import ConcurrencyKey

LONGEST_VALUE = 100  # characters of a value in a key; a longer one is hashed


def check_key(key: ConcurrencyKey | None, parameters: Parameters) -> None:
    """Raises `ValueError` where it names no parameter."""
    if isinstance(key, str) and key not in parameters.schema["properties"]:
        raise ValueError(f"concurrency_key={key!r} is none of its parameters")


def limit_key(
    task: str, key: ConcurrencyKey | None, parameters: Parameters, accepted: JSONObject
) -> str:
    """The name of the limit that a job with these parameters, plain JSON data, is under."""
    match key:
        case None:
            return task
        case str():
            value = accepted[key]
        case _:
            value = key(**parameters.rebuild((), accepted))
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    # Without colons, which stand between the parts of Redis keys: nobody's value may look like
    # another's key.
    quoted = quote(text, safe="", errors="backslashreplace")
    if len(quoted) > LONGEST_VALUE:
        quoted = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{task}/{quoted}"
