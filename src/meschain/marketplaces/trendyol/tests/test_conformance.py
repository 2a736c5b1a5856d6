"""The connector against the façade: two readings of one fact sheet must agree."""

import pytest

pytest.register_assert_rewrite("meschain.testing.conformance")

from meschain.testing.conformance import Conformance, Profile, Reading  # noqa: E402 – asserts first


class TestTrendyol(Conformance):
    profile = Profile(
        marketplace="trendyol",
        facade={
            "apply_ms_min": "20",
            "apply_ms_max": "60",
            "approval_s": "2",
            "webhook_delay_ms": "20",
        },
        brand_name="Markasız",
        sees_held=True,
        marketplace_discount="company",
        knows_tickets_for_ever=True,
        last_units_cancellable=True,
        readings=(
            Reading(facade={"filter_epoch": "gmt3"}),
            Reading(facade={"old_dates": "hide", "unknown_package": "404"}),
            Reading(facade={"expired_batch": "not_found", "batch_order": "sent"}),
            Reading(facade={"inventory_bounds": "request", "retry_after": "seconds"}),
            Reading(
                facade={
                    "unapproved_rows": "documented",
                    "attribute_value_key": "attributeValueName",
                    "attributes_create": "guide",
                    "arrays": "repeated",
                },
                account={"attributes_create": "guide", "barcodes_array": "repeated"},
            ),
            Reading(
                facade={
                    "attributes_create": "definition",
                    "arrays": "comma",
                    "category_tree": "object",
                    "brand_search": "substring",
                    "approved_quantity": "absent",
                }
            ),
            Reading(
                facade={
                    "create_required": "guide",
                    "unapproved_update": "partial",
                    "variant_update": "partial",
                    "unknown_fields": "ignore",
                    "user_agent": "present",
                    "invoice_number": "any",
                    "stream_quota": "1000",
                    "webhook_failures": "webhook",
                    "passive_events": "kept",
                }
            ),
            Reading(
                facade={"order_date": "utc", "line_discounts": "total", "cargo_payer": "seller"},
                account={"order_date": "utc"},
            ),
        ),
    )
