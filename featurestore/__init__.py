"""The store: per-slide Zarr arrays, the ledger and the DuckDB catalog, behind one door."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.arrays import SlideArrays as SlideArrays
    from featurestore.arrays import row_order as row_order
    from featurestore.catalog import best_of as best_of
    from featurestore.errors import TrephineError as TrephineError
    from featurestore.exchange.exporting import export_cohort as export_cohort
    from featurestore.exchange.importing import import_features as import_features
    from featurestore.ids import strangers as strangers
    from featurestore.ledger import frame_of as frame_of
    from featurestore.ledger import nouns_of as nouns_of
    from featurestore.ledger import schema_of as schema_of
    from featurestore.queries import where_query as where_query
    from featurestore.reading import Readable as Readable
    from featurestore.rows import RowReader as RowReader
    from featurestore.store import FeatureStore as FeatureStore
    from featurestore.types import Target as Target

_HOMES = {
    "FeatureStore": "featurestore.store",
    "Readable": "featurestore.reading",
    "RowReader": "featurestore.rows",
    "SlideArrays": "featurestore.arrays",
    "Target": "featurestore.types",
    "TrephineError": "featurestore.errors",
    "best_of": "featurestore.catalog",
    "export_cohort": "featurestore.exchange.exporting",
    "frame_of": "featurestore.ledger",
    "import_features": "featurestore.exchange.importing",
    "nouns_of": "featurestore.ledger",
    "schema_of": "featurestore.ledger",
    "row_order": "featurestore.arrays",
    "strangers": "featurestore.ids",
    "where_query": "featurestore.queries",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import on first use: DuckDB and Zarr take their time, and `--help` must not wait for them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
