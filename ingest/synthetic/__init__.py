"""A synthetic archive with known cellularity: slides, manifest, reports and truth."""
