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
    app = create_app(settings)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.broker.feed.end()  # it waits for all answers, and streams would go on
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_config=None,  # ours is in force
        access_log=False,  # which knows no request's id, and no route; ours does
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
    )
    gc.collect()
    gc.freeze()  # what is there now stays: no need to look through it again and again
    Server(config).run(sockets=[listener])
    return 0
