"""Images by the hash of their content: what a name once gave it gives for ever.

Open to whoever can reach the hub, for marketplaces fetch images from here. A name cannot be guessed
by who does not have the image.
"""

from typing import Final

from litestar import HttpMethod, Response, Router, route
from litestar.datastructures import ETag
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import File

from meschain.api.parts import ApiRequest, Parts
from meschain.api.problem import ApiProblem
from meschain.domain.image import media_type_of

_FOR_EVER: Final = "public, max-age=31536000, immutable"


@route("/{name:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def image(
    request: ApiRequest, name: FromPath[str], parts: NamedDependency[Parts]
) -> Response[None]:
    """An original (``<hash>.jpg``), or a derived size of it (``<hash>-480.webp``)."""
    path = await parts.gallery.find(name) if parts.gallery is not None else None
    if path is None:
        raise ApiProblem("image_unknown", 404)
    tag = ETag(value=name)
    headers = {"cache-control": _FOR_EVER, "access-control-allow-origin": "*"}
    known = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    if known & {"*", f'"{name}"', f'W/"{name}"'}:
        return Response(None, status_code=304, headers={**headers, "etag": f'"{name}"'})
    return File(
        path,
        etag=tag,
        filename=name,
        media_type=media_type_of(name),
        content_disposition_type="inline",
        headers=headers,
    )


router = Router("/images", route_handlers=[image], tags=["images"])
