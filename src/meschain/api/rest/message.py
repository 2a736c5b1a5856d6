import msgspec
from litestar import get
from litestar.params import FromPath

from meschain.api.problem import ApiProblem
from meschain.api.text import texts
from meschain.messages import LANGUAGES


class MessagesView(msgspec.Struct, frozen=True):
    """Texts by key; parameters stand in braces with their kind, as in `{count:number}`."""

    language: str
    texts: dict[str, str]


@get("/messages/{language:str}", summary="Texts in one language", tags=["messages"])
async def messages(language: FromPath[str]) -> MessagesView:
    """The keys that the other answers name."""
    if language not in LANGUAGES:
        raise ApiProblem("language_unknown", 404)
    return MessagesView(language, texts(language))
