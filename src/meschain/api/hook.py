"""Where marketplaces deliver: recorded and answered at once; the work happens afterwards."""

from typing import Final

from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from meschain.api.parts import ApiRequest, Parts
from meschain.api.problem import ApiProblem
from meschain.channel.contract import WebhookDelivery
from meschain.sync.webhook import Receipt

BODY_BYTES_MAX: Final = 1_048_576  # an order of a hundred lines is some 200 KB


@post("/{path_token:str}", status_code=200, request_max_body_size=BODY_BYTES_MAX)
async def receive_webhook(
    request: ApiRequest, path_token: FromPath[str], parts: NamedDependency[Parts]
) -> None:
    """Take a marketplace's delivery; the secret agreed at registration must come with it."""
    delivery = WebhookDelivery(
        {name.lower(): value for name, value in request.headers.items()}, await request.body()
    )
    match await parts.engine.webhooks.receive(path_token, delivery):
        case Receipt.RECORDED:
            return
        case Receipt.FORGED:
            raise ApiProblem("webhook_secret", 401)
        case Receipt.UNKNOWN:
            raise ApiProblem("webhook_unknown", 404)


router = Router("/hooks", route_handlers=[receive_webhook], tags=["webhooks"])
