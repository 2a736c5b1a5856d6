"""The marketplace's own words, searched: what the mapping table's ``theirs`` may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meschain.domain.text import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meschain.channel.contract import CategoryNode


def leaf_paths(nodes: Iterable[CategoryNode]) -> list[tuple[str, str]]:
    """Categories that take products, as (id, path), in the marketplace's order.

    A path is written as ours are: ``Giyim > Kadın > Kazak``. Parents come first, which the
    conformance suite holds every connector to.
    """
    paths: dict[str, str] = {}
    leaves: list[tuple[str, str]] = []
    for node in nodes:
        above = paths[node.parent_id] + " > " if node.parent_id is not None else ""
        paths[node.category_id] = above + node.name
        if node.is_leaf:
            leaves.append((node.category_id, paths[node.category_id]))
    return leaves


def holding(entries: Iterable[tuple[str, str]], words: Sequence[str]) -> list[tuple[str, str]]:
    """Those whose name holds all words, whatever their case, accents and i's."""
    wanted = [fold(word) for word in words]
    return [
        (theirs, name) for theirs, name in entries if all(word in fold(name) for word in wanted)
    ]
