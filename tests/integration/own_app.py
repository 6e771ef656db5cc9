"""An application as a user might have it, with Paddock in it: once as a router, once mounted."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.testclient import TestClient

from service.api import create_app, lifespans, paddock_router
from service.settings import Settings

KEY = "a-key-of-sixteen-letters"


class Address(BaseModel):
    """Two of the tests' tasks have an `Address` as well, and each has one of its own."""

    zip_code: int


class NotLoggedIn(Exception):
    """The user's own."""


async def logged_in(user: Annotated[str, Header()]) -> str:
    """What a user's dependency may do: let pass, refuse, or raise an error of their own."""
    match user:
        case "nobody":
            raise NotLoggedIn
        case "stranger":
            raise HTTPException(403, "We don't know you.")
        case _:
            return user


def users_app(routers: Sequence[tuple[str, APIRouter]] = (), **options: Any) -> FastAPI:
    """The application, with these included under these prefixes."""
    app = FastAPI(**options)

    @app.middleware("http")
    async def add_header(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Mine"] = "yes"
        return response

    @app.exception_handler(HTTPException)
    @app.exception_handler(RequestValidationError)
    @app.exception_handler(RedisError)
    @app.exception_handler(NotLoggedIn)
    async def answer(_request: Request, error: Exception) -> Response:
        return JSONResponse({"mine": type(error).__name__}, 418)

    @app.post("/orders")
    async def order(address: Address) -> Address:
        return address

    @app.get("/orders/{number}")
    def show(number: int) -> Address:
        raise {1: RedisError, 2: NotLoggedIn, 3: RuntimeError}.get(number, HTTPException(404))

    for prefix, router in routers:
        app.include_router(router, prefix=prefix)
    return app


def client_of(app: Any, **options: Any) -> TestClient:
    local = {"base_url": "http://127.0.0.1", "follow_redirects": False}
    return TestClient(app, **local | options)


def with_key(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_keys": Settings(api_keys=KEY).api_keys})


# What a server of its own runs


@asynccontextmanager
async def _mine(_app: FastAPI) -> AsyncIterator[None]:
    print("mine begins", flush=True)
    yield
    print("mine ends", flush=True)


def served_app() -> FastAPI:
    """For `uvicorn --factory`: settings are those of the environment."""
    work = create_app(Settings.load())
    app = users_app([("/work", paddock_router())], lifespan=lifespans(_mine, work))
    app.mount("/mounted", work)
    return app
