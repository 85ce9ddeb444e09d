"""The store: per-slide Zarr arrays, the ledger and the DuckDB catalog."""
