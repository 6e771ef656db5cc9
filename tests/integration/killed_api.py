"""`paddock serve` that dies by kill -9 when it commits a batch.

python -m tests.integration.killed_api before|after serve --port PORT
"""

import os
import signal
import sys
from typing import Any

from service.broker import batch_staging
from service.cli import main

insist = batch_staging._insist


async def die_at_commit(call: Any, committing: str | None) -> Any:
    if committing and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = await insist(call, committing)
    if committing:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer


if __name__ == "__main__":
    when = sys.argv.pop(1)
    batch_staging._insist = die_at_commit
    sys.exit(main())
