"""Style sheets and scripts, under addresses that name their content: caches may keep them."""

import hashlib
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, HTTPException, Response

FOR_EVER = "public, max-age=31536000, immutable"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOLDER = files(__package__) / "assets"

router = APIRouter(include_in_schema=False)


@router.get("/assets/{version}/{name:path}")
async def get_asset(version: str, name: str) -> Response:
    """One of them. A page of another version gets what there is now, and does not keep it."""
    content = _contents().get(name)
    if content is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    caching = FOR_EVER if version == assets_version() else "no-cache"
    return Response(
        content,
        media_type=_TYPES[PurePath(name).suffix],
        headers={"Cache-Control": caching},
    )


@cache
def assets_version() -> str:
    """A digest of all of them, for scripts import one another."""
    digest = hashlib.sha256()
    for name, content in sorted(_contents().items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:16]


@cache
def _contents() -> dict[str, bytes]:
    folders = {"": _FOLDER, "vendor/": _FOLDER / "vendor"}
    return {
        f"{before}{file.name}": file.read_bytes()
        for before, folder in folders.items()
        for file in folder.iterdir()
        if PurePath(file.name).suffix in _TYPES
    }
