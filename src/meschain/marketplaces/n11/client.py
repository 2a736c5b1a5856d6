"""One method per endpoint of N11's REST API, and one reading of everything that is no result.

N11 answers in JSON, HTML and plain text, says 500 where it means 400 and 200 where it means no.
So the body is read first and the status is only a witness. Source of every case: the fact sheet,
1.3 (observed on production 2026-10-10) and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import msgspec

from meschain.channel.http import HttpReply, HttpRequest, Transport, TransportLost
from meschain.channel.outcome import (
    ContractBroken,
    NotSent,
    Problem,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.marketplaces.n11 import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from meschain.channel.contract import Account, Call

ORDERS_NOT_ENABLED: Final = "advice.n11.orders_not_enabled"
_CODE_ADVICE: Final = {"invalidInput": "advice.n11.category_not_leaf"}  # of /cdn

_RAW_BYTES_MAX: Final = 4096
_OK: Final = 200
_REDIRECT: Final = 300
_BAD_REQUEST: Final = 400
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429  # never seen
_CALL_LIMIT: Final = "maxCallLimit.reached"  # of SOAP, by the manual of 2020
_SERVER_ERROR: Final = 500

_SHIPMENT_PACKAGES: Final = "pull_orders"
_REST: Final = {_SHIPMENT_PACKAGES, "order_update", "split_by_line", "split_by_quantity"}
# /ms answers plain validation errors with 500 and names one of these. Repeating is useless.
_VALIDATION_NAMES: Final = ("ConstraintViolationException", "IllegalArgumentException")

T = TypeVar("T")


class N11Client:
    """Sends for one account. Decides nothing; a result comes back typed, all else as Problem."""

    def __init__(self, account: Account, transport: Transport) -> None:
        """Both headers go to every family: /cdn asks for both since 2025-08-15, if laxly."""
        self._base_url = account.base_urls["api"]
        self._transport = transport
        self._headers = {
            "appkey": account.credentials["app_key"],
            "appsecret": account.credentials["app_secret"],
            "accept": "application/json",
        }

    async def read_categories(
        self, call: Call
    ) -> wire.CategoryTree | list[wire.Category] | Problem:
        """The whole tree; the bare array is as good as the wrapped object."""
        request = self._request("categories", "GET", "/cdn/categories")
        return await self._exchange(request, _CATEGORIES.decode, call)

    async def read_category_attributes(
        self, category_id: str, call: Call
    ) -> wire.CategoryAttributes | Problem:
        """The attributes of a leaf, values included."""
        path = f"/cdn/category/{quote(category_id, safe='')}/attribute"
        request = self._request("category_attributes", "GET", path)
        return await self._exchange(request, _ATTRIBUTES.decode, call)

    async def query_products(
        self, query: tuple[tuple[str, str], ...], call: Call
    ) -> wire.ProductPage | Problem:
        """One page of the account's products."""
        request = self._request("product_query", "GET", "/ms/product-query", query=query)
        return await self._exchange(request, _PRODUCTS.decode, call)

    async def create_products(
        self, body: wire.TaskRequest, call: Call
    ) -> wire.TaskAcknowledgement | Problem:
        """Queue new SKUs."""
        return await self._task("product_create", "product-create", body, call)

    async def update_products(
        self, body: wire.TaskRequest, call: Call
    ) -> wire.TaskAcknowledgement | Problem:
        """Queue changes of content or of Active/Suspended."""
        return await self._task("product_update", "product-update", body, call)

    async def update_price_and_stock(
        self, body: wire.TaskRequest, call: Call
    ) -> wire.TaskAcknowledgement | Problem:
        """Queue absolute prices and quantities."""
        return await self._task("push_offers", "price-stock-update", body, call)

    async def query_task(self, body: wire.TaskQuery, call: Call) -> wire.TaskDetails | Problem:
        """A task's status and one page of its rows."""
        path = "/ms/product/task-details/page-query"
        request = self._request("poll_ticket", "POST", path, body=body)
        return await self._exchange(request, _task_details, call)

    async def query_packages(
        self, query: tuple[tuple[str, str], ...], call: Call
    ) -> wire.PackagePage | Problem:
        """One page of packages."""
        path = "/rest/delivery/v1/shipmentPackages"
        request = self._request(_SHIPMENT_PACKAGES, "GET", path, query=query)
        return await self._exchange(request, _PACKAGES.decode, call)

    async def update_order_lines(
        self, body: wire.StatusUpdate, call: Call
    ) -> wire.LineResults | Problem:
        """Approve lines: Created → Picking."""
        request = self._request("order_update", "PUT", "/rest/order/v1/update", body=body)
        return await self._exchange(request, _LINE_RESULTS.decode, call)

    async def split_by_line(self, body: wire.SplitByLine, call: Call) -> wire.SplitResult | Problem:
        """Break a package up along its lines."""
        path = "/rest/delivery/v1/splitCombinePackage"
        request = self._request("split_by_line", "POST", path, body=body)
        return await self._exchange(request, _split_result, call)

    async def split_by_quantity(
        self, body: wire.SplitByQuantity, call: Call
    ) -> wire.SplitResult | Problem:
        """Break a package up by units, and cancel some of them if asked."""
        path = "/rest/delivery/v1/splitPackageByQuantity"
        request = self._request("split_by_quantity", "POST", path, body=body)
        return await self._exchange(request, _split_result, call)

    async def _task(
        self, operation: str, task: str, body: wire.TaskRequest, call: Call
    ) -> wire.TaskAcknowledgement | Problem:
        request = self._request(operation, "POST", f"/ms/product/tasks/{task}", body=body)
        return await self._exchange(request, _acknowledgement, call)

    def _request(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
        body: wire.Body | None = None,
    ) -> HttpRequest:
        url = self._base_url + path
        if body is None:
            return HttpRequest(operation, method, url, self._headers, query)
        headers = {**self._headers, "content-type": "application/json"}
        return HttpRequest(operation, method, url, headers, query, wire.encode(body))

    async def _exchange(
        self, request: HttpRequest, decode: Callable[[bytes], T], call: Call
    ) -> T | Problem:
        try:
            reply = await self._transport.send(request, call)
        except TransportLost as lost:
            return Unknown("lost", lost.detail) if lost.may_have_arrived else NotSent(lost.detail)
        return read_reply(request.operation, reply, decode)


def _acknowledgement(body: bytes) -> wire.TaskAcknowledgement:
    """A task's acknowledgement with one of the two statuses that exist."""
    answer = _ACKNOWLEDGEMENT.decode(body)
    if answer.status.upper() not in ("IN_QUEUE", "REJECT"):
        raise msgspec.ValidationError(f"task acknowledged as {answer.status}")
    return answer


def _task_details(body: bytes) -> wire.TaskDetails:
    """A task with one of the three statuses that exist, or with none: N11 says nothing of it."""
    task = _TASK_DETAILS.decode(body)
    if str(task.status or "").upper() not in ("IN_QUEUE", "PROCESSED", "REJECT", ""):
        raise msgspec.ValidationError(f"task status {task.status}")
    return task


def _split_result(body: bytes) -> wire.SplitResult:
    """A split that worked. Another ``code`` is no result, whatever the HTTP status says."""
    result = _SPLIT_RESULT.decode(body)
    if result.code != _OK:
        raise msgspec.ValidationError(f"split code {result.code}")
    return result


_CATEGORIES: Final = msgspec.json.Decoder(wire.CategoryTree | list[wire.Category], strict=False)
_ATTRIBUTES: Final = msgspec.json.Decoder(wire.CategoryAttributes, strict=False)
_PRODUCTS: Final = msgspec.json.Decoder(wire.ProductPage, strict=False)
_ACKNOWLEDGEMENT: Final = msgspec.json.Decoder(wire.TaskAcknowledgement, strict=False)
_TASK_DETAILS: Final = msgspec.json.Decoder(wire.TaskDetails, strict=False)
_PACKAGES: Final = msgspec.json.Decoder(wire.PackagePage, strict=False)
_LINE_RESULTS: Final = msgspec.json.Decoder(wire.LineResults, strict=False)
_SPLIT_RESULT: Final = msgspec.json.Decoder(wire.SplitResult, strict=False)
_FAILURE: Final = msgspec.json.Decoder(wire.Failure, strict=False)


def read_reply(operation: str, reply: HttpReply, decode: Callable[[bytes], T]) -> T | Problem:
    """The typed result of a reply, or what else it means."""
    detail = f"HTTP {reply.status}"
    if _OK <= reply.status < _REDIRECT:
        try:
            return decode(reply.body)
        except wire.UNDECODABLE as error:
            detail = f"{detail}: {error}"
    return _problem(operation, reply, detail)


def _problem(operation: str, reply: HttpReply, detail: str) -> Problem:
    """What a reply without a result means; the first rule that fits decides."""
    failure = _read_failure(reply.body)
    plain = reply.body[:_RAW_BYTES_MAX].decode("utf-8", errors="replace").strip()
    is_html = plain.startswith("<")
    text = failure_text(failure) if failure else detail if is_html else plain or detail
    if _is_unauthorized(operation, reply.status, failure, plain, is_html=is_html):
        return Unauthorized(text)
    code = failure_code(failure) if failure else ""
    if reply.status == _TOO_MANY or code == _CALL_LIMIT:
        return Throttled(_retry_after_s(reply))
    named = _named_problem(code, text, plain) if failure else None
    if named is not None:
        return named
    if reply.status >= _SERVER_ERROR:
        # 503 with HTML also means "no such address". Ours are fixed, so it is taken as an outage:
        # observing before repeating is right in both cases.
        return Unknown("server_error", text)
    # Historic (older copy of the official page): the path had to be enabled per seller.
    is_disabled = operation == _SHIPMENT_PACKAGES and reply.status >= _BAD_REQUEST
    if failure is not None or is_disabled:
        advice = ORDERS_NOT_ENABLED if is_disabled else _CODE_ADVICE.get(code, "")
        return Refused(code, text, advice)
    return ContractBroken(detail, reply.body[:_RAW_BYTES_MAX])


def _named_problem(code: str, text: str, plain: str) -> Problem | None:
    """What a code or an exception's name decides, whatever the HTTP status."""
    if code == "TASK_ERR_010":
        # The same content is still in progress: the first request arrived.
        return Unknown("duplicate", text)
    if code.startswith("TASK_ERR_"):
        return Refused(code, text)
    validation = next((name for name in _VALIDATION_NAMES if name in plain), None)
    return None if validation is None else Refused(validation, text)


def _read_failure(body: bytes) -> wire.Failure | None:
    """The body as one of the JSON error envelopes, or None if it is none of them."""
    try:
        failure = _FAILURE.decode(body)
    except wire.UNDECODABLE:
        return None
    named = (failure.type_name, failure.error_code, failure.code, failure.message, failure.errors)
    return None if all(part is None for part in named) else failure


def failure_code(failure: wire.Failure) -> str:
    """N11's own discriminator; a number in ``code`` repeats the HTTP status and counts last."""
    named = failure.code if isinstance(failure.code, str) else None
    return str(failure.error_code or named or failure.type_name or failure.code or "")


def failure_text(failure: wire.Failure) -> str:
    """N11's own words: the message, then the single reasons."""
    message = failure.error_message or failure.message or failure.description or failure.name
    reasons = [entry.reason for entry in failure.errors or () if entry.reason]
    return " · ".join(dict.fromkeys(str(part) for part in (message, *reasons) if part))


def _is_unauthorized(
    operation: str, status: int, failure: wire.Failure | None, plain: str, *, is_html: bool
) -> bool:
    """Wrong or missing credentials, in the shape of each family."""
    if failure is not None:
        return (
            status == _UNAUTHORIZED
            or failure_code(failure) == "SELLER_API.authenticationFailed"
            or "UserUnauthorized" in str(failure.type_name)
            # Both headers are always sent, so a header reported missing is an empty credential.
            or "MissingRequestHeaderException" in plain
        )
    if is_html:
        return status == _BAD_REQUEST and operation in _REST  # a missing header, again
    return status in (_UNAUTHORIZED, _FORBIDDEN) and "Authentication failed" in plain


def _retry_after_s(reply: HttpReply) -> float | None:
    """Seconds that a 429 asks for. N11 documents neither; a date is left to the engine's pace."""
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
