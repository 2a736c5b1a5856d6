"""The hub over HTTP: parse, authorise, call ``app``, render."""
