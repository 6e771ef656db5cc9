"""A worker that gives a job which it cancels more time to clean up than a busy machine may take.

python -m tests.integration.patient_worker [--io]
"""

import sys

import worker
from service.execution import together, watch

GRACE = 20.0  # seconds

if __name__ == "__main__":
    watch.CANCEL_GRACE = together.CANCEL_GRACE = GRACE
    sys.exit(worker.main())
