"""Reports that a program spoilt read as they were written, or tell that they cannot be read."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

import pytest
from builders.command_line import run
from hypothesis import given
from hypothesis import strategies as st

from featurestore.types import Reading
from ingest.labels.prompt import Answer, read_answer
from ingest.labels.reports import read_reports
from ingest.labels.rules import parse, understand

FRAMES = [
    "CORE BIOPSY: The marrow is {v}% cellular – adequate for this age.",
    "Trephine: normocellular marrow (“cellularity” {v}%), fat ≥ 20 µm.",
    "BONE MARROW, CORE:\n• Cellularity: {v} %\n• Fibrosis: none\n",
    "Core biopsy: no fibrosis, length 12 mm ± 1.",
    "Knochenmarkstanze: Die Zellularität beträgt {v} %, Größe 14 mm.",
    "Beckenkammstanze:\nZellularität\u00a0: {v}\u00a0% (altersgemäß)",
    "Biopsie médullaire\u00a0: richesse cellulaire estimée à {v} %.",
    "BIOPSIE OSTÉO-MÉDULLAIRE : CELLULARITÉ ÉVALUÉE À {v} %.",
    "<html><p>Core biopsy: cellularity {v}%, naïve élan</p></html>",
]
REPORTS = st.builds(str.format, st.sampled_from(FRAMES), v=st.integers(0, 20).map(lambda n: 5 * n))
CONTROLS = set(map(chr, range(32))) - set("\t\n\v\f\r") | {"\x7f"}
UNSEEN = "\u200b\u200c\u2060\ufeff\u00ad\u202a\0\x02"


def said(reading: Reading) -> tuple[object, ...]:
    return reading.value, reading.low, reading.high, reading.outcome


def reads_the_same(text: str, spoilt: str) -> None:
    own, other = parse(text), parse(spoilt)
    assert said(other) == said(own)
    assert other.evidence == own.evidence
    assert (other.evidence or "") in understand(spoilt).text


@given(text=REPORTS)
def test_every_report_on_the_cellularity_is_read(text: str) -> None:
    assert (parse(text).value is not None) is ("ellul" in text.lower())


@given(text=REPORTS, places=st.lists(st.integers(0, 999), max_size=9), chars=st.data())
def test_what_nobody_sees_inside_of_words_changes_nothing(
    text: str, places: Sequence[int], chars: st.DataObject
) -> None:
    spoilt = text
    for at in places:
        at %= len(spoilt)
        if spoilt[at - 1 : at].isalpha() and spoilt[at].isalpha() and "<" not in text:
            spoilt = spoilt[:at] + chars.draw(st.sampled_from(UNSEEN)) + spoilt[at:]
    if parse(text).value is None and not CONTROLS.isdisjoint(spoilt):
        assert parse(spoilt).outcome == "not read"
    else:
        reads_the_same(text, spoilt)


@given(text=REPORTS, encoding=st.sampled_from(["cp1252", "latin-1"]), times=st.integers(1, 3))
def test_a_report_coded_several_times_reads_the_same(text: str, encoding: str, times: int) -> None:
    spoilt = text
    for _ in range(times):
        bytes_of = (bytes([one]) for one in spoilt.encode())
        spoilt = "".join(
            one.decode(encoding, "ignore") or one.decode("latin-1") for one in bytes_of
        )
    reads_the_same(text, spoilt)


@given(text=REPORTS)
def test_letters_in_parts_and_references_to_unseen_ones_change_nothing(text: str) -> None:
    reads_the_same(text, normalize("NFD", text))
    if "<html>" in text:
        reads_the_same(text, text.replace("cellu", "cellu&shy;").replace("biop", "biop&#8203;"))
    typed = text.replace("–", "\x96").replace("“", "\x93").replace("”", "\x94")
    reads_the_same(text, typed)


@given(
    data=st.binary(max_size=60)
    | REPORTS.map(str.encode)
    | st.tuples(REPORTS, st.sampled_from(["utf-16", "utf-16-be", "cp500", "utf-32-le"])).map(
        lambda pair: pair[0].encode(pair[1], "ignore")
    )
    | st.lists(st.sampled_from([b"no ", b"\0", b"marrow ", b"\x1d", b"\xe4", b"40% "])).map(
        b"".join
    )
)
def test_bytes_that_are_no_text_never_state_none(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("t")
    (folder / "A.txt").write_bytes(data)
    (folder / "B.txt").write_text("Core biopsy: cellularity 40%.")
    found = read_reports(folder)
    *first, other = found.reports
    assert parse(other.text).value == 40
    assert len(first) + len(found.failures) + found.n_empty == 1
    for report in first:
        if parse(report.text).outcome == "states none":
            assert CONTROLS.isdisjoint(report.text)
            read = {data.decode(it, "ignore") for it in ("utf-8", "utf-16-le", "utf-16-be")}
            same = {" ".join(text.split()) for text in read}  # with any line ends
            assert " ".join(report.text.split()) in same or not data.isascii()


@given(data=st.binary(min_size=90), width=st.sampled_from([76, 9_999]))
def test_a_file_written_out_in_letters_does_not_state_none(data: bytes, width: int) -> None:
    coded = base64.b64encode(data + bytes(range(80))).decode()
    lines = "\n".join(coded[at : at + width] for at in range(0, len(coded), width))
    assert parse(f"Attachment: {lines}").outcome == "not read"


@pytest.mark.parametrize("lost", ["\ufffd", "\0", "\x01\x02"])
def test_a_report_that_lost_letters_does_not_state_none_whoever_reads_it(lost: str) -> None:
    text = f"Core biopsy: cellul{lost} rity 40."
    for reading in (parse(text), read_answer(Answer(claims=[]), understand(text), "m")):
        assert reading.outcome == "not read"
        assert "no text" in reading.reason
    text = text.replace(lost, "a").replace("a rity", "arity")
    assert read_answer(Answer(claims=[]), understand(text), "m").outcome == "states none"


def test_files_that_are_no_text_fail_alone_and_the_others_are_labelled(tmp_path: Path) -> None:
    (folder := tmp_path / "reports").mkdir()
    for n, data in enumerate(
        [b"%PDF-1.4 (cellularity 40%) Tj", b"PK\3\4\0", b"\x89PNG\r\n", b"\0" * 9]
    ):
        (folder / f"wrong{n}.txt").write_bytes(data)
    (folder / "right.txt").write_text("Core biopsy: cellularity 40%.")
    run("init", "--store", tmp_path / "s")
    found = run("label", folder, "--parser", "rules", "--store", tmp_path / "s", code=3)
    assert "failed                     4" in found.output
    for n, what in enumerate(["a PDF", "a .docx or a ZIP", "a picture", "9 control characters"]):
        (line,) = (one for one in found.output.splitlines() if f"wrong{n}.txt " in one)
        assert f" {what}" in line
        assert line.endswith("Save it as UTF-8 text.")
    told = run(
        "sql", "select case_id, outcome from labels", "--format", "csv", "--store", tmp_path / "s"
    )
    assert told.stdout.splitlines()[1:] == ["right,stated"]
