"""Make plain text of a Report in HL7, CDA or other XML, JSON, FHIR, HTML or RTF."""

from __future__ import annotations

import csv
import html.parser
import json
import re
from collections.abc import Iterable
from typing import Any

from ingest.labels.abreast import unfolded
from ingest.labels.captions import captioned
from ingest.labels.headings import is_historic, is_measured, material_of, names_norm
from ingest.labels.languages import HIGH_ENDS, LOW_ENDS, words_of
from ingest.labels.lines import plain_lines
from ingest.labels.marks import TAG, by_marks

_BESIDE = re.compile(r"ref|norm|range|flag|id$|code|date")  # what stands beside a value
# "core_cellularity_pct,75", "PT-88213;BIOPSY_CELLULARITY;85;%", "~BX_CELL_PCT~|75"
_FIELD = re.compile(
    r"(?:[^;,|\t:]{1,30}[;,|\t])?[ ~\"']*(?P<name>[^\W\d_][\w.]*+)[~\"']*"
    r"(?P<mark>[ ]?[:=;,|\t]|[ ]+(?=[<>~]?\d))(?!\s*$)[ ]?(?P<value>.*)"
)
_SECOND = re.compile(r"[<>~]? ?[\d.]+ ?%?[;,|\t] ?[<>~]?\d")  # "core_cellularity_pct;75;20"
_JOINED = re.compile(r"[^\W_][_.][^\W\d_]|[a-z][A-Z][a-z]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NAMED = re.compile(r"^(?:[A-Za-z]*[a-z][A-Z][a-z]|[A-Z]+[.][A-Z]+\b)", re.MULTILINE)
# results that stand no more, of HL7 (deleted, wrong, without result, pending, unverified) and FHIR
_VOID, _VOID_OF_FHIR = ("D", "W", "X", "I", "R"), ("entered-in-error", "cancelled")
# "  - value: 40", in a record whose parts are set in
_NESTED = re.compile(r"(?P<lead> *(?:- )?)(?P<key>[a-z][a-z\d_]*):(?: (?P<value>.*))?")
_BARE = ("text", "value", "valueString", "valueInteger", "valueDecimal", "div")  # say no more
_VALUES = ("valueQuantity", "valueRange", "valueRatio")
_OF_QUANTITY = {*LOW_ENDS, *HIGH_ENDS, "comparator", "operator", "value", "unit"}
_BLOCKS = {"p", "div", "br", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "table"}
_SILENT = {"script", "style", "referencerange", "ref"}
_BLOCKS |= {"dt", "dd", "section", "body", "title", "pre"}


def as_text(text: str) -> str:
    """The words of a Report as plain text; plain text comes back as it is."""
    text = by_marks(plain_lines(text))
    lead = text[:400].lstrip()
    if rtf := re.search(r"\{ ?\\rtf", text[:400]):  # "MAIN LAB   {\\rtf1 ...", below a line
        return text[: rtf.start()] + "\n" + _of_rtf(text[rtf.start() :])
    if lead.startswith(("{", "[")) and (plain := _of_json(text)) is not None:
        return plain
    if re.match(r"\x0b?(?:MSH|FHS|BHS|PID|OBR|OBX)\|", lead):
        return _of_hl7(text)
    if (plain := _of_nested(text)) is not None:
        return plain
    if lead.startswith("<") and not TAG.search(text[:4000]):
        return _of_tags(text, is_xml=True)
    if TAG.search(text):
        return _of_tags(text, is_xml=False)
    if "|" not in text and 3 * text.count("~") > 4 * text.count("\n") > 8:
        text = text.replace("~", "|")  # "N14-66021~Trephine cellularity~65%"
    if text.count("_") > 1 or text.count("=") > 1 or _NAMED.search(text):
        return _of_fields(_of_record(text))
    return captioned(unfolded(text))


def _of_fields(text: str) -> str:
    """An export by the names of fields, "core_cellularity_pct;75": a paragraph for each."""
    lines = [line for line in text.splitlines() if line.strip()]
    fields = [_FIELD.match(line) for line in lines]
    fields = [field if field and _is_named(field) else None for field in fields]
    if 2 * sum(field is not None for field in fields) < len(lines):
        return text
    if any(field and _SECOND.match(field["value"]) for field in fields):
        return text  # a table with columns of values
    return "\n\n".join(
        _field(field) if field else line for field, line in zip(fields, lines, strict=True)
    )


def _of_record(text: str) -> str:
    """A line of names of fields and one of their values, with quotes: a field for each."""
    names, _, rest = text.partition("\n")
    values, _, rest = rest.partition("\n")
    mark = max(";,\t|", key=names.count)
    if '"' not in values or "cellul" not in names.lower() or names.count(mark) < 3:
        return text
    try:
        fields = [next(csv.reader([line], delimiter=mark), []) for line in (names, values)]
    except csv.Error:
        return text
    if len(fields[0]) != len(fields[1]):
        return text
    said = "\n\n".join(f"{_spoken(name)}: {value}" for name, value in zip(*fields, strict=True))
    return f"{said}\n\n{rest}"


def _is_named(field: re.Match[str]) -> bool:
    """Whether it has the name of a field and a value, not the name of another field."""
    value = field["value"]
    other = _JOINED.search(value) is not None and not any(map(str.isdigit, value))
    return _JOINED.search(field["name"]) is not None and not other


def _field(field: re.Match[str]) -> str:
    name = _spoken(field["name"]).lower()
    if is_measured(name):
        name = re.sub(r"\bcell\b", "cellularity", name)  # "bm_cell_pct"
    mark = field["mark"].strip() or "\t"
    try:
        cells = next(csv.reader([field["value"]], delimiter=mark), []) if mark in ",;|\t" else []
    except csv.Error:  # a cell of over 100,000 characters
        cells = []
    unit = "".join(cells[1:2]).strip()
    value = cells[0] if cells else field["value"]
    return f"{name}: {value} {unit if unit in ('%', 'percent', 'pct') else ''}".rstrip()


def _of_rtf(text: str) -> str:
    from striprtf.striprtf import rtf_to_text

    try:
        return str(rtf_to_text(text.replace("\\%", "%"), errors="ignore"))
    except (ValueError, IndexError, KeyError, LookupError):
        return text


def _of_json(text: str) -> str | None:
    try:
        value, lines = json.loads(text), list[str]()
        _json_lines(value, "", lines, _specimens(value))
    except (ValueError, RecursionError):
        return None
    return "\n".join(lines)


def _of_nested(text: str) -> str | None:
    """A record in YAML: fields below fields, in small letters and without a text between."""
    fields = [_NESTED.fullmatch(line.rstrip()) for line in text.splitlines() if line.strip()]
    if len(fields) < 3 or not all(fields) or not any(it and it["lead"] for it in fields):
        return None
    whole: dict[str, Any] = {}
    open_ = [(-1, whole)]  # the records that a field may stand in, with the indents of their keys
    for field in filter(None, fields):
        indent, key = len(field["lead"]), field["key"]
        value = (field["value"] or "").strip(" \"'")
        while open_[-1][0] >= indent:
            open_.pop()
        into = open_[-1][1]
        if key in into or "-" in field["lead"]:
            return None
        into[key] = None if value in ("null", "~") else value or {}
        if not value:
            open_.append((indent, into[key]))
    lines = list[str]()
    _json_lines(whole, "", lines, {})
    return "\n".join(lines)


def _specimens(value: Any) -> dict[str, str]:
    """What each Specimen of a FHIR resource is, by its id."""
    if isinstance(value, list):
        return {key: said for one in value for key, said in _specimens(one).items()}
    if not isinstance(value, dict):
        return {}
    found = _specimens([one for one in value.values() if isinstance(one, (dict, list))])
    if value.get("resourceType") == "Specimen":
        found[str(value.get("id"))] = _display(value.get("type"))
    return found


def _specimen(value: dict[str, Any], known: dict[str, str]) -> str:
    """In brackets, the specimen that a FHIR resource refers to."""
    said = value.get("specimen")
    if not isinstance(said, dict):
        return ""
    at = str(said.get("reference") or "").rpartition("/")[2].removeprefix("#")
    name = str(said.get("display") or known.get(at) or at)
    return f" ({name})" if name else ""


def _json_lines(value: Any, name: str, lines: list[str], known: dict[str, str]) -> None:
    """One paragraph a text; an Observation is "name: value unit"."""
    if isinstance(value, dict) and value.get("status") in _VOID_OF_FHIR:
        return
    of = _spoken(name).lower()
    aside = f"{of} " if _is_aside(of) else ""  # what the path says of all that is below it
    if isinstance(value, dict):
        named = _display(value.get("code")) if "code" in value else ""
        quantity = next((key for key in _VALUES if isinstance(value.get(key), dict)), "")
        if quantity:
            named = (named or str(value.get("name") or "") or name) + _specimen(value, known)
            named = named if of in named.lower() else aside + named
            lines += [f"{named}: {_quantity(value[quantity])}", ""]
            told = (quantity, "code", "name")
            value = {key: one for key, one in value.items() if key not in told}
        elif named and any(key.startswith("value") for key in value):
            name = named
        flat = {key: str(one) for key, one in value.items() if isinstance(one, (str, int, float))}
        named_by = next((key for key, one in flat.items() if is_measured(one.lower())), "")
        if named_by and len(flat) == len(value):  # {"site": "core", "analyte": "cellularity", ...}
            keys = [key for key in flat if key == named_by or not _BESIDE.search(key.lower())]
            figures = [key for key in keys if re.match(r"[<>~]* ?\d|%", flat[key])]
            words = [key for key in keys if key not in figures]
            words.sort(key=lambda key: material_of(flat[key].lower()) in ("unknown", "general"))
            cut = words.index(named_by) + 1 if named_by in words else 0
            parts = (words[:cut], figures + words[cut:])
            both = [" ".join(flat[key] for key in part) for part in parts]
            lines += [aside + ": ".join(both), ""]
            return
        if "cellul" in name.lower() and (ends := _quantity(value)):
            lines += [f"{_spoken(name)}: {ends}", ""]
            value = {key: one for key, one in value.items() if key not in _OF_QUANTITY}
        for key, one in value.items():
            label = name if key in _BARE and name else key
            inner = isinstance(one, dict) and not _BESIDE.search(key.lower())
            if label == key and (aside or _tells(of) or (inner and is_measured(of))):
                label = f"{name} {key}"  # "core_biopsy": {"cellularity": ...}
            _json_lines(one, str(value.get("title") or label), lines, known)
    elif isinstance(value, list):
        for one in value:
            _json_lines(one, name, lines, known)
    elif value is not None:
        said = as_text(str(value)) if str(value).lstrip()[:1] in "<" else str(value)
        lines += [f"{_spoken(name)}: {said}" if name else said, ""]


def _tells(name: str) -> bool:
    """Whether a name tells of what, or of when, the fields below it are."""
    return material_of(name) not in ("unknown", "general") or is_historic(name)


def _is_aside(name: str) -> bool:
    """Whether a name says that what is below it is a norm or of before: "reference", "prior"."""
    return is_historic(name) or (names_norm(name) and not name.startswith("patient"))


def _quantity(value: dict[str, Any]) -> str:
    """What a Quantity, Range or Ratio of FHIR says, or a record of two ends."""
    ends = [
        next((value[key] for key in keys if key in value), None) for keys in (LOW_ENDS, HIGH_ENDS)
    ]
    if None not in ends:
        low, high = (one.get("value") if isinstance(one, dict) else one for one in ends)
        unit = value.get("unit") or (ends[1].get("unit") if isinstance(ends[1], dict) else "")
        return f"{low} - {high} {unit or ''}".rstrip()
    parts = [value.get("numerator"), value.get("denominator")]
    if all(isinstance(part, dict) for part in parts):
        return "/".join(str(part.get("value")) for part in parts if part)
    said = [str(value.get(key) or "") for key in ("comparator", "operator", "value", "unit")]
    return " ".join(filter(None, said))


def _display(code: Any) -> str:
    if not isinstance(code, dict):
        return str(code or "")
    codings = code.get("coding") or [{}]
    return str(code.get("text") or code.get("display") or (codings[0] or {}).get("display") or "")


def _spoken(name: str) -> str:
    """Of "coreBiopsy" or "core_biopsy" the words."""
    return _CAMEL.sub(" ", name).replace("_", " ").replace(".", " ").strip()


def _of_hl7(text: str) -> str:
    """The results (OBX) and notes (NTE) of an HL7 version 2 message."""
    import hl7

    if "OBX|" in text and not text.lstrip().startswith("MSH"):
        text = "MSH|^~\\&|||||||ORU^R01|1|P|2.5\r" + text.lstrip()
    try:
        message = hl7.parse(text.strip().replace("\n", "\r"))
    except (hl7.HL7Exception, ValueError, IndexError, KeyError, AssertionError):
        return text
    lines: list[str] = []
    last = ""
    for segment in _standing(message):
        kind = str(segment[0])
        if kind == "NTE" and len(segment) > 3:
            lines.append(_unescaped(str(segment[3])))
        if kind in ("OBR", "SPM") and len(segment) > 4:
            of = _component(str(segment[4]))
            lines.append(f"\n{of if _tells(of.lower()) else 'Report'}:\n")
        void = len(segment) > 11 and str(segment[11]).strip() in _VOID
        if kind != "OBX" or len(segment) < 6 or void:
            continue
        name, part = _component(str(segment[3])), str(segment[4])
        if _tells(part.lower()) or names_norm(part.lower()):
            name = f"{name} ({part})"  # "OBX|2|NM|101^CELLULARITY^L|CORE|25|%"
        unit = str(segment[6]).split("^")[0] if len(segment) > 6 else ""
        said = _unescaped(str(segment[5]).replace("~", "\n").replace("^", " "))
        if str(segment[2]) in ("NM", "SN", "ST") and unit and unit not in said:
            said = f"{said.strip()} {unit}"
        goes_on = name == last and str(segment[2]) in ("TX", "FT", "ST")
        lines.append(said if goes_on else f"\n{name}: {said}")
        last = name
    return "\n".join(lines)


def _standing(message: Iterable[Any]) -> list[Any]:
    """The segments, without numbers that a corrected one of the same code and order follows."""
    order, corrected, numbered = 0, dict[tuple[Any, ...], int](), []
    for n, segment in enumerate(message):
        order += str(segment[0]) in ("OBR", "SPM")
        number = str(segment[0]) == "OBX" and len(segment) > 5 and str(segment[2]) in ("NM", "SN")
        of = (order, str(segment[3]), str(segment[4])) if number else ()
        if number and len(segment) > 11 and str(segment[11]).strip() == "C":
            corrected[of] = n
        numbered.append((n, of, segment))
    return [segment for n, of, segment in numbered if n >= corrected.get(of, 0)]


def _component(coded: str) -> str:
    """Of "CELL^Cellularity^L" the words, else the code."""
    parts = coded.split("^")
    if len(parts) > 1 and is_measured(parts[0].lower()) and not is_measured(parts[1].lower()):
        return f"{parts[1]} {parts[0]}"  # "Cellularity^Bone marrow core"
    return next((part for part in parts[1:2] + parts[:1] if part.strip()), "")


def _unescaped(text: str) -> str:
    text = re.sub(r"\\\.(?:br|sp|in|ti)[^\\]*\\", "\n", text)
    for code, char in zip("FSTREHN", ("|", "^", "&", "~", "\\", "", ""), strict=True):
        text = text.replace(f"\\{code}\\", char)
    return text


# what tags stand for: a line, a cell, no break; any other is a paragraph in XML, nothing in HTML
_BREAKS = dict.fromkeys(("tr", "item", "paragraph", "list", "br", "li"), "\n")
_BREAKS |= {"td": " | ", "th": " | ", "dd": ": "}
_INLINE = words_of("low high content b i sup sub span value unit valuequantity v val")
_NAMES = ("title", "displayname", "name", "label", "key")  # attributes that name a tag's content


# "<A selected='false'>10 to 30</A>"
_CHOSEN = re.compile(
    r"(?<!\s)\s*<(?P<tag>\w+)[^<>]*\b(?:selected|checked|chosen)=[\"']"
    r"(?:(?P<yes>true|yes|1)|false|no|0)"
    r"[\"'][^<>]*>(?P<said>[^<]*)</(?P=tag)>",
    re.I,
)


# "<low>50</low><high>70</high>"
_TWO_ENDS = re.compile(
    rf"(?<!\s)\s*<(?P<a>{'|'.join(LOW_ENDS)})>\s*(?P<low>[\d.]+)[\s%]*</(?P=a)>\s*"
    rf"<(?P<b>{'|'.join(HIGH_ENDS)})>\s*(?P<high>[\d.]+\s*%?)\s*</(?P=b)>\s*"
)


_TAG = re.compile(r"</?(?P<name>\w+[A-Z]\w*)")
_OF_SAMPLE = re.compile("ellul|lot|spirat|iops|ore")


def _parted(tag: re.Match[str]) -> str:
    """A tag as words where they name a sample, a norm or a time: "<clotSection>"."""
    name = tag["name"]
    told = _OF_SAMPLE.search(name) or _is_aside(_spoken(name).lower())
    return _CAMEL.sub("_", tag[0]) if told and name.lower() not in _SILENT else tag[0]


class _Tags(html.parser.HTMLParser):
    """Words of HTML, CDA and other XML: titles are headings, cells stand between bars.

    Comments, scripts, declarations and reference ranges fall.
    """

    def __init__(self, *, is_xml: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.is_xml = is_xml
        self.pieces: list[str] = []
        self.silent = 0
        self.cells = 0
        self.units: list[str] = []  # of the tags that are open: "<value unit='%'>40</value>"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        tag = tag.rpartition(":")[2]
        self.silent += tag in _SILENT
        self.cells += tag in ("td", "th")
        if tag in _BREAKS or tag in _BLOCKS or (self.is_xml and tag not in _INLINE):
            self.pieces.append(_BREAKS.get(tag, "\n\n"))
        if self.is_xml and not self.silent:
            said = {key.rpartition(":")[2]: value or "" for key, value in attrs}
            self.units.append(said.get("unit", ""))
            self._named(tag, said)

    def _named(self, tag: str, said: dict[str, str]) -> None:
        """What the attributes of an XML tag tell: of what it is, and its value."""
        for heading in (tag, said.get("type", "").lower()):
            if heading and (_tells(heading) or _is_aside(heading)):
                self.pieces.append(f"\n\n{heading}:\n")
        ends = [said[key] for key in LOW_ENDS + HIGH_ENDS if key in said]
        value = said.get("value", " - ".join(ends) if len(ends) == 2 else "")
        plain = [one for key, one in said.items() if key not in ("value", "unit", "system")]
        own = " ".join(plain) if any("cellul" in one.lower() for one in plain) else ""
        for key in (key for key in said if "cellul" in key):  # "<trephine cellularity='40'>"
            self.pieces.append(f"{key}: {said[key]} {said.get('unit', '')}\n")
        named = tag if "cellul" in tag else next((said[key] for key in _NAMES if key in said), own)
        if tag == "code":
            self.pieces.append(said.get("displayname", ""))
        elif named:
            told = (material_of(one.lower()) for one in plain if one not in named)
            of = next((one for one in told if one not in ("unknown", "general")), "")
            of = of or "norm" * any(names_norm(one.lower()) for one in plain)
            self.pieces.append(f"{named} ({of}): " if of else f"{named}: ")
        lead = {"value": ": ", "low": ": ", "high": " - "}.get(tag, "")
        self.pieces.append(f"{lead}{value}" if value else "")

    def handle_endtag(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        self.silent -= tag in _SILENT and self.silent > 0
        self.cells -= tag in ("td", "th") and self.cells > 0
        unit = self.units.pop() if self.units and not self.silent else ""
        if self.is_xml:
            ends = {"title": ":\n", "caption": ":\n", "name": ": "}
            ends |= {"k": ": ", "key": ": ", "label": ": "}
            ends |= {tag: "\n\nreport:\n"} if _is_aside(tag) else {}
            self.pieces.append(f" {unit}" if unit else ends.get(tag, ""))
        elif tag in ("p", "table", "h1", "h2", "h3", "h4"):
            self.pieces.append("\n\n" if tag != "p" else "\n")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.pieces.append(re.sub(r"\s+", " ", data) if self.is_xml and self.cells else data)

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA["):
            self.handle_data(data[6:])


def _of_tags(text: str, *, is_xml: bool) -> str:
    parser = _Tags(is_xml=is_xml)
    if is_xml:  # "<clotSection>"
        text = _TAG.sub(_parted, text)
        text = _TWO_ENDS.sub(r"\g<low> - \g<high>", text)
        text = _CHOSEN.sub(lambda one: f" {one['said']}" if one["yes"] else "", text)
    text = re.sub(
        r"(?<!\s)\s+(?=<dd\b)|(?<=</span>)(?=<span)", lambda gap: " "[bool(gap[0]) :], text
    )
    try:
        parser.feed(text)
        parser.close()
    except AssertionError:  # "<![" without an end
        return text
    plain = re.sub(r"\n{3,}", "\n\n", "".join(parser.pieces))
    return re.sub(r"(?<=\n)(?<=[^\n]\n)\n(?= \| )", "", plain)  # the rows of a table stay together
