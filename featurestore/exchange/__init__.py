"""Embeddings of other tools, in and out: TRIDENT, CLAM, STAMP, slide2vec; Parquet for the rest.

What cannot be taken in or written is a `FeaturesRefused` with its sentence, wherever that is found.
"""
