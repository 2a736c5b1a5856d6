"""The connector against the façade: two readings of one fact sheet must agree."""

import pytest

pytest.register_assert_rewrite("meschain.testing.conformance")

from meschain.testing.conformance import Conformance, Profile, Reading  # noqa: E402 – asserts first


class TestN11(Conformance):
    profile = Profile(
        marketplace="n11",
        facade={
            "task_delay_ms_min": "20",
            "task_delay_ms_max": "60",
            "approval_delay_s": "2",
            "pickup_point_every": "25",
        },
        account={"shipment_template": "Standart", "brand_category_id": "1000476"},
        brand_name="Ege Pamuk",
        sees_held=False,
        marketplace_discount="never",
        knows_tickets_for_ever=False,
        last_units_cancellable=False,
        readings=(
            Reading(facade={"status_omitted": "all"}, account={"order_status_query": "omitted"}),
            Reading(facade={"window_shift_h": "3", "lookup_window": "ignored"}),
            Reading(facade={"window_shift_h": "-3"}),
            Reading(facade={"price_rule": "fail", "reasons_place": "sku", "fail_spelling": "Fail"}),
            Reading(facade={"categories_shape": "bare", "unknown_task": "empty"}),
            Reading(facade={"rest_auth": "403", "cdn_auth": "key", "split_refusal": "200"}),
            Reading(facade={"status_spelling": "mapping_page", "rejection_told": "result"}),
            Reading(facade={"lowers_own_shelf": "off", "restocks_on_cancel": "on"}),
            Reading(facade={"special_delivery_every": "1", "order_direction": "DESC"}),
        ),
    )
