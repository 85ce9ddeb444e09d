"""Whole-slide images: find, read, tile and embed them into the store."""
