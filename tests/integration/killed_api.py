"""`paddock serve` that dies by kill -9 when it commits a batch.

python -m tests.integration.killed_api before|after serve --port PORT
"""

import os
import signal
import sys
from typing import Any

from service.broker import batch_staging
from service.cli import main

committed = batch_staging.Staging._committed


async def die_at_commit(staging: Any, *arguments: Any) -> None:
    if when == "after":
        await committed(staging, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    when = sys.argv.pop(1)
    batch_staging.Staging._committed = die_at_commit
    sys.exit(main())
