"""Keeping what must not be lost: backups, their folder, their schedule and their proof."""
