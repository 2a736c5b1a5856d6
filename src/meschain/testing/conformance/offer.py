"""Prices and quantities: pushes, tickets, items, repetitions, quotas."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from meschain.channel.contract import OfferPush, TicketOpen
from meschain.channel.outcome import Accepted, Done, Problem, Refused, Unknown
from meschain.sandbox.faults import Fault
from meschain.testing.conformance.stage import ConformancePart, Stage

BURST_S: Final = 120.0  # of the façade's time: twice the longest documented window


class OfferConformance(ConformancePart):
    """What the engine's lanes rest on."""

    async def test_a_quantity_alone_leaves_the_prices_alone(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            ends = await push(stage, OfferPush(key, quantity=3))
            assert ends == {key: Done()}
            shelf = stage.shelf(key)
            assert (shelf.quantity, shelf.list_minor, shelf.sale_minor) == (3, 12_990, 9_990)

    async def test_prices_alone_leave_the_quantity_alone(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            prices = OfferPush(key, None, stage.money(20_000), stage.money(19_999))
            assert await push(stage, prices) == {key: Done()}
            shelf = stage.shelf(key)
            assert (shelf.quantity, shelf.list_minor, shelf.sale_minor) == (10, 20_000, 19_999)

    async def test_quantity_and_prices_go_together(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            both = OfferPush(key, 0, stage.money(100), stage.money(100))
            assert await push(stage, both) == {key: Done()}
            shelf = stage.shelf(key)
            assert (shelf.quantity, shelf.list_minor, shelf.sale_minor) == (0, 100, 100)

    async def test_the_largest_batch_is_taken_whole(self) -> None:
        async with self.open() as stage:
            keys = stage.stock(stage.manifest.offers.batch_max)
            ends = await push(stage, *(OfferPush(key, n) for n, key in enumerate(keys)))
            assert ends == dict.fromkeys(keys, Done())
            assert [stage.shelf(key).quantity for key in keys] == list(range(len(keys)))

    async def test_a_ticket_is_open_before_it_is_applied_and_names_nothing_done(self) -> None:
        async with self.open(facade=slow(self.profile.facade)) as stage:
            key = stage.stock(1)[0]
            outcome = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            assert isinstance(outcome, Accepted)
            answer = await stage.channel.poll_ticket(outcome.reference, stage.call)
            assert answer == TicketOpen()
            assert stage.shelf(key).quantity == 10

    async def test_one_bad_item_is_refused_in_their_words_and_the_others_are_done(self) -> None:
        async with self.open() as stage:
            keys = stage.stock(3)
            stage.world.faults.force(Fault.BATCH_ITEM_FAILED, count=1)
            ends = await push(stage, *(OfferPush(key, 1) for key in keys))
            refused = [key for key, end in ends.items() if isinstance(end, Refused)]
            assert len(refused) == 1
            assert sorted(ends) == sorted(keys)
            for key in keys:
                assert stage.shelf(key).quantity == (10 if key in refused else 1)
            words = ends[refused[0]]
            assert isinstance(words, Refused)
            assert words.text

    async def test_an_unknown_key_is_refused(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            ends = await push(stage, OfferPush(key, 1), OfferPush("NO-SUCH-KEY", 1))
            assert ends[key] == Done()
            assert isinstance(ends["NO-SUCH-KEY"], Refused)

    async def test_a_list_price_below_the_sale_price_takes_nobody_else_with_it(self) -> None:
        async with self.open() as stage:
            good, bad = stage.stock(2)
            crossed = OfferPush(bad, 1, stage.money(100), stage.money(200))
            ends = await push(stage, OfferPush(good, 1), crossed)
            assert isinstance(ends[bad], Refused)
            assert stage.shelf(bad).sale_minor == 9_990
            if stage.shelf(good).quantity == 1:
                assert ends[good] == Done()
            else:  # nothing was sent: the engine sends the good one again, at once
                assert ends[good] == Unknown("not_sent")

    async def test_the_largest_quantity_is_taken_and_one_more_is_not(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            most = stage.manifest.offers.quantity_max
            assert await push(stage, OfferPush(key, most)) == {key: Done()}
            ends = await push(stage, OfferPush(key, most + 1))
            assert isinstance(ends[key], Refused)
            assert stage.shelf(key).quantity == most

    async def test_an_unknown_ticket_is_never_taken_for_a_result(self) -> None:
        async with self.open() as stage:
            answer = await stage.channel.poll_ticket("990099", stage.call)
            if stage.profile.knows_tickets_for_ever:
                assert answer == TicketOpen()
            else:
                assert isinstance(answer, Unknown)
                assert answer.evidence == "expired"

    async def test_a_ticket_whose_result_is_gone_is_never_taken_for_a_result(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            stage.world.faults.force(Fault.BATCH_EXPIRED, count=1)
            outcome = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            assert isinstance(outcome, Accepted)
            await stage.until(lambda: stage.shelf(key).quantity == 4)
            answer = await stage.channel.poll_ticket(outcome.reference, stage.call)
            assert answer == TicketOpen() or (
                isinstance(answer, Unknown) and answer.evidence == "expired"
            )

    async def test_a_stuck_ticket_stays_open(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            stage.world.faults.force(Fault.BATCH_STUCK, count=1)
            outcome = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            assert isinstance(outcome, Accepted)
            await stage.economy.clock.sleep(2)
            answer = await stage.channel.poll_ticket(outcome.reference, stage.call)
            assert isinstance(answer, TicketOpen)

    async def test_the_identical_request_is_a_duplicate_and_another_value_is_not(self) -> None:
        async with self.open(facade=slow(self.profile.facade)) as stage:
            if not stage.manifest.offers.identical_body_refused_s:
                return
            key = stage.stock(1)[0]
            first = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            again = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            other = await stage.channel.push_offers([OfferPush(key, 5)], stage.call)
            assert isinstance(first, Accepted)
            assert isinstance(again, Unknown)
            assert again.evidence == "duplicate"
            assert isinstance(other, Accepted)

    @pytest.mark.slow
    async def test_pacing_never_meets_the_quota_though_it_uses_most_of_it(self) -> None:
        """Two minutes of pushes as fast as the pacer lets them, four at a time, and their polls."""
        async with self.open(speed=20) as stage:
            keys = stage.stock(8)
            end_s = stage.economy.clock.monotonic_s() + BURST_S
            sent = 0

            async def push_on(key: str) -> None:
                nonlocal sent
                quantity = 0
                while stage.economy.clock.monotonic_s() < end_s:
                    quantity += 1
                    outcome = await stage.channel.push_offers(
                        [OfferPush(key, quantity % 1000)], stage.call
                    )
                    assert isinstance(outcome, (Accepted, Unknown)), outcome
                    sent += 1
                    if isinstance(outcome, Accepted) and quantity % 4 == 0:
                        answer = await stage.channel.poll_ticket(outcome.reference, stage.call)
                        assert not isinstance(answer, Problem), answer

            async with asyncio.TaskGroup() as group:
                for key in keys[:4]:
                    group.create_task(push_on(key))
            operation = stage.manifest.operations["push_offers"]
            quotas = {quota.group: quota for quota in stage.manifest.quotas}
            tier = stage.account.tier
            most = min(
                quotas[name].limit[tier] * BURST_S / quotas[name].window_s
                for name in operation.quotas
                if tier in quotas[name].limit
            )
            assert stage.refused_by_quota() == 0
            assert sent > most / 2


async def push(stage: Stage, *pushes: OfferPush) -> dict[str, object]:
    """Push and follow the ticket to its end."""
    return dict(await stage.ended(await stage.channel.push_offers(pushes, stage.call)))


def slow(settings: object) -> dict[str, str]:
    """Façade settings under which what was accepted is not applied for a while."""
    assert isinstance(settings, dict)
    return {name: "600000" for name in settings if "_ms" in name and "webhook" not in name}
