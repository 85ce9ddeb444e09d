"""The part of a store that people read: SQL, frames and arrays, and what a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalog_file import log_of, must_be_readable, must_exist, path_of, versions
from featurestore.errors import ConfigError, SlideNotFound, TrephineError
from featurestore.fields import from_json
from featurestore.ids import one_of
from featurestore.layout import slides_dir
from featurestore.queries import NamedQuery
from featurestore.sql_child import about
from featurestore.types import EncoderDescription, Target
from featurestore.user_sql import Limits, Question
from featurestore.words import as_html, counted
from featurestore.workplaces import is_claimed

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


OTHERS = {
    "older": "rows of the ledger are not here yet. Take them in: trephine ingest --adopt-only",
    "other": "the catalog is of another ledger than is here. Look with: trephine verify",
}


class Readable:
    """The part of a store that people read with their own tools; quick to import."""

    def __init__(self, root: Path | str, *, trust: bool = False) -> None:
        self.root, self.trust = Path(root), trust
        self.notes: list[str] = []  # on damage that was left out
        self._asked: Question | None = None  # the last, unless something was written since
        must_be_readable(self.root)
        must_exist(self.root)
        self._recovered = self._recover()

    def _recover(self) -> str:
        """A note on a torn catalog that was made anew; only who was killed leaves a log."""
        if not log_of(path_of(self.root)).exists():
            return ""
        from featurestore import creation

        return creation.recover(self.root)

    def __getstate__(self) -> dict[str, Any]:
        """For a process that works in another folder."""
        return {**vars(self), "root": self.root.absolute()}

    def __repr__(self) -> str:
        try:
            (n,) = self.named("queries/status").rows(named=True)
        except TrephineError:  # in use or of another version: it is still a store
            return f"FeatureStore({str(self.root)!r})"
        parts = [counted(n["slides"], "slide"), f"{n['slides_with_tiles']:,} with embeddings"]
        parts += [counted(len(n["encoders"]), "encoder")]
        parts += [counted(n[f"{one}s"], one) for one in ("cohort", "run")]
        return f"FeatureStore({str(self.root)!r}: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        from html import escape

        from featurestore import overview

        try:
            return as_html(overview.status(self).text().splitlines())
        except TrephineError:
            return f"<code>{escape(repr(self))}</code>"

    def sql(
        self, query: str, parameters: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0
    ) -> pl.DataFrame:
        """Run one SELECT over the tables and views; read-only, without files or network.

        Raises:
            QueryRefused: it is not exactly one SELECT, fails, or goes beyond `user_sql.Limits`.
        """
        return self.question(query, parameters, timeout_s=timeout_s).frame()

    def question(
        self, query: str, parameters: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0
    ) -> Question:
        """The same, which runs when its rows are asked for: as a frame, or as plain values."""
        if not isinstance(query, str):
            raise ConfigError(f"SQL must be a text, got {type(query).__name__}")
        must_exist(self.root)
        if isinstance(query, NamedQuery):
            parameters = self._meant(parameters)
        limits = Limits(time_s=timeout_s)
        self._asked = Question(path_of(self.root), query, parameters, limits, versions())
        return self._asked

    def ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Run a SELECT of this code's own, in this process; never what a user wrote."""
        from featurestore import catalog

        return catalog.read_text(self.root, query, parameters)

    def named(self, query: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Run one of the SQL texts that come along, such as `named/labels_as_of`."""
        from featurestore import catalog

        if query.startswith("named/"):
            parameters = self._meant(parameters)
        return catalog.read_frame(self.root, query, parameters)

    def _meant(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        """The same, with the whole id of the Run.

        Refused where it, or the Target, is not there: no rows would look like nothing to do.
        """
        given = dict(parameters or {})
        if "target" in given:
            self.target(given["target"])
        if "run" in given:
            from featurestore.checksums import run_id_of  # slow to import

            known = self.ask("select run_id from runs order by sequence, started_at, run_id")
            given["run"] = run_id_of(known["run_id"].to_list(), str(given["run"]))
        return given

    def target(self, name: str = "cellularity") -> Target:
        """Return a Target that Labels were given for."""
        found = self.ask("from targets where target = $name", {"name": str(name)})
        if found.is_empty():
            raise ConfigError(
                f"no label of target {name!r} is in the store. Add some with: trephine label"
            )
        row = found.row(0, named=True)
        return from_json(Target, row | {"name": name})

    def encoder(self, encoder_id: str) -> EncoderDescription:
        """Return name, weights and identity of an Encoder."""
        found = self.ask("from encoders where encoder_id = $id", {"id": encoder_id})
        if found.is_empty():
            raise ConfigError(
                f"encoder {encoder_id!r} is not in the store. "
                "List its encoders with: trephine sql 'from encoders'"
            )
        return from_json(EncoderDescription, found.row(0, named=True))

    def note(self, said: str) -> None:
        """Take down what is damaged, and was left out of a command's result."""
        if (line := f"note: {said}\n") not in self.notes:
            self.notes.append(line)

    def set_aside(self) -> str:
        """Say what the catalog lacks of the ledger, or could not take; empty if there is none."""
        if (asked := self._asked) is not None and asked.aside is not None:
            n, other = asked.aside, asked.other
        else:
            from featurestore import catalog

            with catalog.reader(self.root) as con:
                n, other = about(con, self.root / "ledger").values()
        how = "Look with: trephine sql \"from failures where stage = 'ledger'\""
        if other and not is_claimed(slides_dir(self.root)):  # what a later call folds in
            self.note(OTHERS[other])
        aside = f"note: {n} rows or files of the ledger are set aside. {how}\n" if n else ""
        return "".join([self._recovered, *self.notes, aside])

    def slides(self) -> pl.DataFrame:
        """Return one row per Slide, with its Label, quality and Embeddings."""
        return self.ask("from slide_overview order by slide_id")

    def labels(self, target: str = "cellularity") -> pl.DataFrame:
        """Return the best Label of each Case: case_id, value, low, high, method and status.

        Raises:
            ConfigError: no Label of that Target is in the store.
        """
        named = {"target": self.target(target).name}
        text = "select * exclude (target) from best_labels where target = $target order by case_id"
        return self.ask(text, named)

    def embeddings(
        self, slide: str, tiling_id: str | None = None, encoder_id: str | None = None
    ) -> np.ndarray:
        """Return all Embeddings of a Slide, checked against their checksum, float16 (N, D).

        Args:
            slide: its slide_id or slide_key.
            tiling_id: id, or the beginning of it; not needed where the Slide has one.
            encoder_id: id, name, or the beginning of one; not needed where the Slide has one.

        Raises:
            SlideNotFound: the store has no Embeddings of such a Slide.
            ConfigError: none, or several, fit.
            StoreDamaged: they are not what was written.
        """
        from featurestore import arrays

        if tiling_id and encoder_id and arrays.has(self.root, slide, tiling_id, encoder_id):
            return arrays.read_embeddings(self.root, slide, tiling_id, encoder_id)
        ids = self._array_of(slide, tiling_id, encoder_id)
        return arrays.read_embeddings(self.root, *ids)

    def _array_of(
        self, slide: str, tiling_id: str | None, encoder_id: str | None
    ) -> tuple[str, str, str]:
        found = self.ask(
            "select distinct slide_key, tiling_id, encoder_id from slides"
            " join embeddings using (slide_key) where $slide in (slide_id, slide_key)",
            {"slide": slide},
        )
        if found.is_empty():
            raise SlideNotFound(
                f"no embeddings of slide {slide!r} are in {self.root}. "
                "List its slides with: trephine sql 'from slide_overview'"
            )
        return self._one_array(found, encoder_id, tiling_id).row(0)

    def _one_array(
        self, frame: pl.DataFrame, encoder_id: str | None, tiling_id: str | None
    ) -> pl.DataFrame:
        """Keep the Embeddings of one Encoder and Tiling, named by id, name or prefix."""
        import polars as pl

        if frame.is_empty():
            raise ConfigError(
                "no slide has embeddings and fits. Try the condition with: trephine sql 'from bags'"
            )
        for column, wanted in (("encoder_id", encoder_id), ("tiling_id", tiling_id)):
            found = dict.fromkeys(frame[column].unique().sort())
            if wanted is not None:
                named = {one: one for one in found}
                if column == "encoder_id" and wanted not in found:
                    named |= dict(self.ask("select encoder_id, name from encoders").iter_rows())
                own = {one: named[one] for one in found}
                chosen = one_of(wanted, own, f"of the embeddings of these slides, {column}")
                frame = frame.filter(pl.col(column) == chosen)
            elif len(found) > 1:
                raise ConfigError(
                    f"these slides have {len(found)} values of {column}: {', '.join(found)}. "
                    f"Choose one with --{column.removesuffix('_id')}."
                )
        return frame
