"""``/metrics`` in Prometheus' text format, and whether this process lives and can work.

Format: prometheus.io/docs/instrumenting/exposition_formats, text 0.0.4, read 2026-11.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from litestar import get
from litestar.di import NamedDependency

from meschain.api.parts import Parts
from meschain.api.problem import ApiProblem
from meschain.api.rest.status import HealthView, health_of
from meschain.app.queries.health import AccountView, StatusView, read_status
from meschain.sync.measure import BOUNDS_US, Histogram, Measures

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_BOUNDS: Final = (*(str(bound_us / 1_000_000) for bound_us in BOUNDS_US), "+Inf")
Sample = tuple[Mapping[str, str], float | int | None]
Spread = tuple[Mapping[str, str], Histogram]


@get("/health/live", summary="Whether this process answers", tags=["status"])
async def live() -> dict[str, str]:
    """Says nothing of the database: a process that waits for it must not be killed for that."""
    return {"status": "ok"}


@get("/health/ready", summary="Whether this process can work", tags=["status"])
async def ready(parts: NamedDependency[Parts]) -> HealthView:
    """503 while the database is away, and from the moment on in which the process is stopping."""
    if parts.stopping.is_set():
        raise ApiProblem("stopping", 503, {"retry-after": "1"})
    return await health_of(parts)


@get("/metrics", summary="Figures for Prometheus", tags=["status"], media_type=_TEXT)
async def metrics(parts: NamedDependency[Parts]) -> str:
    """Of the merchants whose accounts this process serves."""
    served = parts.engine.accounts
    merchants = sorted({account.merchant_id for account in served})
    lines = _metric("accounts_served", "gauge", "Leases this process holds", [({}, len(served))])
    pools = parts.database.pool_sizes().items()
    for name, used in (("db_connections", 0), ("db_connections_idle", 1), ("db_waiting", 2)):
        samples: list[Sample] = [({"role": role}, sizes[used]) for role, sizes in pools]
        lines += _metric(name, "gauge", "Of the connection pool", samples)
    found = [await read_status(parts.database, parts.clock, each, served) for each in merchants]
    lines += _of_statuses(found) + _of_measures(parts.engine.measures)
    return "\n".join(lines) + "\n"


def _of_statuses(found: list[StatusView]) -> list[str]:
    accounts = [
        ({"merchant": view.merchant.name, "account": each.name, "marketplace": each.marketplace},
         each, view)
        for view in found for each in view.accounts
    ]  # fmt: skip
    plain: dict[str, tuple[str, str, Callable[[AccountView, StatusView], float | int | None]]] = {
        "backlog": ("gauge", "Offers that wait to be sent", lambda a, _: a.backlog),
        "oldest_dirty_seconds": ("gauge", "Age of the oldest offer that waits", _oldest_s),
        "tickets_open": ("gauge", "Requests under way", lambda a, _: a.tickets_open),
        "unsettled": ("gauge", "Listings to be looked at", lambda a, _: a.unsettled),
        "conflicts": ("gauge", "Edits on the panel that wait", lambda a, _: a.conflicts),
        "requests_total": ("counter", "Requests of the lanes", lambda a, _: a.requests),
        "failures_total": ("counter", "Of them failed", lambda a, _: a.failures),
        "throttles_total": ("counter", "Of them told to slow down", lambda a, _: a.throttles),
        "items_refused_total": ("counter", "Offers refused", lambda a, _: a.items_refused),
    }
    lines: list[str] = []
    for name, (kind, words, value) in plain.items():
        lines += _metric(name, kind, words, [(at, value(a, view)) for at, a, view in accounts])
    lanes = [({**at, "lane": lane.name}, lane) for at, a, _ in accounts for lane in a.lanes]
    for name, words, field in (
        ("lane_runs_total", "Runs of a lane", "runs"),
        ("lane_failures_total", "Of them failed", "failures"),
        ("net_found_total", "Found by the safety net only; must stay 0", "net_found"),
    ):
        lines += _metric(name, "counter", words, [(at, getattr(x, field)) for at, x in lanes])
    quotas = [({**at, "group": q.group, "operation": q.operation}, q)
              for at, a, _ in accounts for q in a.quotas]  # fmt: skip
    for name, words in (("used", "Spent of a quota's window"), ("limit", "What it allows")):
        samples: list[Sample] = [(at, getattr(q, name)) for at, q in quotas]
        lines += _metric(f"quota_{name}", "gauge", words, samples)
    orders: list[Sample] = [
        ({"merchant": view.merchant.name}, view.orders.last_ten_minutes) for view in found
    ]
    return lines + _metric("orders_last_ten_minutes", "gauge", "Orders taken in", orders)


def _of_measures(measures: Measures) -> list[str]:
    def by_name(found: Mapping[str, Histogram]) -> list[Spread]:
        return [({"marketplace": name}, each) for name, each in found.items()]

    requests: list[Spread] = [
        ({"marketplace": name, "operation": operation}, each)
        for (name, operation), each in measures.requests.items()
    ]
    claims: list[Spread] = [({}, measures.claims)]
    return [
        *_histogram("propagation", "Commit to accepted", by_name(measures.propagation)),
        *_histogram("hub", "Of it, all but what quotas held back", by_name(measures.hub)),
        *_histogram("claim", "One claim over all lanes", claims),
        *_histogram("request", "Released to answered or lost", requests),
    ]


def _oldest_s(account: AccountView, view: StatusView) -> float:
    at = account.oldest_dirty_at
    return 0.0 if at is None else max(0.0, (view.at - at).total_seconds())


def _metric(name: str, kind: str, words: str, samples: Iterable[Sample]) -> list[str]:
    rows = [_row(name, labels, value) for labels, value in samples if value is not None]
    return [*_head(name, kind, words), *rows] if rows else []


def _histogram(name: str, words: str, spreads: Iterable[Spread]) -> list[str]:
    """``name`` without its unit. Buckets hold what the smaller ones hold too."""
    name += "_seconds"
    rows: list[str] = []
    for labels, spread in spreads:
        below = 0
        for bound, count in zip(_BOUNDS, spread.counts, strict=True):
            below += count
            rows.append(_row(f"{name}_bucket", {**labels, "le": bound}, below))
        rows.append(_row(f"{name}_sum", labels, spread.sum_us / 1_000_000))
        rows.append(_row(f"{name}_count", labels, below))
    return [*_head(name, "histogram", words), *rows] if rows else []


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP meschain_{name} {words}", f"# TYPE meschain_{name} {kind}"]


def _row(name: str, labels: Mapping[str, str], value: float) -> str:
    said = ",".join(f'{key}="{each.translate(_ESCAPES)}"' for key, each in labels.items())
    return f"meschain_{name}{{{said}}} {value}" if said else f"meschain_{name} {value}"
