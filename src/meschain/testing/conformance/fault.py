"""What goes wrong on the wire, and the one outcome that each of it must come to."""

from __future__ import annotations

from meschain.channel.contract import OfferPush
from meschain.channel.outcome import Accepted, Problem, Throttled, Unknown
from meschain.sandbox.faults import Fault
from meschain.testing.conformance.stage import ConformancePart, Stage


class FaultConformance(ConformancePart):
    """Faults are injected by the façade; the engine decides by the outcome alone."""

    async def test_too_many_requests_is_throttled_and_nothing_was_applied(self) -> None:
        async with self.open() as stage:
            outcome, quantity = await pushed_under(stage, Fault.THROTTLED)
            assert isinstance(outcome, Throttled)
            assert quantity == 10

    async def test_an_error_of_their_server_is_unknown(self) -> None:
        for _ in range(4):  # their errors have several faces, drawn by the façade
            async with self.open() as stage:
                outcome, _ = await pushed_under(stage, Fault.SERVER_ERROR)
                assert isinstance(outcome, Unknown)
                assert outcome.evidence == "server_error"

    async def test_a_reset_connection_is_unknown_since_it_may_have_arrived(self) -> None:
        async with self.open() as stage:
            outcome, _ = await pushed_under(stage, Fault.RESET)
            assert isinstance(outcome, Unknown)
            assert outcome.evidence == "lost"

    async def test_no_answer_in_time_is_unknown_and_was_applied(self) -> None:
        async with self.open(timeout_s=0.5) as stage:
            key = stage.stock(1)[0]
            stage.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1)
            outcome = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            assert isinstance(outcome, Unknown)
            assert outcome.evidence == "lost"
            await stage.until(lambda: stage.shelf(key).quantity == 4)

    async def test_repeating_what_was_lost_is_either_taken_or_known_as_a_duplicate(self) -> None:
        async with self.open(timeout_s=0.5) as stage:
            key = stage.stock(1)[0]
            stage.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1)
            await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            again = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            assert isinstance(again, Accepted) or (
                isinstance(again, Unknown) and again.evidence == "duplicate"
            )

    async def test_every_read_turns_every_fault_into_a_problem_and_never_raises(self) -> None:
        faults = (
            Fault.THROTTLED,
            Fault.SERVER_ERROR,
            Fault.RESET,
            Fault.TIMEOUT_AFTER_APPLYING,
        )
        for fault in faults:
            async with self.open(timeout_s=0.3, speed=100) as stage:
                key = stage.stock(1)[0]
                stage.world.faults.rates[fault] = 1.0
                channel, call = stage.channel, stage.call
                answers = [
                    await channel.check_credentials(call),
                    await channel.list_categories(call),
                    await channel.list_offers(None, call),
                    await channel.observe_offers([key], call),
                    await channel.poll_ticket("1", call),
                    await channel.pull_orders(stage.window(), None, call),
                    await channel.pull_order("1", call),
                ]
                for answer in answers:
                    assert isinstance(answer, Problem), (fault, answer)
                    assert isinstance(answer, Throttled) == (fault is Fault.THROTTLED) or (
                        "breaker" in repr(answer)
                    )

    async def test_a_fault_that_has_passed_leaves_no_trace(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            stage.world.faults.force(Fault.RESET, count=1)
            await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
            ends = await stage.ended(
                await stage.channel.push_offers([OfferPush(key, 5)], stage.call)
            )
            assert list(ends) == [key]
            assert stage.shelf(key).quantity == 5


async def pushed_under(stage: Stage, fault: Fault) -> tuple[object, int]:
    """The outcome of one push under the fault, and what the shelf shows afterwards."""
    key = stage.stock(1)[0]
    stage.world.faults.force(fault, count=1)
    outcome = await stage.channel.push_offers([OfferPush(key, 4)], stage.call)
    assert stage.world.faults.injected[fault.value] == 1
    await stage.economy.clock.sleep(1)
    return outcome, stage.shelf(key).quantity
