"""A day of trade: the sale told in time, buyers, staff, faults, and how it all ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meschain.app.commands.register_webhook import AccountWebhooks
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.contract import Call, WebhookRegistration
from meschain.demo.day_sheet import DaySheet
from meschain.demo.plan import SETTLE_S_MAX, stage_settings
from meschain.demo.pulse import Pulse
from meschain.demo.sale import OneSale
from meschain.demo.screen import INDENT
from meschain.demo.staff import Staff
from meschain.registry import marketplace
from meschain.server import serve
from meschain.testing.checker import Defect, Quota, Verdict, check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from meschain.demo.folder import DemoFolder, Prepared
    from meschain.demo.plan import DemoPlan
    from meschain.demo.screen import Screen
    from meschain.testing.checker import CheckedShop, Control

_BEAT_S: Final = 1.0
_CHECK_EVERY_S: Final = 2.0
_RECOUNTED_MAX: Final = 50_000  # entries of the journal: within a second
_STANDSTILL: Final = 0.001  # the economy's clock cannot stop, but nobody lives to see it move
# What rest cannot mend; all else may still be on its way.
_FINAL: Final = {Defect.OVERSOLD_KNOWINGLY, Defect.THROTTLED_BY_US, Defect.NET_FOUND}


@dataclass(slots=True)
class Day:
    """One day; ``told_s`` is when the first sale stood on the screen (monotonic)."""

    plan: DemoPlan
    folder: DemoFolder
    screen: Screen
    control: Control
    prepared: Prepared
    shops: Sequence[CheckedShop]
    on_first_sale: Callable[[], None]
    settle_s: float = 0.0
    staff_counts: dict[str, int] = field(default_factory=dict)
    _page: str = ""

    async def run(self, stopping: asyncio.Event) -> Verdict | None:
        """Trade until the time is over or ``stopping``; the verdict of a bounded run."""
        settings = HubSettings(self.folder.day_url, self.folder.master_key, loopback_only=True)
        async with self._trading(settings) as hub:
            await self._sale()
            await self._trade(hub, stopping)
            if self.plan.run_s is None or stopping.is_set():
                await self._close(None)
                return None
            verdict = await self._settle(stopping)
            await self._close(verdict)
            return verdict

    @contextlib.asynccontextmanager
    async def _trading(self, settings: HubSettings) -> AsyncIterator[Hub]:
        """The hub with its engine, its page and its webhooks."""
        async with Hub.opened(settings) as hub:
            await hub.engine.start()
            try:
                server = await serve(hub, merchant_id=self.prepared.merchant_id)
                try:
                    await self._register(hub, server.url)
                    self._page = server.url
                    yield hub
                finally:
                    await server.stop()
            finally:
                await hub.engine.stop()

    async def _register(self, hub: Hub, url: str) -> None:
        for account in hub.engine.accounts:
            if not account.manifest.orders.webhook:
                continue
            webhooks = AccountWebhooks(
                hub.database,
                hub.keys,
                hub.clock,
                account.channel,
                merchant_id=account.merchant_id,
                account_id=account.account_id,
            )
            answer = await webhooks.register(url, Call(guard=account))
            key = "demo.webhook" if isinstance(answer, WebhookRegistration) else "demo.webhook_not"
            self.screen.say(key, market=account.name)

    async def _sale(self) -> None:
        story = OneSale(self.screen, self.control, self.folder.day_url, self.prepared.merchant_id)
        await story.tell(self.shops, self.on_first_sale)

    # — trade —

    async def _trade(self, hub: Hub, stopping: asyncio.Event) -> None:
        plan, screen = self.plan, self.screen
        await self.control.set_faults(plan.fault_rates, is_enabled=True)
        await self.control.set_demand({"is_on": True, "orders_per_minute": plan.orders_per_minute})
        screen.say("demo.open", rate=plan.orders_per_minute)
        screen.say("demo.page", url=self._page, control=self.control.url)
        if plan.run_s is None:
            screen.say("demo.until")
        staff = Staff(hub, self.control)
        working = asyncio.create_task(staff.work(), name="staff")
        pulse = Pulse(hub, self.control, self.prepared.merchant_id, self.shops)
        try:
            await pulse.begin()
            with screen.table():
                ends_s = None if plan.run_s is None else time.monotonic() + plan.run_s
                while ends_s is None or time.monotonic() < ends_s:
                    await pulse.beat()
                    pulse.show(screen)
                    if working.done():
                        break  # a defect of theirs; told below
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_BEAT_S):
                            await stopping.wait()
                            break
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
            self.staff_counts = dict(staff.counts)
            await self.control.set_demand({"is_on": False})
            await self.control.set_faults({}, is_enabled=False)

    # — the end —

    async def _settle(self, stopping: asyncio.Event) -> Verdict:
        """Nobody buys, nothing fails: everything must come to agree, within a minute."""
        await self.control.set_factor(_STANDSTILL)
        began_s = time.monotonic()
        async with self.screen.working():
            while True:
                verdict = await self._check()
                self.settle_s = time.monotonic() - began_s
                open_ = [each for each in verdict.problems if each.defect not in _FINAL]
                if not open_ or self.settle_s > SETTLE_S_MAX or stopping.is_set():
                    return verdict
                self.screen.doing("demo.settling", left=len(open_))
                await asyncio.sleep(_CHECK_EVERY_S if self.settle_s > 1 else 0.3)

    async def _close(self, verdict: Verdict | None) -> None:
        sheet = await DaySheet.read(self.folder.day_url, self.prepared.merchant_id)
        self.screen.blank()
        sheet.tell(self.screen)
        recounted = verdict or await self._recounted()
        if recounted is not None:
            for line in recounted.oversell_lines(self.screen.catalog):
                self.screen.line(INDENT + line)
        if verdict is not None:
            self.screen.blank()
            for line in verdict.lines(self.screen.catalog):
                self.screen.line(line)

    async def _recounted(self) -> Verdict | None:
        """What a day that was cut short shows; None where recounting would hold up its end."""
        if (await self.control.state()).journal_last_number > _RECOUNTED_MAX:
            return None
        return await self._check()

    async def _check(self) -> Verdict:
        return await check(
            self.control.url,
            self.folder.day_url,
            self.prepared.merchant_id,
            self.shops,
            quotas=push_quotas(self.shops),
        )


def push_quotas(shops: Sequence[CheckedShop]) -> dict[str, list[Quota]]:
    """What the demo's tiers allow for offer pushes, from the manifests."""
    stage = stage_settings()
    quotas: dict[str, list[Quota]] = {}
    for shop in shops:
        manifest = marketplace(shop.marketplace).manifest
        settings = stage.get(shop.marketplace)
        tier = (settings.tier if settings else "") or manifest.default_tier
        groups = manifest.operations["push_offers"].quotas
        quotas[shop.marketplace] = [
            Quota(quota.window_s, quota.limit[tier])
            for quota in manifest.quotas
            if quota.group in groups and tier in quota.limit
        ]
    return quotas
