"""What a reply means, whatever envelope it comes in."""

from __future__ import annotations

import pytest

from meschain.channel.contract import Call, LeaseExpired, OfferPush
from meschain.channel.http import HttpReply, TransportLost
from meschain.channel.outcome import (
    ContractBroken,
    Done,
    NotSent,
    Problem,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.marketplaces.trendyol.mapping.reply import problem_of
from meschain.marketplaces.trendyol.tests.playback import channel, ok, refusal

HTML = b"<html><body>Bad gateway</body></html>"
REPEATED = "15 dakika boyunca aynı isteği tekrarlı olarak atamazsınız!"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            refusal(400, "error_product"),
            Refused("invalid.barcode", "Barkod geçersiz", "advice.trendyol.barcode_invalid"),
        ),
        (refusal(401, "error_gateway"), Unauthorized("ClientApiAuthenticationException")),
        (refusal(400, "error_order"), Refused("Bad Request", "Geçersiz istek")),
        (refusal(409, "error_invoice"), Refused("Conflict", "Fatura daha önce gönderilmiş")),
        (refusal(404, "error_label"), Refused("NotFoundException", "Etiket bulunamadı")),
        (refusal(400, "error_repeated"), Unknown("duplicate", REPEATED)),
        (refusal(429, "error_repeated"), Unknown("duplicate", REPEATED)),
        (refusal(429, "error_too_many"), Throttled()),
        (HttpReply(429, {"retry-after": "7"}, HTML), Throttled(7.0)),
        (HttpReply(429, {"retry-after": "soon"}, b""), Throttled()),
        (refusal(403, body=HTML), Unauthorized()),
        (refusal(404), Refused("404", "")),
        (refusal(500, "error_product"), Unknown("server_error", "Barkod geçersiz")),
        (refusal(503, body=HTML), Unknown("server_error", "HTTP 503")),
        (refusal(504), Unknown("server_error", "HTTP 504")),
        (refusal(400, body=HTML), ContractBroken("HTTP 400", HTML)),
        (refusal(400, body=b"{}"), ContractBroken("HTTP 400", b"{}")),
        (refusal(426, body=b""), ContractBroken("HTTP 426", b"")),
        (refusal(302, body=b""), ContractBroken("HTTP 302", b"")),
    ],
)
def test_every_envelope_and_status_has_one_meaning(reply: HttpReply, problem: Problem) -> None:
    assert problem_of(reply) == problem


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        (TransportLost("timed out", may_have_arrived=True), Unknown("lost", "timed out")),
        (TransportLost("refused", may_have_arrived=False), NotSent("refused")),
        (LeaseExpired(), NotSent("lease_expired")),
    ],
)
async def test_a_push_without_answer_is_unknown_unless_it_never_left(
    loss: Exception, problem: Problem
) -> None:
    trendyol, _ = channel(loss)
    assert await trendyol.push_offers([OfferPush("1", quantity=0)], Call()) == problem


async def test_credentials_are_checked_with_the_sellers_own_listings() -> None:
    trendyol, transport = channel(ok("inventory_and_price"))
    assert await trendyol.check_credentials(Call()) == Done()
    request = transport.requests[0]
    assert transport.paths == ["/product/sellers/2738/products/approved/inventory-and-price"]
    assert request.headers["Authorization"] == "Basic a2V5OnNlY3JldA=="
    assert request.headers["User-Agent"] == "2738 - SelfIntegration"
    assert "secret" not in repr(request)


@pytest.mark.parametrize("integrator", ["MesChain Sync", "A" * 31, "", "Kötü\nAd"])
async def test_a_bad_integrator_name_is_refused_before_they_answer_403(integrator: str) -> None:
    trendyol, transport = channel(settings={"integrator": integrator})
    refused = await trendyol.check_credentials(Call())
    assert refused == Refused("", "", "advice.trendyol.integrator_name")
    assert not transport.requests


@pytest.mark.parametrize(
    "settings",
    [
        {"attributes_create": "Guide"},
        {"attributes_update": ""},
        {"barcodes_array": "json"},
        {"order_date": "gmt+3"},
    ],
)
async def test_a_setting_that_we_do_not_know_is_refused_before_it_is_saved(
    settings: dict[str, str],
) -> None:
    trendyol, transport = channel(settings=settings)
    ((name, value),) = settings.items()
    refused = await trendyol.check_credentials(Call())
    assert refused == Refused("", f"{name}={value}", "advice.trendyol.setting")
    assert not transport.requests


async def test_a_web_page_with_status_200_is_no_success() -> None:
    trendyol, _ = channel(ok(body=HTML), ok(body=HTML))
    assert isinstance(await trendyol.activate_webhook("1", Call()), ContractBroken)
    broken = await trendyol.check_credentials(Call())
    assert isinstance(broken, ContractBroken)
    assert broken.raw == HTML


async def test_a_long_broken_reply_is_cut() -> None:
    trendyol, _ = channel(ok(body=b"x" * 10_000))
    broken = await trendyol.check_credentials(Call())
    assert isinstance(broken, ContractBroken)
    assert len(broken.raw) == 4096
