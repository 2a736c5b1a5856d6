"""The marketplace's reference data: brands, category tree, attributes, carriers.

Invented (``taxonomy.json``), with the flags and shapes the fact sheet gives in 3.1.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from importlib import resources

import msgspec


class Brand(msgspec.Struct, frozen=True):
    id: int
    name: str


class CargoProvider(msgspec.Struct, frozen=True):
    code: str
    name: str


class AddressTemplate(msgspec.Struct, frozen=True, rename="camel"):
    """An address every shop gets, under ids of its own."""

    address_type: str
    address: str
    city: str
    district: str
    post_code: str


class Attribute(msgspec.Struct, frozen=True):
    """An attribute and the values it knows, wherever it is used."""

    id: int
    name: str
    values: tuple[tuple[int, str], ...]


class AttributeRule(msgspec.Struct, frozen=True, rename="camel"):
    """How one category uses an attribute: a slicer opens a page, a varianter an option in it."""

    id: int
    required: bool = False
    varianter: bool = False
    slicer: bool = False
    allow_custom: bool = False
    multiple: bool = False


class Category(msgspec.Struct, frozen=True):
    """A node of the tree; only leaves accept products."""

    id: int
    name: str
    commission: Decimal = Decimal(0)
    children: tuple[Category, ...] = ()
    attributes: tuple[AttributeRule, ...] = ()


class _File(msgspec.Struct, frozen=True, rename="camel"):
    brands: tuple[Brand, ...]
    cargo_providers: tuple[CargoProvider, ...]
    addresses: tuple[AddressTemplate, ...]
    attributes: tuple[Attribute, ...]
    categories: tuple[Category, ...]


class Taxonomy:
    """The file, indexed."""

    def __init__(self, file: _File) -> None:
        self.brands = {brand.id: brand for brand in file.brands}
        self.cargo_providers = {provider.code: provider for provider in file.cargo_providers}
        self.address_templates = file.addresses
        self.attributes = {attribute.id: attribute for attribute in file.attributes}
        self.attribute_values = {
            attribute.id: dict(attribute.values) for attribute in file.attributes
        }
        self.roots = file.categories
        self.categories: dict[int, Category] = {}
        self.root_of: dict[int, Category] = {}
        self.parent_of: dict[int, int] = {}
        for root in file.categories:
            self._index(root, root)

    def _index(self, category: Category, root: Category) -> None:
        self.categories[category.id] = category
        self.root_of[category.id] = root
        for child in category.children:
            self.parent_of[child.id] = category.id
            self._index(child, root)

    def leaf(self, category_id: int) -> Category | None:
        """The category when products may stand in it."""
        category = self.categories.get(category_id)
        return None if category is None or category.children else category

    def rule(self, category_id: int, attribute_id: int) -> AttributeRule | None:
        for rule in self.categories[category_id].attributes:
            if rule.id == attribute_id:
                return rule
        return None


@cache
def taxonomy() -> Taxonomy:
    """The one taxonomy, read once."""
    text = resources.files(__package__ or __name__).joinpath("taxonomy.json").read_bytes()
    return Taxonomy(msgspec.json.decode(text, type=_File))
