"""Credentials and reference data."""

from __future__ import annotations

from meschain.channel.outcome import Done, Problem, Refused, Unauthorized
from meschain.testing.conformance.stage import ConformancePart


class ReferenceConformance(ConformancePart):
    """What a connection begins with."""

    async def test_right_credentials_are_accepted(self) -> None:
        async with self.open() as stage:
            assert await stage.channel.check_credentials(stage.call) == Done()

    async def test_every_wrong_credential_is_unauthorized_and_not_an_error_of_the_channel(
        self,
    ) -> None:
        async with self.open() as right:
            names = [credential.name for credential in right.manifest.credentials]
            values = {name: right.account.credentials[name] for name in names}
        assert names
        for name in names:
            wrong = {name: values[name][:-1] + ("1" if values[name][-1] != "1" else "2")}
            async with self.open(credentials=wrong) as stage:
                outcome = await stage.channel.check_credentials(stage.call)
                assert isinstance(outcome, Unauthorized), (name, outcome)

    async def test_wrong_credentials_are_unauthorized_on_every_road(self) -> None:
        async with self.open() as right:
            name = right.manifest.credentials[-1].name
        async with self.open(credentials={name: "wrong"}) as stage:
            channel, call = stage.channel, stage.call
            assert isinstance(await channel.list_offers(None, call), Unauthorized)
            assert isinstance(await channel.pull_orders(stage.window(), None, call), Unauthorized)
            assert isinstance(await channel.poll_ticket("1", call), Unauthorized)

    async def test_the_category_tree_names_parents_first_and_has_leaves(self) -> None:
        async with self.open() as stage:
            nodes = await stage.channel.list_categories(stage.call)
            assert not isinstance(nodes, Problem)
            seen: set[str | None] = {None}
            for node in nodes:
                assert node.parent_id in seen
                assert node.category_id not in seen
                assert node.name
                seen.add(node.category_id)
            parents = {node.parent_id for node in nodes}
            assert all(node.is_leaf == (node.category_id not in parents) for node in nodes)
            assert any(node.is_leaf for node in nodes)

    async def test_every_required_attribute_of_a_leaf_can_be_given(self) -> None:
        async with self.open(speed=100) as stage:
            nodes = await stage.channel.list_categories(stage.call)
            assert not isinstance(nodes, Problem)
            for leaf in [node for node in nodes if node.is_leaf][:3]:
                attributes = await stage.channel.list_attributes(leaf.category_id, stage.call)
                assert not isinstance(attributes, Problem)
                assert attributes
                assert any(attribute.is_required for attribute in attributes)
                for attribute in attributes:
                    assert attribute.name
                    assert not attribute.is_required or attribute.values or attribute.allows_custom
                    assert all(value_id and value for value_id, value in attribute.values)

    async def test_attributes_of_a_category_that_does_not_exist_are_refused(self) -> None:
        async with self.open() as stage:
            answer = await stage.channel.list_attributes("99999999", stage.call)
            assert isinstance(answer, Refused)

    async def test_a_brand_is_found_by_its_name_and_an_unknown_one_is_not(self) -> None:
        async with self.open() as stage:
            found = await stage.channel.find_brands(stage.profile.brand_name, stage.call)
            assert not isinstance(found, Problem)
            assert stage.profile.brand_name in [brand.name for brand in found]
            nothing = await stage.channel.find_brands("Böyle Marka Yoktur", stage.call)
            assert not isinstance(nothing, Problem)
            assert list(nothing) == []
