"""Pure: wire ↔ domain. A module for each kind of thing."""
