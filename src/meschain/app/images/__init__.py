"""Images of products: taken in, fetched, kept by their content, served in several sizes.

Guide: docs/guides/images.md.
"""
