"""Slides to embeddings, and reports to labels: everything that fills the store."""
