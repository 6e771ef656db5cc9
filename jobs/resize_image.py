"""CPU-bound work on a real file: shrink a picture that lies in the data folder."""

import os
from pathlib import Path
from typing import Annotated

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, Field

from jobs import PermanentFailure, job

Pixels = Annotated[int, Field(ge=1, le=10_000)]


class Picture(BaseModel):
    """Where the smaller picture lies, and its size in pixels."""

    path: str
    width: int
    height: int


@job(queue="cpu", timeout=120)
def resize_image(
    path: Annotated[str, Field(examples=["photo.jpg"])], width: Pixels = 800, height: Pixels = 800
) -> Picture:
    """Shrink a picture to fit into width x height pixels, keeping its proportions.

    `path` is relative to the folder `files` in the data folder; the result is written beside
    the original.
    """
    source = _inside_files(path)
    target = source.with_name(f"{source.stem}-{width}x{height}{source.suffix}")
    try:
        with Image.open(source) as original:
            picture = ImageOps.exif_transpose(original)
            picture.thumbnail((width, height), Image.Resampling.LANCZOS)
            picture.save(target)
    except FileNotFoundError:
        raise PermanentFailure(f"There is no file {path!r} in the folder 'files'") from None
    except UnidentifiedImageError:
        raise PermanentFailure(f"{path!r} is not a picture") from None
    return Picture(
        path=str(target.relative_to(_files())), width=picture.width, height=picture.height
    )


def _files() -> Path:
    return (Path(os.environ.get("PADDOCK_DATA_DIR", "data")) / "files").resolve()


def _inside_files(path: str) -> Path:
    """The file's real place. Links are followed first, so that none leads out of the folder."""
    resolved = (_files() / path).resolve()
    if not resolved.is_relative_to(_files()):
        raise PermanentFailure(f"{path!r} leads out of the folder 'files'")
    return resolved
