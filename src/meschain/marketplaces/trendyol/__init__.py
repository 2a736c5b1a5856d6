"""Trendyol (Türkiye): the connector of its seller API, and the simulator's face of it."""
