"""Our own supervisor for a PostgreSQL that comes with the hub; see ADR 0001."""

from meschain.store.embedded.binaries import Binaries, find_binaries
from meschain.store.embedded.errors import EmbeddedPostgresError
from meschain.store.embedded.server import EmbeddedPostgres

__all__ = ["Binaries", "EmbeddedPostgres", "EmbeddedPostgresError", "find_binaries"]
