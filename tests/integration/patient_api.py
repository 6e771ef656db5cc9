"""`paddock serve` that waits for a silent Redis longer than a busy machine takes for a request.

python -m tests.integration.patient_api serve --port PORT
"""

import sys

from service.broker import connection

WAIT = 4.0  # seconds

if __name__ == "__main__":
    connection.CALLERS_TIMEOUT = WAIT  # before others import it from there
    connection._CALLERS |= {"socket_timeout": WAIT, "socket_connect_timeout": WAIT}
    from service.broker import group
    from service.cli import main

    group.ANSWER_WITHIN = WAIT
    sys.exit(main())
