"""Values and rules of trade: standard library only, no I/O, no clock, no logs."""
