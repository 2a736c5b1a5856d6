"""Histograms: every duration in its place, and no more series than manifests have names."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from meschain.api.rest.metrics import _of_measures
from meschain.sync.measure import BOUNDS_US, Histogram, Measures

DURATIONS = st.lists(st.integers(-10, 2 * BOUNDS_US[-1]) | st.sampled_from(BOUNDS_US))


def rows_of(measures: Measures) -> dict[str, float]:
    lines = [line for line in _of_measures(measures) if not line.startswith("#")]
    rows = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert len(rows) == len(lines), "a row is there once"
    return rows


@given(DURATIONS)
def test_a_bucket_counts_what_took_no_longer_than_its_bound(durations: list[int]) -> None:
    measures = Measures()
    measures.claims.add(durations)
    rows = rows_of(measures)
    for bound_us in BOUNDS_US:
        expected = sum(each <= bound_us for each in durations)
        assert rows[f'meschain_claim_seconds_bucket{{le="{bound_us / 1_000_000}"}}'] == expected
    assert rows['meschain_claim_seconds_bucket{le="+Inf"}'] == len(durations)
    assert rows["meschain_claim_seconds_count"] == len(durations)
    total_s = sum(each for each in durations if each > 0) / 1_000_000
    assert rows["meschain_claim_seconds_sum"] == total_s


def test_what_counts_never_falls() -> None:
    histogram = Histogram()
    for number, duration in enumerate((5, -7, 10**12, 5)):
        histogram.add([duration])
        assert sum(histogram.counts) == number + 1
        assert histogram.counts[bisect_left(BOUNDS_US, duration)] > 0


def test_offers_are_measured_with_and_without_what_quotas_held_back() -> None:
    measures = Measures()
    measures.propagated("east", [40_000, 60_000], [0, 2_000_000])
    rows = rows_of(measures)
    east = 'marketplace="east"'
    assert rows[f'meschain_hub_seconds_bucket{{{east},le="0.1"}}'] == 2
    assert rows[f'meschain_propagation_seconds_bucket{{{east},le="0.1"}}'] == 1
    assert rows[f"meschain_propagation_seconds_sum{{{east}}}"] == 2.1


def test_there_are_no_more_series_than_marketplaces_and_operations() -> None:
    measures = Measures()
    for number in range(2_000):
        measures.propagated("east", [number], [number])
        measures.requested("east", ("push", "poll")[number % 2], number)
    assert len(rows_of(measures)) == 5 * (len(BOUNDS_US) + 3)
