"""The invented category tree, its attributes and their values, in N11's wire shape (§3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

BRAND_ATTRIBUTE_ID: Final = 1  # "Marka" in every category; there is no brand service


class _ValueList(msgspec.Struct):
    firstId: int  # noqa: N815 – the file speaks N11's language
    values: list[str]


class _AttributeSource(msgspec.Struct):
    id: int
    name: str
    values: str | None
    flags: list[str]


class _CategorySource(msgspec.Struct):
    id: int
    name: str
    subCategories: list[_CategorySource] | None = None  # noqa: N815
    attributes: list[str] = []


class _Source(msgspec.Struct):
    valueLists: dict[str, _ValueList]  # noqa: N815
    attributes: dict[str, _AttributeSource]
    categories: list[_CategorySource]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of one leaf category."""

    attribute_id: int
    name: str
    flags: frozenset[str]
    values: Mapping[int, str]

    def wire(self, category_id: int, order: int) -> dict[str, object]:
        """The element of ``categoryAttributes``."""
        return {
            "attributeId": self.attribute_id,
            "categoryId": category_id,
            "attributeName": self.name,
            "isMandatory": "isMandatory" in self.flags,
            "isVariant": "isVariant" in self.flags,
            "isSlicer": "isSlicer" in self.flags,
            "isCustomValue": "isCustomValue" in self.flags,
            "isN11Grouping": False,  # meaning unconfirmed
            "attributeOrder": order,
            "attributeValues": [{"id": id_, "value": text} for id_, text in self.values.items()],
        }


@dataclass(frozen=True, slots=True)
class Category:
    """A leaf: the only kind of category that takes products."""

    category_id: int
    name: str
    attributes: Mapping[int, Attribute]

    def wire(self) -> dict[str, object]:
        """The answer of the attribute call."""
        return {
            "id": self.category_id,
            "name": self.name,
            "categoryAttributes": [
                attribute.wire(self.category_id, 1000 + place)
                for place, attribute in enumerate(self.attributes.values())
            ],
        }


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The tree as it is answered, and its leaves by id."""

    tree: list[dict[str, object]]
    leaves: Mapping[int, Category]


@cache
def load_taxonomy() -> Taxonomy:
    """Read the file once a process; nothing changes it."""
    text = resources.files(__package__).joinpath("taxonomy.json").read_bytes()
    source = msgspec.json.decode(text, type=_Source)
    leaves: dict[int, Category] = {}

    def branch(category: _CategorySource, parent_id: int | None) -> dict[str, object]:
        children = category.subCategories
        if children is None:
            attributes = [_attribute(source, name) for name in category.attributes]
            leaves[category.id] = Category(
                category.id, category.name, {each.attribute_id: each for each in attributes}
            )
        return {
            "id": category.id,
            "name": category.name,
            "parentId": parent_id,
            # null, not an empty list, is what marks a leaf
            "subCategories": children and [branch(child, category.id) for child in children],
        }

    tree = [branch(category, None) for category in source.categories]
    return Taxonomy(tree, leaves)


def _attribute(source: _Source, name: str) -> Attribute:
    given = source.attributes[name]
    values: dict[int, str] = {}
    if given.values is not None:
        listed = source.valueLists[given.values]
        values = dict(enumerate(listed.values, start=listed.firstId))
    return Attribute(given.id, given.name, frozenset(given.flags), values)
