"""Reference data over HTTP: brands, categories, attributes, carriers, addresses (sheet 3.1)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from meschain.marketplaces.trendyol.facade.catalog import address_id
from meschain.marketplaces.trendyol.facade.envelope import Refused, json_reply
from meschain.marketplaces.trendyol.facade.gate import Call
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.taxonomy import Category, Taxonomy

_BRANDS_SIZE_MIN: Final = 1000
_BRANDS_SIZE_MAX: Final = 2000
_VALUES_SIZE_DEFAULT: Final = 100
_VALUES_SIZE_MAX: Final = 1000
_BOOLEANS: Final = frozenset({"true", "false"})


class Reference:
    """Reads of what the marketplace itself defines, and of the shop's addresses."""

    def __init__(self, settings: Settings, taxonomy: Taxonomy) -> None:
        self._settings = settings
        self._taxonomy = taxonomy

    # — GET /product/brands —
    async def brands(self, call: Call) -> web.Response:
        """No totals: a client pages until a page is empty."""
        size = call.number("size", _BRANDS_SIZE_MIN, low=_BRANDS_SIZE_MIN, high=_BRANDS_SIZE_MAX)
        page = call.number("page", 0)
        brands = list(self._taxonomy.brands.values())[page * size : (page + 1) * size]
        rows = [{"id": brand.id, "name": brand.name, "luxe": False} for brand in brands]
        return json_reply({"brands": rows})

    # — GET /product/brands/by-name —
    async def brands_by_name(self, call: Call) -> web.Response:
        """A bare array, unlike the list."""
        name = call.text("name")
        if name is None:
            raise Refused(400, "invalid.name", "name is required")
        brands = self._taxonomy.brands.values()
        if self._settings.brand_search == "exact":
            return json_reply([brand for brand in brands if brand.name == name])
        return json_reply([brand for brand in brands if name.lower() in brand.name.lower()])

    # — GET /product/product-categories —
    async def categories(self, call: Call) -> web.Response:
        name = call.text("name")
        trees = [self._tree(root, name) for root in self._taxonomy.roots]
        shown = [tree for tree in trees if tree is not None]
        # Documented and seen as an array; one client also met an object (fact sheet 3.1).
        is_array = self._settings.category_tree == "array"
        return json_reply(shown if is_array else {"categories": shown})

    def _tree(self, category: Category, name: str | None) -> dict[str, object] | None:
        """The category and what is below it; with a name, only branches that lead to it."""
        if name is not None and name.lower() in category.name.lower():
            name = None
        below = [self._tree(child, name) for child in category.children]
        children = [child for child in below if child is not None]
        if name is not None and not children:
            return None
        return {
            "id": category.id,
            "name": category.name,
            "parentId": self._taxonomy.parent_of.get(category.id),
            "subCategories": children,
        }

    # — GET /product/categories/{categoryId}/attributes —
    async def attributes(self, call: Call) -> web.Response:
        category = self._category(call)
        required = call.choice("required", _BOOLEANS)
        return json_reply(
            {
                "id": category.id,
                "name": category.name,
                "displayName": category.name,
                "categoryAttributes": [
                    {
                        "allowCustom": rule.allow_custom,
                        "attribute": {
                            "id": rule.id,
                            "name": self._taxonomy.attributes[rule.id].name,
                        },
                        "categoryId": category.id,
                        "required": rule.required,
                        "varianter": rule.varianter,
                        "slicer": rule.slicer,
                        "allowMultipleAttributeValues": rule.multiple,
                    }
                    for rule in category.attributes
                    if required is None or rule.required is (required == "true")
                ],
            }
        )

    # — GET /product/categories/{categoryId}/attributes/{attributeId}/values —
    async def attribute_values(self, call: Call) -> web.Response:
        category = self._category(call)
        attribute_id = call.path_number("attributeId")
        if self._taxonomy.rule(category.id, attribute_id) is None:
            raise Refused(404, "attribute.not.found", f"attribute {attribute_id} not found")
        size = call.number("size", _VALUES_SIZE_DEFAULT, low=1, high=_VALUES_SIZE_MAX)
        page = call.number("page", 0)
        values = self._taxonomy.attributes[attribute_id].values
        return json_reply(
            {
                "totalElements": len(values),
                "totalPages": -(-len(values) // size),
                "page": page,
                "size": size,
                "content": [
                    {"attributeValueId": value_id, self._settings.attribute_value_key: text}
                    for value_id, text in values[page * size : (page + 1) * size]
                ],
            }
        )

    def _category(self, call: Call) -> Category:
        category = self._taxonomy.categories.get(call.path_number("categoryId"))
        if category is None:
            raise Refused(404, "category.not.found", "category not found")
        return category

    # — GET /product/lookup/cargo-providers —
    async def cargo_providers(self, _: Call) -> web.Response:
        return json_reply(list(self._taxonomy.cargo_providers.values()))

    # — GET /sellers/{sellerId}/addresses —
    async def addresses(self, call: Call) -> web.Response:
        rows: list[dict[str, object]] = []
        defaults: dict[str, object] = {}
        for at, template in enumerate(self._taxonomy.address_templates):
            row: dict[str, object] = {
                "id": address_id(call.seller, at),
                "addressType": template.address_type,
                "isShipmentAddress": template.address_type == "Shipment",
                "isReturningAddress": template.address_type == "Returning",
                "isInvoiceAddress": template.address_type == "Invoice",
                "isDefault": True,
                "address": template.address,
                "city": template.city,
                "district": template.district,
                "postCode": template.post_code,
                "fullName": f"Satıcı {call.seller.shop.seller_id}",
            }
            rows.append(row)
            defaults[f"default{template.address_type}Address"] = row
        return json_reply({"supplierAddresses": rows, **defaults})
