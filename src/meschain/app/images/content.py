"""What a file is by its content, whatever it is called.

It is decoded once, whole: what is cut off or damaged is found here and not by a marketplace. How
many pixels it has is asked before any is decoded, so that no small file unfolds into memory.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from meschain.app.images.refusal import ImageReason, ImageRefused

if TYPE_CHECKING:
    from pathlib import Path

PIXELS_MAX: Final = 50_000_000  # decoded some 200 MB
FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF")
_TYPES: Final = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with further pictures behind it, as some cameras write
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
}
# What Pillow's readers raise at broken files.
DAMAGES: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError),
    *(struct.error, zlib.error, MemoryError),
)
# Pillow would only warn up to twice its limit; ``opened`` refuses at ours, before decoding.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Look:
    """An image as it is seen: turned as its camera was held."""

    media_type: str
    width_px: int
    height_px: int


def opened(path: Path) -> Image.Image:
    """The image, not decoded yet. Raises: ImageRefused."""
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as other:
        raise ImageRefused(ImageReason.TYPE) from other
    except DAMAGES as damage:
        raise ImageRefused(ImageReason.DAMAGED) from damage
    if image.width * image.height > PIXELS_MAX:
        image.close()
        megapixels = str(PIXELS_MAX // 1_000_000)
        raise ImageRefused(ImageReason.TOO_MANY_PIXELS, megapixels=megapixels)
    return image


def look_at(path: Path) -> Look:
    """Raises: ImageRefused."""
    with opened(path) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except DAMAGES as damage:
            raise ImageRefused(ImageReason.DAMAGED) from damage
        return Look(_TYPES[str(image.format)], upright.width, upright.height)
