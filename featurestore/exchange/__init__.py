"""Embeddings of other tools, in and out: TRIDENT, CLAM, STAMP, slide2vec; Parquet for the rest."""
