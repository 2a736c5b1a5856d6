"""Settings of every test here; databases come from the plugin meschain.testing.database."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from meschain.testing.guard import clear, databases_left, guarded

# On a busy machine a slow example is no defect: the time of a whole run is what is watched.
settings.register_profile("ours", deadline=None)
settings.register_profile("quick", settings.get_profile("ours"), max_examples=20)


def pytest_configure(config: pytest.Config) -> None:
    """Whoever leaves out the slow tests wants few examples too (where a law names no number)."""
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "ours")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A database that runs on, or lies outside our folders as root's do, is a fault of its test."""
    folder = tmp_path_factory.getbasetemp()
    with guarded(folder):
        yield
        left = databases_left(folder)
        for each in left:
            clear(each)
    assert left == []
