"""One process of the API, as `serve` runs it."""

import gc
import socket

from service.settings import Settings
from service.tracing.export import configure_tracing


def serve_requests(settings: Settings, listener: socket.socket) -> int:
    """Answer requests in this process until told to stop."""
    import uvicorn  # here: the other commands need no web server

    from service.api.app import create_app

    configure_tracing("api")
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,  # ours is in force
        access_log=False,  # which knows no request's id, and no route; ours does
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
    )
    gc.collect()
    gc.freeze()  # what is there now stays: no need to look through it again and again
    uvicorn.Server(config).run(sockets=[listener])
    return 0
