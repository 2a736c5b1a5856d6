"""The process that makes the derived sizes of one image, beside the hub.

Called with the original's path; puts all sizes in its folder. Exits with 1 where it cannot.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

from meschain.app.images.content import DAMAGES, opened
from meschain.app.images.refusal import ImageRefused
from meschain.app.images.store import UNFINISHED, place
from meschain.domain.image import derived_names, hash_in

_CPU_S_MAX: Final = 60
_NICE: Final = 10  # lanes and the API come first
_QUALITIES: Final = {"image/webp": ("WEBP", 80), "image/avif": ("AVIF", 60)}


def derive(original: Path) -> None:
    """Make all derived sizes. Nothing of the camera's notes (place, time, device) goes along.

    Raises: ImageRefused, and what Pillow raises at damaged files.
    """
    content_hash = hash_in(original.name)
    assert content_hash is not None
    with opened(original) as image:
        upright = ImageOps.exif_transpose(image)
        # A profile speaks of the colors as they are stored; converted ones are plain sRGB.
        profile = upright.info.get("icc_profile") if upright.mode in {"RGB", "RGBA"} else None
        picture = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=original.parent) as folder:
        for name, (width, media_type) in derived_names(content_hash).items():
            # The widest first: each next one is made of a smaller picture.
            picture.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
            part = Path(folder) / name
            form, quality = _QUALITIES[media_type]
            picture.save(part, form, icc_profile=profile, quality=quality)
            place(part, original.parent / name)


def main(path: str) -> int:
    """Bounded in time, whatever the file makes a decoder do."""
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S_MAX, _CPU_S_MAX))
    try:
        derive(Path(path))
    except (ImageRefused, *DAMAGES) as refused:
        sys.stderr.write(f"{type(refused).__name__}: {refused}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
