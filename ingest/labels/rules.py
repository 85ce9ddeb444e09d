"""Read the cellularity of the present core biopsy from a Report by rules.

Top to bottom: `_fold` makes every layout plain text of the same length, so a place in it is a place
in the report; `_statements` cuts it into sentences that know their section; `_figures` finds
numbers, ranges and bounds; `_links` ties a figure to a word on cellularity; `_status` sets aside
what is expected, earlier, another laboratory's or of other material; `_resolve` lets corrections,
overall figures and several cores decide. What stays unclear is null.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

from featurestore.types import Qualifier, Reading

# ------------------------------------------------------------------ words


def _any(*phrases: str) -> str:
    """Join phrases, separated by `; `, to one pattern of whole words."""
    return r"(?<!\w)(?:" + "|".join("; ".join(phrases).split("; ")) + r")(?!\w)"


def _split(words: str) -> list[str]:
    return words.split()


_ONES = _split("one two three four five six seven eight nine")
_TEENS = _split("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
_TENS = _split("twenty thirty forty fifty sixty seventy eighty ninety")
_WORDS = {"zero": 0, "nil": 0, "hundred": 100, "fourty": 40}
_WORDS |= {word: i for i, word in enumerate([*_ONES, *_TEENS], 1)}
_WORDS |= {word: 10 * i for i, word in enumerate(_TENS, 2)}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "tenth": 10}
_SIGNS = {"½": 50.0, "¼": 25.0, "¾": 75.0, "⅓": 100 / 3, "⅔": 200 / 3}

_CELL = r"[cz]el{1,2}u-? ?(?:l{0,2}-? ?a?-? ?r|al)"  # cellular, celluar, cellu- lar, celular
_HEMA = r"(?:ha?em(?:at)?o-?poi?e|blood-forming)"
_SPACE = (
    r"(?:marrow|medulla(?:ry)?|inter-?trabecular|spaces?|area|cavity|cavities|cores?|sections?"
    r"|biopsy|trephine|specimen|volume)"
)
_PCT = r"(?:%|per ?cents?\b|percentage\b|pct\b|[°º]/ ?[o0]|\bo/o\b)"
_ORGAN = r"(?:lymph nodes?|node|liver|spleen|skin|lung|breast|soft tissue|kidney|tonsil)"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_TAKEN = "(?:biopsy|marrow|trephine|core|study|examination) (?:of|from|in|dated)"
_CHANGE = (
    r"\b(?:decreas|increas|fall|fell|drop|declin|reduc|chang|revis|amend|correct|improv|recover|ris"
    r"|rose|went|gone|down|up|modif)[a-z]*(?: [a-z]+){0,3}"
)
_NOT_CLOSED = r"(?![^()%]{0,60}\))"  # "(replaces the report of May)" says nothing of what follows
_NEARLY = r"(?: (?:about|around|approximately))?[ :]?$"

# A mark is a word that sets a figure aside, or claims it back: the nearest one before it decides.
_MARKS = {
    "prior": _any(
        "prior; previous(?:ly)?; earlier; former(?:ly)?; preceding; baseline; pre-?treatment",
        "last (?:biopsy|marrow|trephine|visit|sample|specimen|report|time|year|month|core"
        "|examination); original(?:ly)?",
        "compar(?:ed|ison); versus; vs; initial(?:ly)?; in contrast to; history; historical(?:ly)?",
        "(?:down|up|decreased|increased|reduced|fallen|risen|dropped|changed|recovered) from",
        "(?:declined|improved|fell|rose|different|differs) from; instead of; rather than",
        "for (?=['\"])",
        "(?:issued|reported|given|stated|recorded) (?:in error|erroneously|incorrectly|wrongly)",
        "not(?= [0-9<>~]); erroneously; incorrectly; mistakenly; wrongly; at diagnosis",
        "(?:first|diagnostic|old) (?:biopsy|marrow|trephine); used to; had been",
        f"replac(?:es|ing){_NOT_CLOSED}",
        "(?:stated|given|issued|printed) (?:cellularity|figure|value|percentage|estimate)",
        f"supersed(?:es|ing){_NOT_CLOSED}; (?:months?|weeks?|years?) ago",
        f"in (?:{_MONTH} )?(?:19|20)[0-9]{{2}}; (?<![/.-])(?:19|20)[0-9]{{2}}(?=:? [0-9])",
        "(?:copied|carried|copy)[- ]?(?:forward|over|from)",
        f"{_TAKEN} [a-z0-9./-]{{0,12}} ?(?:[a-z]+ )?(?:19|20)[0-9]{{2}}; "
        f"{_TAKEN} (?:[0-9]+ )?{_MONTH}",
        "before (?:treatment|therapy|transplant|induction|chemo)[a-z]*",
    ),
    "outside": _any(
        "outside (?:report|hospital|lab|institution|read|pathol|review|opinion|facility)[a-z]*",
        "(?:referring|referral|submitting|sending|external|contributing) [a-z]+",
        "(?:another|other|different) (?:lab|hosp|institut|pathol|cent)[a-z]*; draft; trainee",
        "(?:at|from|read|reported|reviewed|performed|given|issued) elsewhere",
        "resident; fellow; preliminary; provisional; quoted; submitted (?:report|diagnosis|as)",
        "you(?: have| had)? (?:report|call|g[ai]ve|estimat|read|describ|diagnos)[a-z]*",
        "sister; brother; twin; outside; local (?:lab|hosp|pathol|report)[a-z]*",
    ),
    "expected": _any(
        "expect(?:s|ed|ation|able|ancy)?; reference; norm; predicted; anticipated; typical(?:ly)?",
        "age-? ?(?:matched|adjusted|related|appropriate|specific|corrected); usual(?:ly)?; ref",
        "normal(?:ly)?(?= ?(?:range|values?|limits?|interval|:|=|is|being|would|adult))",
        "normal(?:ly)?(?= ?[0-9<>]); normal (?:bone )?marrow(?= (?:is|has))",
        "normal (?:bone |marrow )*cellularity (?:at|is|in|of a|would|should|rang[a-z]+)",
        "normal (?:bone |marrow )*cellularity for [a-z' ]*(?:is|being)",
        "normal for (?:[a-z'-]+ ){0,3}(?:is|being|would)",
        "normal for (?:[a-z'-]+ ){0,3}[a-z]+(?=:? [0-9])",
        "criteri(?:a|on); defin(?:ed|ition|es); requir(?:es|ed|ing); calls for; threshold",
        "cut-?off; rule of thumb; minus (?:the )?age; must be; guidelines?; for severe; target; "
        "relative to",
        "(?:if|whether|unless)(?= (?:[a-z]+ )*?cellul); (?<!per )(?<!our )protocol",
        "in healthy; healthy adult; adults; children; infants; newborns; (?:would|should) be"
        "(?! (?:read|corrected|amended|changed))",
    ),
    "aside": _any("sub-?cortical(?:ly)?; beneath the cortex; sub-?capsular; sub-?endosteal"),
    "current": _any(
        "now; current(?:ly)?; at present; today; our; we; in-?house; final; observed; "
        "actual(?:ly)?",
        "(?:present|this) (?:[a-z]+ )?(?:core|biopsy|trephine|marrow|sample|specimen|study"
        "|section)",
        "correct(?:ed)?; revised; amended; should (?:be )?(?:read|corrected|amended|changed); here",
        "(?:on|our|my|after) (?:our )?review; deep(?:er)?; measured; patient's; this (?:time|case)",
        "remains; please read",
        "(?:excluding|exclusive of|disregarding|apart from|away from) (?:the )?sub-?cortical",
        "(?:but|while|whereas|and|although) (?:the|this) (?:core|biopsy|trephine|marrow|rest)",
        "the rest; the remainder",
    ),
}
# The same behind a figure, within its clause.
_MARKS_AFTER = {
    "expected": r"(?<!as )(?<!than )\bexpected|\b(?:usual|typical|normal|customary) (?:in|for|at"
    r"|of)\b|\bwould be|\b(?:is|are|being|considered|as) (?:the )?"
    r"(?:normal|typical|usual|reference)|\b(?:is|was) (?:required|suspected|queried)"
    r"|\bnormal (?:range|for)|\bfor (?:an? )?"
    r"(?:healthy|[0-9])|\brequired\b|(?<!\w)(?<!\w )for (?:the |this )?(?:patient's )?age\b",
    "prior": rf"\b(?:previous|prior|earlier|before|initial|original|draft|preliminary"
    rf"|provisional|erroneous|in error|withdrawn|retracted)"
    rf"|\blast (?:time|year|month|biopsy)|\bat (?:diagnosis|baseline)|\bin (?:19|20)\d\d|\bin "
    rf"(?:the )?{_MONTH}\b|\b(?:month|week|year)s? ago|\b(?:was|is) (?:incorrect|wrong"
    rf"|too (?:high|low)|mistaken"
    r"|invalid|void)|\bdisregard|\bby (?:the )?(?:outside|referring)",
    "current": r"\bnow\b|\bat present|\btoday|\bcurrent|\bpresent",
}
_SPECIMENS = {
    "touch": r"\b(?:touch|imprint|squash|crush prep|dab|roll)[a-z]*(?: (?:prep|imprint|smear|slide)"
    r"[a-z]*)*(?: (?:of|from) (?:the )?(?:core|biopsy|trephine)(?: biopsy)?)?",
    "clot": r"\bclots?\b(?: sections?)?|\bparticle (?:section|prep|clot)[a-z]*|\bcell[- ]?blocks?",
    "aspirate": r"\baspirat(?!ion)[a-z]*|\baspiration (?:smear|material|cytol)[a-z]*|\bsmears?\b"
    r"|\bspicules?\b|\bparticles?\b|\bfilms?\b",
    "other": rf"\b{_ORGAN}\b(?:(?!marrow)[^.:;]){{0,30}}?\b(?:cores?|biops(?:y|ies)|bx|excision)\b"
    r"(?: biops(?:y|ies))?",
    "core": r"\bcores?\b|\btreph[a-z]*|\bbiops(?:y|ies)\b|\b(?:bx|bmbx|bmb)\b|\bpunch\b"
    r"|\bcylinders?\b|\bhistolog[a-z]*",
}


def _groups(table: dict[str, str]) -> str:
    return "|".join(f"(?P<{name}>{pattern})" for name, pattern in table.items())


def _one_edge(pattern: str, edge: str = r"(?<!\w)") -> str:
    """Test the edge of a word once a place, not once an alternative."""
    return f"{edge}(?:{re.sub('(?<=[|>])' + re.escape(edge), '', pattern)})"


PATTERNS: dict[str, str] = {
    # -- words on cellularity
    "key": rf"(?:\b(?:hyper|hypo|normo|pauci|a)-? ?)?{_CELL}[a-z]*|\bcell[- ](?:content|density"
    rf"|share|fraction|richness|proportion)|\b{_HEMA}[a-z]*(?: (?:cells?|tissues?|elements?|marrow"
    r"|component|islands?|areas?))?|\b(?:active|red) marrow\b|\bcell'?ty\b",
    "key_void": r"(?:tumou?r|neoplastic|malignant|blast|sample|smear|lymphoid|erythroid|stromal|csf"
    r"|fluid|leuka?emic|non|extra|intra|multi|uni|mono|para|sub|infra|inter)[- ]?$",
    "key_void_after": r",? (?:of|in) (?:the |this )?(?:tumou?r|block|nodule|infiltrate|lesion"
    r"|aggregate|metastas)|,? \(?(?:scale|score|grade|index)\b"
    r"| (?:areas|foci|zones|patches|islands|regions) (?:occupy|cover|mak|form|account|compris|tak)",
    "ratio": rf"\b(?:cell(?:s|ular|ularity)?|{_HEMA}[a-z]*)(?: cells| tissue)?(?: (?:to|vs\.?"
    rf"|versus"
    r"|and) | ?[:/-] ?)(?:the )?(?:fat|adipo)[a-z]*(?: cells?| tissue)?[^0-9]{0,40}"
    r"(?P<c1>\d{1,3}) ?%? ?(?::|/|to|-) ?(?P<f1>\d{1,3})"
    r"|\b(?:fat|adipo)[a-z]*(?: cells?| tissue)?(?: (?:to|vs\.?|versus|and) | ?[:/-] ?)(?:the )?"
    rf"(?:cell(?:s|ular|ularity)?|{_HEMA}[a-z]*)(?: cells| tissue)?[^0-9]{{0,40}}"
    r"(?P<f2>\d{1,3}) ?%? ?(?::|/|to|-) ?(?P<c2>\d{1,3})",
    # -- figures
    "number": r"(?<![\w.])(?<!point )(?:(?P<digits>\d{1,3}(?:(?:[.,]| point )\d{1,2})?)(?![\d.]*\d)"
    r"|(?P<sign>[½¼¾⅓⅔])"
    rf"|(?:(?P<count>{'|'.join(_ONES)}|an?)[ -])?(?P<part>{'|'.join(_PARTS)}|halve)s?\b"
    rf"|(?P<tens>{'|'.join(_TENS)}|fourty)(?:[ -](?P<ones>{'|'.join(_ONES)}))?\b"
    rf"|(?:(?:one|a) )?(?P<word>{'|'.join(['zero', 'nil', 'hundred', *_ONES, *_TEENS])})\b)"
    rf"(?P<pct> ?-?(?:{_PCT}|\({_PCT}\)))?",
    "hint": r"[\d½¼¾⅓⅔%]|per ?cent|half|quarter|third|fourth|fifth|tenth",  # a figure may be near
    "range": r" ?(?:-{1,2}|to|dash|hyphen|through|up to|bis|until|or|\.\.\.?) ?[~<>]? ?",
    "plus_minus": r" ?(?:±|\+ ?/ ?-|\+-|plus[ /](?:or )?minus|give or take) ?",
    "over": r"(?:[>≥]=?|=>|(?<!\bno )(?<!\bnot )\b(?:(?:greater|more|higher) than|over|above)"
    r"|\bbeyond|\bat least"
    r"|(?<!not )(?<!n't )\bexceed(?:s|ing|ed)?|\bin excess of|\bupwards? of|\bminimum(?: of)?"
    r"|\bmin\.?"
    r"|\bnot? (?:less|lower|fewer|under|below)(?: than)?)(?: or equal(?: to)?| ?or ?=)?" + _NEARLY,
    "under": r"(?:[<≤]=?|=<|(?<!\bno )(?<!\bnot )\b(?:(?:less|lower|fewer|smaller) than|under"
    r"|below)|\bup to|\bat (?:the )"
    r"?most|\bnot? (?:more|greater|higher|over|above|exceed(?:ing)?)(?: than)?|\bmaximum(?: of)?"
    r"|\bmax\.?)(?: or equal(?: to)?| ?or ?=)?" + _NEARLY,
    "about": r"(?:[~≈≅]|\b(?:about|around|roughly|circa|some|nearly|almost|near|approaching|ca\.?"
    r"|c\."
    r"|approx(?:\.|imate(?:ly|s)?|imating)?|close to|of the order of|something like"
    r"|somewhere (?:between|around)"
    r"|in the (?:order|region|range|vicinity|neighbou?rhood) of))"
    r"(?: (?:an?|to|the|between|from))?(?: remaining)?[ (:]{0,2}$",
    "over_after": r" ?(?:or|and) (?:more|greater|higher|above|over)\b|\+(?![+/])",
    "under_after": r" ?(?:or|and) (?:less|lower|fewer|below|under)\b| at (?:the )?most| maximum",
    "about_after": r",? give or take\b| or (?:so|thereabouts)\b|-ish\b",
    # -- what may stand between word and figure, and behind the figure
    "other": r"blast|plasma|lymph|\bcd ?\d|\bm ?[:/] ?e\b|myeloid|erythr[oi]|granul|megakary|fibro"
    r"|reticulin|iron\b|\bfat|adipo|neutro|eosin|monocyt|sidero|differential|ki-?67|kappa|lambda"
    r"|tumou?r|metasta|carcinoma|infiltrat|involve|necro|karyo|mutat|\bvaf|allel|\bfish\b|flow"
    r"|clon[ea]|chimer|viab|stain|positiv|\bscores?\b|\bgrad(?:e|ing)|dysplas|ha?ematocrit|\bhct|\brdw"
    r"|\blength"
    r"|\bmast|histiocyt|macroph|strom|o?edema|nuclei|\bcells? (?:are|is|were|in|of|show|with)"
    r"|cannot|n[o']t (?:be )?(?:assess|determin|estim|evalu|given|possible|report|stated)"
    r"|\bdisease\b|burden|\bmrd|confiden|probab",
    "other_noun": rf"\s*of (?:the |this |its |their |all )*+(?!(?:bone |whole |entire |available "
    rf"|evaluable |total |ha?ematopoietic |deep )*+{_SPACE})(?!left|right|present|cases)"
    r"| (?:points? )?(?:lower|higher|less|more|reduction|decrease|increase|drop|fall|loss)\b",
    "aside": r",? ?\(?\b(?:includ|inclus|exclud|exclus|count|disregard|ignor)[^,;()]{0,60}[,)]",
    "unsaid": r"\?$|\b(?:counts?|qualif(?:y|ies)|(?:is|are) (?:classified|regarded|termed)) as\b"
    r"|\d ?% (?:cortical |trabecular )?(?:bone|cartilage|muscle)\b(?! marrow)"  # shares of the core
    r"|\bdelete (?:as|where)|\bcircle\b|<[^/]{1,8}/[^/]{1,12}/ ?>",
    "clause_end": r"[,;:.()|\[\]]|\b(?:with|and|but|which|that|in|by|at|on|as|while|whereas|than"
    r"|compared|versus|vs|from|since|unchanged|similar|decreased|increased|down|up|lower|higher"
    r"|due|based|where)\b",
    "mark_end": r"[,;:.()|\[\]]|\b(?:with|and|but|which|while|whereas|than|compared|versus|vs|from"
    r"|since|unchanged|similar|decreased|increased|down|up|lower|higher)\b",
    "before_gap": r" ?[)\]]? ?(?:the )?(?:(?:bone|marrow|overall|total|mean|average"
    r"|estimated|global|core|biopsy|trephine) )*",
    "before_of": rf" ?of (?:the |this |its |all )?(?:[a-z-]+ ){{0,4}}?{_SPACE}(?: [a-z-]+){{0,2}}? "
    r"(?:(?:is|are|was|were|being|appears?|looks?) (?:still )?(?:(?:occupied|filled|made up"
    r"|composed|taken up|populated|represented)(?: by| of| with)? )?|(?:consists? of|contains?"
    r"|shows?|holds?|occupied by|filled (?:by|with)) )(?:the |normal |active |residual |mature )*",
    "sign_in_key": rf"[ ,|]*[(\[/]? ?(?:in |as |units? ?[:=] ?)?{_PCT} ?[)\]]?[ :=|]*"
    r"(?:[<>~≥≤]|ca\.?|approx\.?|about)? ?",
    "bare_value": r"(?: ?\([a-z]+\))? ?[:=] ?(?:value ?: ?)?(?:approx\.? |ca\.? |about "
    r"|[~<>≥≤] ?)?",
    "hema_gap": r"[ :=(]*(?:(?:[a-z]+ly|something|like|cells?|tissue|still|now|is|are|was|were"
    r"|about|approx\.|at|the|an?|remaining|some|occup[a-z]+|makes?|making|up|compris[a-z]+|account[a-z]*|for"
    r"|represent[a-z]*|constitut[a-z]+|fill[a-z]*|forms?|takes?|of|in|to|be|cover[a-z]*|between"
    r"|from|less|more|than|over|under|least)[ :=(,<>~]+)*",
    "space_after": rf"(?: cells?)? ?(?:of|in) (?:the |this |its |all )?(?:[a-z-]+ )?{_SPACE}",
    "chain": r"[ ,;/&():]*(?:(?:and|or|versus|vs\.?|but|in|on|at|for|of|the|core|cores|biopsy"
    r"|trephine|side|cellular|cellularity|respectively|only|about|left|right|[ab12lr]|first|second"
    r"|one|other|clot|section|aspirate|iliac|crest|posterior|to|is|then|third|fourth)"
    r"[ ,;:/&()=]+)*",
    "change": rf"{_CHANGE} from (?:about |~)?$",
    "change_by": rf"{_CHANGE} by (?:[a-z]+ly |about |around |some |~)?$",
    # -- whose figure
    "mark": _one_edge(_groups(_MARKS)) + r"|[,;:] (?:the|this) (?=(?:core|biopsy|trephine|marrow"
    r"|rest|remain[a-z]+)\b)",
    "mark_after": _groups(_MARKS_AFTER),
    "today": r"\b(?:now|currently|today|at present|presently)\b",
    "specimen": _one_edge(_groups(_SPECIMENS), r"\b"),
    "joined": r"(?: sections?| biops(?:y|ies))?[ ,]*(?:\band\b|\bplus\b|\bas well as\b|[&/,+])"
    r"(?: the| bone marrow| both)* ?",
    "behind": r"(?: ?cellular(?:ity)?)?,? ?(?:\(|\b(?:in|on|of|for|at|from|within)\b) ?"
    r"(?:the |this |a )?(?:[a-z]+ ){0,2}?",
    "whole": _any(
        "overall; mean; averag[a-z]*; agreed; consensus; combined; total; composite; globally",
        "global; aggregate; reported (?:as|figure|cellularity); altogether; as a whole; entire",
        "weighted; taken together; settled; final (?:figure|cellularity|estimate|value)",
    ),
    "whole_after": r"[^,;]{0,30}\b(?:overall|on average)",
    "side_after": r"[^,;.]{0,14}?[ (](left|right|[lr]|[ab12])\b",
    "no_share": r" ?(?:(?:to|-|or|and)$|[+/^*x:]|mm|cm|of\b|um\b|cells)",  # a number, of something
    "part": _any(
        "focal(?:ly)?; areas?; regions?; foci; focus; patch(?:es)?; zones?; locally; hot-?spots?",
        "parts?; (?:first|second) (?:reader|pathologist|observer); reader [12ab]",
    ),
    "side": r"\b(?:(?P<left>left|lt|lpic|l pic)|(?P<right>right|rt|rpic|r pic)|(?:core|biopsy"
    r"|trephine|specimen|part|cylinder|fragment|site|piece)s?[ #(]{1,2}(?P<name>[a-d]|[1-4]|one|two"
    r"|three|i{1,3})|(?P<nth>first|second|third|larger|smaller|longer|shorter|other) (?:core|biopsy"
    r"|trephine|cylinder|fragment|specimen|piece|one)|the (?P<rank>first|second|third"
    r"|fourth))\b|^\W*(?P<letter>[a-d])(?=[.):]\s)"
    r"|^\W*(?P<lr>[lr])(?=[ |:\t])",
    "no_core": r"\bno (?:trephine|core|biopsy|histolog)[^.;\n]{0,50}(?:obtain|receiv|submit|avail"
    r"|perform|taken|done)|\b(?:core|trephine|biopsy)(?: biopsy)?:? (?:was |were )?(?:not (?:obtain"
    r"|receiv|perform|submit|done|avail|taken|attempt)|none\b|unsuccess|fail)"
    r"|\baspirate[^.;:\n]{0,25} only\b",
    "reader": r"\bai ?[:,]|\b(?:llm|assistant|model|bot|parser|agent)s? ?:|\b(?:language model"
    r"|llm|chat ?bot|gpt|ai (?:system|model|tool|agent|reader"
    r"|assistant)s?|(?:note|attention|message|instruction|dear) (?:to |for )?(?:the )?(?:ai|model"
    r"|software|system|parser|program|computer|reader|algorithm|assistant|bot|machine)s?"
    r"|(?:abstract|extract)(?:ion|ors?|ing)|parsers?|prompt|instructions?|automated (?:reader"
    r"|system|tool|coding)|registry software)\b|\bsystem ?:|\b(?:ignore|forget|override) (?:all|any"
    r"|the|every|previous|prior|your)\b|\byou (?:must|should|are|will|shall)\b|\b(?:must|should"
    r"|shall|please) (?:always |only )?(?:answer|output|respond|return|reply|record|report|enter"
    r"|register|extract|write|store)\b|\b(?:answer|output|respond|reply|return) (?:with|only|that"
    r"|the|\{|\d|value|cellularity)",
    # -- corrections
    "fix": r"\b(?:should (?:now |instead |be )?read\b|should be (?:corrected|amended|changed)|(?:is"
    r"|was|has been|are) (?:hereby |now )?(?:revised|corrected|amended|changed) (?:to|from|as)"
    r"|(?:revis|correct|amend)ed (?:[a-z]+ ){0,2}(?:cellularity|figure|value|estimate|reading)"
    r"|correct (?:[a-z]+ ){0,2}(?:cellularity|figure|value) is|correction ?:|erratum)",
    "withdraw": r"(?:cannot|can not|could not|can't) (?:now )?be (?:reliably |further )?(?:assess"
    r"|determ|estim|eval|given|relied|stated|upheld)|\bnot (?:be )?(?:assess|evalu|reliabl|valid"
    r"|interpret|represent)|\bwithdraw|\bretract|\bdisregard|\brescind|\bvoid\b|\binvalid|\bdelet"
    r"|\bin error|\berroneous|\bshould not be (?:used|relied)|\bremoved\b|\bstruck|\bcancel",
    "figure_word": rf"{_CELL}|\b(?:figure|value|estimate|percentage|number|reading)\b",
    "continues": r"(?:it|this|now|currently|today|at present|overall|(?:the )?(?:left|right|mean"
    r"|average|estimate|figure|value|percentage|second|first|other)|estimated|on (?:average|today)"
    r"|previously)\b",
    # -- layout
    "section": r"\b(?:"
    + _groups(
        {
            "addendum": "addend|amend|correct|revis|supplement|errat|corrigend",
            "organ": _ORGAN + "\\b",
            "history": "history|clinical|indication|previous|prior|comparison|earlier|background"
            r"|copied|carried forward|^above",
            "touch": r"touch|imprint|squash|\broll",
            "clot": r"\bclot|particle|cell block",
            "aspirate": "aspira|smear|spicule|cytolog",
            "core": r"\bcores?\b|trephin|biops|\bbx\b|\bbmbx|\bbmb\b|histolog",
            "other": r"blood|film\b|flow|immuno|stain|cytogen|genetic|molecular|\bfish\b|gross"
            r"|macroscop|phenotyp|histochem|karyo|\bfbc|\bcbc",
            "general": "diagnos|summary|conclusion|comment|impression|interpretation|microscop"
            r"|marrow|specimen|report|finding|opinion|\bnote\b|synop|morpholog",
        }
    )
    + ")",
    "key_line": r"\s*(?:[-*•#>\[(|]|\(?(?:\d{1,2}|[a-h])[.)]\s|\w[\w /(),%#-]{0,45}[:=])",
    "abbreviated": r"(?:^|[ (])(?:approx|ca|c|dr|vs|no|est|incl|e\.g|i\.e|avg|max|min|resp|mr|mrs"
    r"|fig|st)\.$",
    "box": r"(?P<on>\[ ?[x✓✔*] ?\]|\( ?[x✓✔] ?\)|[☒☑✔✓])|(?P<off>\[ ?_? ?\]|\( ?_? ?\)|[☐□])",
}
_P = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_ASIDE_SECTIONS = frozenset({"aspirate", "clot", "touch", "history", "other"})
_FIXES = ("addend", "amend", "correct", "revis", "errat", "supplement")
_ORDER = re.compile(r"should (?:now |instead |be )?(?:read\b|corrected|amended|changed)")
_SIDES = {"l": "left", "r": "right"}
_BOXES = [re.compile(p) for p in (r"\[[ x_*✓✔\]]", r"\([ x_✓✔]?\)")]
_ITEM = re.compile(r"\(?(?:\d{1,2}|[A-Ha-h])[.)] ")
_STOP = re.compile(r"[.!?](?=\s)")
_LONGEST = 800  # characters of a sentence
# Places worth reading; each pattern starts with plain letters, which makes the search fast.
_NEAR = [
    re.compile(p)
    for p in (
        r"cel(?:l{0,2}u|l'?ty|l[-/: ][cdsfrptv]|ls?[ :/-]{1,2}(?:to |vs |and )?fat)",
        r"poi-?e",
        r" marrow(?<=[vre][ed] marrow)",
        r"-forming",
    )
]

# ------------------------------------------------------------------ layout

_PLAIN = str.maketrans(
    {**dict.fromkeys("‐‑‒–—−―﹣－", "-"), **dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")}
)
_PLAIN |= str.maketrans(
    {"％": "%", "˜": "~", "∼": "~", "⁓": "~", "﹤": "<", "﹥": ">", "＜": "<", "＞": ">"}
)
_TAG = re.compile(r"<[/!?]?[a-z][^<>]{0,400}>")
_ATTRIBUTE = re.compile(r"\b(?:displayname|name|value|unit)\s*=\s*\"([^\"]{0,80})\"")
_ENTITY = re.compile(r"&(?:lt|gt|amp|nbsp|ndash|mdash|plusmn|#\d{2,4}|#x[0-9a-f]{2,4});")
_ENTITIES = dict(zip(_split("lt gt ndash mdash plusmn"), "<>--±", strict=True))
_ENTITIES |= dict(zip(_split("#37 #60 #62 #177 #8211 #8212 #x25 #x2013"), "%<>±--%-", strict=True))
_BLOCKS = frozenset(
    _split(
        "p paragraph br tr li item list table thead tbody title text section div body caption "
        "observation entry component organizer result field row h1 h2 h3 h4"
    )
)
_OBX = re.compile(
    r"^(obx\|[^|\n]*\|[^|\n]*\|)([^|\n]*)(\|[^|\n]*\|)([^|\n]*)(\|?)([^|\n]*)(.*)$", re.M
)
_MIXED = re.compile(
    r"(?<!\w)(?=[a-z]*[0158]+[a-z])(?=[a-z015]*[a-z]{3}|[a-z][0158]|8[a-z]{4})[a-z0158]{4,}"
)
_CAPITAL_I = re.compile(r"I(?<=[a-z]I)(?=I?[a-z])|I(?<=[a-z]II)(?=[a-z])")  # ceIIuIar
_MISREAD = re.compile(r"[0158](?:(?<=[a-z].)[a-z]|[a-z]{4})")  # quick: digits are rare
_DIGITS = re.compile(
    r"(?<![a-z0-9])(?:(?=[oils]*\d)[\doils]{2,3}|(?:(?<=[:=] )\d \d|[oil]{2}|s[0o])(?= ?%))"
    r"(?![a-z0-9])"
)
_LETTERS = str.maketrans("0158", "olsb")
_NUMERALS = str.maketrans("oils", "0115")


def _blank(text: str) -> str:
    return " " * len(text)


def _fold(text: str) -> str:
    """Lower case, no markup, scanning errors mended; every character keeps its place."""
    plain = text if text.isascii() else text.translate(_PLAIN)
    if _CAPITAL_I.search(plain):
        plain = _CAPITAL_I.sub("l", plain)
    low = plain.lower()
    if len(low) != len(text):
        low = "".join(c.lower()[:1] for c in plain)
    if "\r" in low or "\f" in low:
        low = low.replace("\r\n", " \n").replace("\r", "\n").replace("\f", "\n")
    if "&" in low:
        low = _ENTITY.sub(lambda m: _ENTITIES.get(m[0][1:-1], " ").rjust(len(m[0])), low)
    if "<!--" in low:
        low = re.sub(r"<!--[^<>]*-->", lambda m: _blank(m[0]), low)
    if "</" in low or "/>" in low:
        low = _TAG.sub(_untag, low)
    if "obx|" in low:
        low = _OBX.sub(_unpipe, low.replace("\\.br\\", "    \n"))
    if '":' in low or "_" in low:
        low = low.replace('"', " ").replace("_", " ").replace("{", " ").replace("}", " ")
    if _MISREAD.search(low):
        low = _MIXED.sub(lambda m: m[0].translate(_LETTERS), low)
    if "...." in low or ". . ." in low:
        low = re.sub(r"(?:\. ?){4,}", lambda m: ":" + _blank(m[0])[1:], low)
    if any(box.search(low) for box in _BOXES) or any(sign in low for sign in "☐☒☑✓✔"):
        low = _unbox(low)
    if low.count(" period") > 1:  # dictation
        low = re.sub(r" period\b(?! of)", ".      ", re.sub(r" comma\b", ",     ", low))
    return low


def _unbox(low: str) -> str:
    """Leave of each list of boxes what is ticked; its options become one line."""
    boxes = list(_P["box"].finditer(low))
    out, behind = list(low), False
    for i, box in enumerate(boxes):
        start, end = box.span()
        previous = boxes[i - 1].end() if i else 0
        following = boxes[i + 1].start() if i + 1 < len(boxes) else len(low)
        stop = low.find("\n", end, following)
        option = (end, following if stop < 0 else stop)
        if not i or "\n" in low[previous:start]:  # the first of its line tells for all of it
            behind = low.endswith(("%", "% "), previous, start)
        if behind:
            option = (max(previous, low.rfind("\n", previous, start) + 1), start)
            if (colon := low.rfind(":", *option)) >= 0:
                option = (colon + 1, start)
        out[start:end] = _blank(box[0])
        if box["off"]:
            out[slice(*option)] = _blank(low[slice(*option)])
        wrap = low.rfind("\n", max(previous, start - 20), start)
        if wrap >= 0 and low[wrap:start].isspace():
            out[wrap] = " "
    return "".join(out)


def _cased(text: str, low: str) -> str:
    """The folded text in the letters of the report: capitals tell headings and sentences."""
    plain = text.lower()
    if plain == low:
        return text
    if len(plain) != len(text):  # some letters of other scripts grow
        plain = "".join(c.lower()[:1] for c in text)
    return "".join([a if p == b else b for a, p, b in zip(text, plain, low, strict=True)])


def _untag(tag: re.Match[str]) -> str:
    """Cells part by a bar, blocks by a line; names, values and units of coded entries stay."""
    closing = tag[0].startswith("</")
    name = re.match(r"</?([a-z]+[1-6]?)", tag[0])
    kind = name[1] if name else ""
    if kind in ("td", "th"):
        return (" " if closing else "|").rjust(len(tag[0]))
    if kind == "referencerange":
        return ("\n" if closing else " reference").ljust(len(tag[0]))
    kept = list(_blank(tag[0]))
    for found in _ATTRIBUTE.finditer(tag[0]):
        kept[found.start(1) : found.end(1)] = found[1]
    if _P["section"].match(kind) or _P["key"].match(kind):  # <Cellularity>40%</Cellularity>
        return "\n" + (_blank(tag[0])[1:] if closing else tag[0][1:-1].replace("/", " ") + ":")
    return ("\n" if kind in _BLOCKS else " ") + "".join(kept[1:])


def _unpipe(segment: re.Match[str]) -> str:
    """Keep name, value and unit of an HL7 observation; its reference range goes."""
    head, name, mid, value, bar, unit, rest = segment.groups()
    name = re.sub(r"^[^^]*\^", lambda m: _blank(m[0]), name)
    name = re.sub(r"\^.*", lambda m: _blank(m[0]), name)
    colon = (" :" if name.strip() else "  ") + _blank(mid)[2:]
    return _blank(head) + name + colon + value.replace("^", " ") + _blank(bar) + unit + _blank(rest)


@dataclass(slots=True)
class _Context:
    """Where a sentence stands."""

    specimen: str = "general"  # core, general, or what is no core
    side: str = ""
    event: int = 0  # 0 the report, else the number of the correction


@dataclass(slots=True)
class _Sentence:
    """A piece of the report with single spaces, and where it stands there."""

    words: str
    spans: tuple[tuple[int, int], ...]
    context: _Context
    line: int
    new_line: bool
    keyed: bool  # holds a word that may be one on cellularity


class _Lines:
    """The lines of a report, and which of them belong to one paragraph."""

    def __init__(self, text: str, low: str) -> None:
        self.text = text
        lengths = [len(line) for line in low.split("\n")]
        self.starts = [*accumulate((n + 1 for n in lengths), initial=0)]
        self.width = min(100, max(lengths))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def number(self, place: int) -> int:
        return bisect_right(self.starts, place) - 1

    def wraps(self, k: int) -> bool:
        """Whether the sentence at the end of line k goes on in the next."""
        if not 0 <= k < len(self) - 1:
            return False
        a, b, c = self.starts[k : k + 3]
        return _wraps(self.text[a : b - 1], self.text[b : c - 1], self.width)

    def paragraphs(self, places: Iterable[int]) -> dict[int, int]:
        """First and last lines of the paragraphs that hold these places."""
        found: dict[int, int] = {}
        covered = -1
        for k in sorted({self.number(place) for place in places}):
            if k <= covered:
                continue
            first = last = k
            while first > covered + 1 and k - first < 40 and self.wraps(first - 1):
                first -= 1
            while last - k < 40 and self.wraps(last):
                last += 1
            found[first] = covered = last
        return found


def _wraps(line: str, following: str, width: int) -> bool:
    """Whether the sentence goes on in the following line."""
    line, following = line.strip(), following.strip()
    if "   " in line or "   " in following:  # columns
        return False
    if not line or not following or any(cut in line + following for cut in ("|", "\t", " = ")):
        return False
    if line[-1] in ".:;!?" and not _P["abbreviated"].search(line[-8:].lower()):
        return False
    first = following[0]
    if first in "-*•[" or _ITEM.match(following):
        return False
    if _P["key_line"].match(following) and not (first.islower() and len(line) > 40):
        return first.isdigit() and "%" in following[:12]
    if _is_heading(line) or (following.isupper() and _is_heading(following)):
        return False
    if first.islower() or first.isdigit() or first in "(~<>≥≤%":
        return True
    return len(line) + len(following.split(None, 1)[0]) >= width - 6


def _is_heading(line: str) -> bool:
    """Whether a line of its own is a heading: few words or capitals, one of them a section's."""
    if not line or len(line) > 60 or line[-1] in ".,;":
        return False
    if line.count(" ") > 3 and not (line.isupper() or "".join(line.split()[:2]).isupper()):
        return False
    low = line.lower()
    return not ("cellul" in low or "%" in low or ". " in low[4:]) and bool(_kinds(low))


def _heading(text: str, low: str, start: int, end: int) -> str:
    """The heading that a sentence is, or begins with; empty if none."""
    stop = low.find(":", start, min(end, start + 72))
    if stop < 0:
        return low[start:end] if end - start < 73 and _is_heading(text[start:end].strip()) else ""
    name = low[start:stop]
    return "" if "%" in name or ". " in name.strip()[4:] or "cellul" in name else name


def _statements(text: str, low: str, near: list[int], rows: Iterable[int]) -> Iterator[_Sentence]:
    """The sentences near these places and rows, each with its section, side and correction."""
    lines = _Lines(text, low)
    paragraphs = lines.paragraphs([*near, *rows])
    stop = len(lines) if any(word in low for word in _FIXES) else max(paragraphs, default=-1) + 1
    context, in_body, k, starts = _Context(), False, 0, lines.starts
    while k < stop:
        if starts[k + 1] - starts[k] == 1:  # empty
            k += 1
            continue
        read, last = k in paragraphs or context.event > 0, paragraphs.get(k, k)
        while context.event and last + 1 not in paragraphs and lines.wraps(last):
            last += 1
        start, end = starts[k], starts[last + 1] - 1
        k = last + 1
        for i, (a, b) in enumerate(_sentences(low, start, end) if read else ((start, end),)):
            if kinds := _kinds(name := _heading(text, low, a, b)):
                context = _enter(context, kinds, name, a, in_body)
                in_body = in_body or context.specimen == "core"
            if read:
                at = bisect_left(near, a)
                keyed = at < len(near) and near[at] < b
                words = " ".join(low[a:b].split())
                yield _Sentence(words, ((a, b),), context, last, i == 0, keyed)


@lru_cache(4096)  # an archive has few headings
def _kinds(name: str) -> frozenset[str]:
    return frozenset(m.lastgroup or "" for m in _P["section"].finditer(name))


def _enter(context: _Context, kinds: frozenset[str], name: str, at: int, in_body: bool) -> _Context:
    """The context under a heading; an addendum at the end keeps its specimen headings."""
    if "addendum" in kinds:
        number = re.search(r"(?:dum|ment|tion|port)[ #:no.]{1,6}(\d)(?![\d/.-])", name)
        return _Context(event=at + 1 + (10**7 * int(number[1]) if number else 0))
    over = bool(kinds & {"general", "history", "other"}) or not in_body
    side = _side_of(name) if "core" in kinds else ""
    return _Context(_section_of(kinds), side, 0 if over else context.event)


def _section_of(kinds: frozenset[str]) -> str:
    if "history" in kinds:
        return "history"
    if "organ" in kinds:
        return "other"
    if "core" in kinds:
        return "general" if kinds & {"aspirate", "clot", "touch"} else "core"
    for kind in ("touch", "clot", "aspirate", "other"):
        if kind in kinds:
            return kind
    return "general"


def _sentences(low: str, start: int, end: int) -> list[tuple[int, int]]:
    cuts, begin = [], start
    for stop in _STOP.finditer(low, start, end):
        if not _P["abbreviated"].search(low, max(begin, stop.end() - 8), stop.end()):
            cuts.append((begin, stop.end()))
            begin = stop.end()
    cuts.append((begin, end))
    if any(b - a > _LONGEST for a, b in cuts):  # no sentence: the work per character stays bounded
        cuts = [(i, min(i + _LONGEST, b)) for a, b in cuts for i in range(a, b, _LONGEST)]
    return [(a, b) for a, b in cuts if a < b and not low[a:b].isspace()]


def _places(low: str, sentence: _Sentence) -> list[int]:
    """The place in the report of each character of a sentence."""
    places: list[int] = []
    for a, b in sentence.spans:
        for word in low[a:b].split():
            at = low.index(word, a)
            a = at + len(word)
            places.extend(range(at, a + 1))
    return places


# ------------------------------------------------------------------ figures


@dataclass(slots=True)
class _Figure:
    start: int  # in the sentence
    end: int
    low: float
    high: float
    signed: bool  # a percent sign, or a part in words
    qualifier: Qualifier | None = None
    settled: bool = False  # the later one of "from 80% to 40%"


def _figures(s: str) -> list[_Figure]:
    """Numbers, ranges, bounds and parts of a sentence, left to right."""
    singles = [figure for m in _P["number"].finditer(s) if (figure := _number(m))]
    joined: list[_Figure] = []
    for figure in singles:
        last = joined[-1] if joined else None
        between = s[last.end : figure.start] if last else ""
        if last and last.low == last.high:
            signed = last.signed or figure.signed
            before = s[max(0, last.start - 50) : last.start]
            if _P["plus_minus"].fullmatch(between):
                low, high = max(0.0, last.low - figure.low), min(100.0, last.low + figure.low)
                joined[-1] = _Figure(last.start, figure.end, low, high, signed, "~")
                continue
            to = ("->", "→", "to", "-") if _P["change"].search(before) else ("->", "→")
            if signed and between.strip() in to:
                joined[-1] = replace(figure, start=last.start, signed=True, settled=True)
                continue
            pair = between.strip() in ("and", "%-") and re.search(r"\bbetween (?:\w+ )?$", before)
            if pair or _P["range"].fullmatch(between):
                low, high = sorted((last.low, figure.low))
                joined[-1] = _Figure(last.start, figure.end, low, high, signed)
                continue
        joined.append(figure)
    return [figure for figure in joined if figure.high <= 100]


def _number(m: re.Match[str]) -> _Figure | None:
    signed = m["pct"] is not None
    if m["digits"]:
        value = float(m["digits"].replace(",", ".").replace(" point ", "."))
    elif m["sign"]:
        value, signed = _SIGNS[m["sign"]], True
    elif m["part"]:
        if not m["count"] and m["part"] != "half":
            return None
        count = _WORDS.get(m["count"] or "a", 1)
        value, signed = 100 * count / _PARTS.get(m["part"], 2), True
    else:
        value = float(_WORDS[m["tens"] or m["word"]] + _WORDS.get(m["ones"] or "", 0))
    return _Figure(m.start(), m.end(), value, value, signed)


def _qualifier(s: str, figure: _Figure) -> Qualifier | None:
    before, after = s[max(0, figure.start - 40) : figure.start], s[figure.end : figure.end + 20]
    if figure.low == figure.high:
        if _P["over"].search(before) or _P["over_after"].match(after):
            return ">"
        if _P["under"].search(before) or _P["under_after"].match(after):
            return "<"
    if figure.qualifier or _P["about"].search(before) or _P["about_after"].match(after):
        return "~"
    return None


# ------------------------------------------------------------------ from figures to claims


@dataclass(slots=True)
class _Claim:
    """One figure said to be a cellularity, and everything that decides whether it counts."""

    low: float
    high: float
    qualifier: Qualifier | None
    start: int  # of the evidence, in the report
    end: int
    rule: str
    status: str  # "ok", or why it does not count
    sentence: int
    specimen: str = "general"
    side: str = ""
    before: str = ""  # words that may name the side
    event: int = 0
    whole: bool = False
    part: bool = False


def _links(s: str, figures: list[_Figure], assumed: int) -> dict[int, tuple[int, int, str]]:
    """Tie figures to words on cellularity: figure number to (start, end, rule).

    `assumed` is -1, or the length of a start that stands for the word (a sentence that goes on).
    """
    found: dict[int, tuple[int, int, str]] = {}
    keys = [(m.start(), m.end(), m[0]) for m in _P["key"].finditer(s)]
    keys = [
        key
        for key in keys
        if not _P["key_void"].search(s[max(0, key[0] - 14) : key[0]])
        and not _P["key_void_after"].match(s, key[1])
    ]
    if assumed >= 0:
        keys.insert(0, (0, assumed, "cellularity"))
    fat = "fat" in s or "adipo" in s
    for start, end, word in keys:
        tissue = word.startswith(("hem", "haem", "blood", "active", "red"))
        last = -1
        i = sum(figure.end <= start for figure in figures) - 1  # the figure before the word
        if i >= 0 and i not in found and figures[i].signed:
            gap = s[figures[i].end : start]
            plain = bool(_P["before_gap"].fullmatch(gap))
            if tissue:
                plain = bool(re.fullmatch(r" ?(?:(?!and |or |of )[a-z]+ )?", gap)) and fat
            if plain or _P["before_of"].fullmatch(gap):
                found[i] = (figures[i].start, end, "figure then word")
                last = i if word.endswith("r") else -1  # "40% cellular" has its figure
                while i > 0 and _P["chain"].fullmatch(s[figures[i - 1].end : figures[i].start]):
                    i -= 1
                    if figures[i].signed:
                        found.setdefault(i, (figures[i].start, end, "listed figure"))
        for i, figure in enumerate(figures):
            if figure.start < end:
                continue
            gap = s[end : figure.start]
            if last < 0:
                close = _close(gap, figure, tissue)
            else:  # a second figure for the same word
                between = s[figures[last].end : figure.start]
                close = figure.signed and len(between) < 90 and not _P["other"].search(between)
                close = close and bool(
                    _P["chain"].fullmatch(between)
                    or _P["mark"].search(between)
                    or _P["whole"].search(between)
                )
            if tissue and not (fat or _P["space_after"].match(s, figure.end)):
                close = False
            if not close or not _owned(s, figure):
                if last < 0 and figure.signed:
                    break
                continue
            rule = "share of tissue" if tissue else "word then figure"
            found.setdefault(i, (start, figure.end, rule if last < 0 else "further figure"))
            last = i
    return found


def _close(gap: str, figure: _Figure, tissue: bool) -> bool:
    if not figure.signed:
        return bool(
            _P["sign_in_key"].fullmatch(gap)
            or (figure.low >= 5 and _P["bare_value"].fullmatch(gap))
        )
    if tissue:
        return len(gap) < 70 and _P["hema_gap"].fullmatch(gap) is not None
    gap = _P["aside"].sub(" ", gap)
    return len(gap) < 110 and not _P["other"].search(gap)


def _owned(s: str, figure: _Figure) -> bool:
    """Whether no other noun behind the figure claims it."""
    tail = s[figure.end : figure.end + 50]
    if _P["other_noun"].match(tail) or _P["change_by"].search(s, 0, figure.start):
        return False
    if not figure.signed and _P["no_share"].match(tail):
        return False
    stop = _P["clause_end"].search(tail)
    return not _P["other"].search(tail[: stop.start()] if stop else tail)


def _status(s: str, figures: list[_Figure], i: int, linked: Iterable[int], fixing: bool) -> str:
    """What the nearest mark says of a figure: ok, prior, outside, expected or aside."""
    figure = figures[i]
    if figure.settled or (fixing and s.endswith("should be ", 0, figure.start)):
        return "ok"
    stop = _P["mark_end"].search(s, figure.end)
    following = figures[i + 1].start if i + 1 < len(figures) else len(s)
    tail = s[figure.end : min(following, stop.start() if stop else len(s))]
    after = _P["mark_after"].search(tail)
    if after and after.lastgroup:
        return "ok" if after.lastgroup == "current" else after.lastgroup
    marks = [m for m in _P["mark"].finditer(s, 0, figure.end) if m.end() <= figure.start]
    if not marks or marks[-1].lastgroup in ("current", None):
        return "ok"
    mark = marks[-1]
    spent = [k for k in linked if k < i and figures[k].start >= mark.end()]
    if spent:
        between = s[figures[spent[-1]].end : figure.start]
        if len(between) > 8 or between.strip(" ,") not in ("", "and", "or"):
            return "ok"
    return str(mark.lastgroup)


def _material(s: str, start: int, figure: _Figure, context: _Context) -> str:
    """The specimen of a figure: named behind it, else nearest before it, else by the section."""
    mentions = list(_P["specimen"].finditer(s))
    behind = [m for m in mentions if m.start() >= figure.end]
    if behind and _P["behind"].fullmatch(s, figure.end, behind[0].start()):
        chosen = 0
        group = behind
    else:
        group = [m for m in mentions if m.start() < figure.end]
        chosen = len(group) - 1
    if not group:
        return context.specimen
    kinds = {group[chosen].lastgroup or ""}
    for step in (-1, 1):
        k = chosen
        while 0 <= k + step < len(group):
            a, b = sorted((k, k + step))
            if not _P["joined"].fullmatch(s, group[a].end(), group[b].start()):
                break
            k += step
            kinds.add(group[k].lastgroup or "")
    return next(kind for kind in ("other", "core", *sorted(kinds)) if kind in kinds)


def _side_of(words: str) -> str:
    names = [
        m.lastgroup if m.lastgroup in ("left", "right") else m[m.lastgroup or 0].strip(" .)")
        for m in _P["side"].finditer(words)
    ]
    return _SIDES.get(names[-1], names[-1]) if names else ""


def _claims(low: str, sentence: _Sentence, number: int, assumed: int = -1) -> list[_Claim]:
    """All figures of a sentence that are tied to a word on cellularity."""
    s, context = sentence.words, sentence.context
    if not _P["hint"].search(s) or _P["unsaid"].search(s):
        return []
    s = _DIGITS.sub(lambda m: m[0].translate(_NUMERALS).replace(" ", "").rjust(len(m[0])), s)
    figures = _figures(s)
    ratio = _P["ratio"].search(s) if "fat" in s or "adipo" in s else None
    cells, fat = (float(ratio[k + "1"] or ratio[k + "2"]) for k in "cf") if ratio else (0, 0)
    if ratio and cells + fat > 0:
        value = 100 * cells / (cells + fat)
        figures = [_Figure(ratio.start(), ratio.end(), value, value, True)]
        links = {0: (ratio.start(), ratio.end(), "ratio of cells to fat")}
    else:
        links = _links(s, figures, assumed)
    places = _places(low, sentence) if links else []
    claims = []
    for i, (start, end, rule) in sorted(links.items()):
        figure = figures[i]
        status = _status(s, figures, i, links, context.event > 0)
        specimen = _material(s, start, figure, context)
        if specimen in _ASIDE_SECTIONS and status == "ok":
            status = specimen
        left = figures[i - 1].end if i else 0
        right = figures[i + 1].start if i + 1 < len(figures) else len(s)
        clause = max(left, s.rfind(";", 0, figure.start))
        behind = _P["side_after"].match(s, figure.end, right)
        claims.append(
            _Claim(
                low=figure.low,
                high=figure.high,
                qualifier=_qualifier(s, figure),
                start=places[start],
                end=places[end - 1] + 1,
                rule=rule,
                status=status,
                sentence=number,
                specimen=specimen,
                side=behind[1] if behind else context.side,
                before="" if behind else s[: figure.start],
                event=context.event,
                whole=_P["whole"].search(s[clause : figure.end]) is not None
                or _P["whole_after"].match(s, figure.end, right) is not None,
                part=_P["part"].search(s[clause:right]) is not None,
            )
        )
    return _only_present(s, places, claims)


def _only_present(s: str, places: list[int], claims: list[_Claim]) -> list[_Claim]:
    """Where one figure is said to be today's, the others of the sentence are earlier ones."""
    today = [m.end() for m in _P["today"].finditer(s)] if len(claims) > 1 else []
    latest = [c for c in claims if c.status == "ok" and any(c.end > places[a] for a in today)]
    if not latest or len(latest) == len(claims):
        return claims
    return [c if c in latest else replace(c, status="prior") for c in claims]


def _cells(low: str, start: int) -> tuple[int, str, list[tuple[int, int]]]:
    """The line at `start`: its end, what parts its cells, and the cells that are not empty."""
    end = low.find("\n", start)
    end = len(low) if end < 0 else end
    line = low[start:end]
    cut = next((c for c in ("|", "\t", "  ", ",") if c in line), "")
    if not cut or (cut == "," and ", " in line):
        return end, "", []
    pattern = r"\S+(?: \S+)*" if cut == "  " else f"[^{cut}]+"
    spans = [(start + m.start(), start + m.end()) for m in re.finditer(pattern, line)]
    return end, cut, [span for span in spans if low[slice(*span)].strip(" -:=+")]


def _tables(low: str, near: list[int]) -> dict[int, list[tuple[int, int, str, bool]]]:
    """Cells on cellularity by start of their row: (start, end, names of row or column, sign)."""
    found: dict[int, list[tuple[int, int, str, bool]]] = {}
    for start in sorted({low.rfind("\n", 0, place) + 1 for place in near}):
        if start in found:
            continue
        if len(found) > 99:
            break
        end, cut, spans = _cells(low, start)
        if len(spans) < 2 or len(spans) > 20:
            continue
        texts = [low[a:b].strip() for a, b in spans]
        keyed = [k for k, text in enumerate(texts) if len(text) < 45 and _P["key"].search(text)]
        if len(keyed) != 1:
            continue
        k = keyed[0]
        signed = re.search(_PCT, texts[k]) is not None or "%" in texts
        figures = [j for j, text in enumerate(texts) if j > k and re.search(r"\d", text)]
        bare = not re.search(r"\d", texts[k])
        if len(figures) > 1 and (cut in "|\t" or bare):  # a row, with a column for each core
            head, above = None, start
            for _ in range(12):  # rows
                if head or not above:
                    break
                above = low.rfind("\n", 0, above - 1) + 1
                row = _cells(low, above)[2]
                if not row:
                    continue
                if len(row) == len(spans) - 1 and cut == "  ":  # no name above the names
                    row = [spans[0], *row]
                if len(row) != len(spans):
                    break
                head = None if any(re.search(r"\d", low[a:b]) for a, b in row[1:]) else row
            names = [low[a:b] for a, b in head] if head else [""] * len(spans)
            if head or cut in "|\t":
                columns = figures if head else figures[:1]
                found[start] = [(*spans[j], names[j], signed) for j in columns]
        elif not figures and bare and len(spans) > (cut in "  ,") + 1:
            for _ in range(60):
                if end >= len(low):
                    break
                below = end + 1
                end, row_cut, row = _cells(low, below)
                if row and (row_cut != cut or len(row) != len(spans)):
                    break
                if row:
                    name = " | ".join(low[a:b] for a, b in [*row[:k], *row[k + 1 :]])
                    found[below] = [(*row[k], name, signed)]
    return found


def _cell_claims(
    low: str, cells: list[tuple[int, int, str, bool]], context: _Context, number: int
) -> list[_Claim]:
    claims = []
    for start, end, name, signed in cells:
        figures = [f for f in _figures(low[start:end] + ("%" if signed else "")) if f.signed]
        if not figures or len(figures) > 1:
            continue
        mark = _P["mark"].search(name)
        kinds = {m.lastgroup or "" for m in _P["specimen"].finditer(name)} or {context.specimen}
        specimen = "core" if "core" in kinds else sorted(kinds)[0]
        status = specimen if specimen in _ASIDE_SECTIONS else "ok"
        if mark and mark.lastgroup not in ("current", None):
            status = str(mark.lastgroup)
        if re.search(r"\b(?:range|unit|flag)", name):
            status = "expected"
        figure = figures[0]
        claims.append(
            _Claim(
                low=figure.low,
                high=figure.high,
                qualifier=_qualifier(low[start:end], figure),
                start=start + figure.start,
                end=min(end, start + figure.end),
                rule="table cell",
                status=status,
                sentence=-number,
                specimen=specimen,
                side=context.side,
                before=name,
                event=context.event,
                whole=_P["whole"].search(name) is not None,
            )
        )
    return claims


# ------------------------------------------------------------------ the answer


def parse(text: str) -> Reading:
    """Read the cellularity of the present core biopsy, in percent.

    Null where the report states none, or where it stays unclear; `rule` says which rule gave the
    answer, also for null. `evidence` is an exact piece of the text and holds the figures.
    """
    low = _fold(text)
    near = sorted(m.start() for pattern in _NEAR for m in pattern.finditer(low))
    if not near:
        return _none("no words on cellularity")
    tables = _tables(low, near)
    claims: dict[int, _Claim] = {}
    withdrawn: set[int] = set()
    before: _Sentence | None = None
    orders = [m.start() for m in _ORDER.finditer(low)]
    mended = bool(orders) or any(word in low for word in _FIXES)
    reader = False  # whether this line speaks to a reader
    unread: list[str] = []  # what of it was not looked at for that
    for number, sentence in enumerate(
        _statements(_cased(text, low), low, near, [*tables, *orders])
    ):
        s, context = sentence.words, sentence.context
        if sentence.new_line:
            reader, unread = False, []
        unread.append(s)
        fix = _P["fix"].search(s) if mended else None
        if fix and not context.event:
            context = replace(context, event=sentence.spans[0][0] + 1)
            sentence = replace(sentence, context=context)
        if context.event and _P["withdraw"].search(s) and _P["figure_word"].search(s):
            withdrawn.add(context.event)
        row = low.rfind("\n", 0, sentence.spans[0][0]) + 1 if tables else -1
        found: list[_Claim] = []
        if row in tables:
            found = _cell_claims(low, tables[row], context, number) if sentence.new_line else []
        elif sentence.keyed:
            found = _claims(low, sentence, number)
        elif fix and not _P["other"].search(s):
            found = _claims(low, sentence, number, assumed=fix.end())
        elif before and sentence.line - before.line < 2 and _P["continues"].match(s):
            words, spans = f"{before.words} {s}", before.spans + sentence.spans
            found = _claims(low, replace(sentence, words=words, spans=spans), number - 1)
        if found:
            reader = reader or any(_P["reader"].search(said) for said in unread)
            unread = []
        for claim in found:
            claims.setdefault(claim.end, replace(claim, status="reader") if reader else claim)
        if len(claims) > 99:
            return _none("too many figures")
        before = sentence if sentence.keyed else None if sentence.new_line else before
    return _resolve(text, low, list(claims.values()), withdrawn)


def _resolve(text: str, low: str, claims: list[_Claim], withdrawn: set[int]) -> Reading:
    good = [claim for claim in claims if claim.status == "ok"]
    general = any(claim.specimen == "general" for claim in good)
    if general and (_P["no_core"].search(low) or not _has_core(low)):
        good = [claim for claim in good if claim.specimen != "general"]
    event = max([0, *withdrawn, *(claim.event for claim in good)])
    good = [claim for claim in good if claim.event == event]
    if not good and event:
        return _none("a correction withdraws the figure")
    if not good:
        reasons = sorted({claim.status for claim in claims})
        return _none(f"only {' and '.join(reasons)} figures" if reasons else "no figure")
    start = "correction: " if event else ""
    whole = [claim for claim in good if claim.whole]
    pool = whole or [claim for claim in good if not claim.part] or good
    start += "overall: " if whole else ""
    pool = [claim for claim in pool if claim.specimen == "core"] or pool
    if len({(claim.low, claim.high) for claim in pool}) == 1:
        return _reading(text, pool[:1], start + pool[0].rule)
    sides = {
        _side_of(claim.before) or _SIDES.get(claim.side, claim.side): claim for claim in pool[::-1]
    }
    sides.pop("", None)
    if len(sides) > 1:
        return _reading(text, list(sides.values()), start + "mean over cores")
    if len({claim.sentence for claim in pool}) == 1:
        return _reading(text, pool, start + "spread", spread=True)
    widest = max(pool, key=lambda claim: claim.high - claim.low)
    if all(widest.low <= claim.low and claim.high <= widest.high for claim in pool):
        return _reading(text, [widest], start + widest.rule)
    return _none("figures disagree")


def _has_core(low: str) -> bool:
    """Whether a core was received, as far as the report tells."""
    cores = ("core", "treph", "biops", "bx", "bmb", "histolog", "punch", "cylinder")
    others = ("aspirat", "clot", "smear", "imprint", "particle", "spicule")
    return any(word in low for word in cores) or not any(word in low for word in others)


def _reading(text: str, claims: list[_Claim], rule: str, spread: bool = False) -> Reading:
    low, high = min(c.low for c in claims), max(c.high for c in claims)
    middles = [(claim.low + claim.high) / 2 for claim in claims]
    qualifiers = {claim.qualifier for claim in claims}
    return Reading(
        value=round((low + high) / 2 if spread else sum(middles) / len(middles), 2),
        low=round(low, 2),
        high=round(high, 2),
        qualifier=qualifiers.pop() if len(qualifiers) == 1 else None,
        evidence=text[min(c.start for c in claims) : max(c.end for c in claims)],
        rule=rule,
    )


def _none(why: str) -> Reading:
    return Reading(value=None, low=None, high=None, rule=f"none: {why}")
