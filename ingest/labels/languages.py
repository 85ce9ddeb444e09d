"""The words of English, German and French that the reader knows, by what they do in a sentence.

Each class is one letter, so that a sentence becomes a short string and a grammar over it a short
pattern. A word that is not here is `x`: a noun that owns the figures beside it. The classes are
closed (function words, hedges, site words); the nouns of pathology are left out on purpose.
"""

from __future__ import annotations

import re


def words_of(words: str) -> frozenset[str]:
    """A set of words said in one line."""
    return frozenset(words.split())


def by_word(block: str) -> dict[str, str]:
    """The name that each word stands under; a line that is not set in begins with a name."""
    named = (paragraph.split() for paragraph in re.split(r"\n(?=\S)", block.strip()))
    return {word: name for name, *words in named for word in words}


# measured: C K L f T; where: M B R G; function words: d to y; what sets aside: e to t
CLASSES = """
. period
, comma
: colon
% pct percent percentage prozent pourcent
C richesse markraumfüllung
H riche pauvre zellreich zellarm
K hematopoiesis haematopoiesis hemopoiesis haemopoiesis hematopoietic haematopoietic hemopoietic
 haemopoietic hämatopoese blutbildung hämatopoetisch blutbildend hématopoïèse hématopoïétique
 hématopoïétiques bloodforming
L cell cells elements zell zellen cellules
f fat fatty adipose adipocytes adipocyte fett fettgewebe fettmark fettzellen graisse adipeux
 adipocytaire
T ratio verhältnis rapport
M interstitium guess lacune lacunes
 tiefer surface schätzung einschätzung trabeculae trabekel travées espace
 fläche marrow bone bm space spaces intertrabecular medullary medulla cavity cavities area volume
 iliac crest posterior superior anterior spine hip pic psis deep crista beckenkamm examination exam
 review analysis evaluation assessment estimates impression knochenmark mark markraum markräume
 markräumen moelle osseuse crête medullaire médullaire iliaque compartment component
B biop treph cylindre cylindres carotte bom zylinder core cores bmtb trephine trephines biopsy
 biopsies bx bmbx bmb histologie histology histopathology histomorphology histologic histological
 histologisch biopsat histol zyl cbx bmcb cylinder punch stanze biopsie trepanat
 knochenmarkhistologie
 ostéomédullaire ostéo osteo trepanobiopsy trephinobiopsy trepanobioptate trephinobioptate bioptate
R re li longer larger bigger shorter smaller other right left rt lt r l bilateral rechts links
 rechte linke droite gauche droit one two both first second third fourth b beide beiden beider
G site taille longueur ponction prélèvement specimen specimens sample samples section sections
 tissue material slide slides case others sided handed partner counterpart side field level levels
 piece pieces part fragment präparat gewebe tissu échantillon adequacy length quality needle
d pathologist pathologists hematopathologist haematopathologist dr professor itself themselves
 himself herself what whose eigen own my mine d qu the a an this that these those it its their his
 her we i i'd let me us all each which there here lady gentleman man woman patient einem einen
 diesem dieses der die das des dem den ein eine einer eines dieser diese le la les un une cette ce
 ces il elle any every either such same he him she hers they them theirs ones someone something
 nothing everything who whom jener jene jenes welcher welche welches jeder jede jedes er sie es ich
 wir ihr ihm ihn ihnen uns euch mich dich sich mein dein sein unser ihre ihrer ihrem ihren seine
 seiner seinem wer hier dort diesen beim cet mon ma mes son sa ses notre nos leur leurs quel quelle
 chaque je nous ils elles se lui qui quoi dont ceci cela ça celui celle ceux celles aux
v pack packs packed crowd crowds crowded comblé comblée heißen heißt lauten lautet ausgefüllt
 gefüllt take took say says call mesure misst
 can differ kann peut nehmen füllen belegen occupe occupent occupé occupée rempli ranged is are was
 were be been am appear show shown has have had measures measured estimate judged reported read
 given put placed noted found determined ranges varies vary lie runs amounts reveal demonstrate
 display exhibit contain occupies occupy occupied comprise constitute make fill represent account
 cover composed takes taken consist remains stands reaches approaches approximates corresponds
 quantified set quoted issued stated beträgt betragen ist sind war liegt wird geschätzt zeigt nimmt
 einnimmt does do rate grade comes contient contiennent enthalten enthält hold est était sont
 évaluée évalué estimée estimé représente montre à did done give gave find see sees saw seen look
 looks looked seem become became stay stays lay sit sits sat stand stood run ran reach came judge
 gauge deem consider think thought believe regard assess assesses evaluate calculate compute counted
 scored record describe describes express works feel felt arrive settle get gets got made makes held
 keep keeps kept hover hovers agree agrees concur prove proves proved proven waren werden wurde
 wurden worden gewesen
 hat haben hatte hatten gehabt
 können betrug liegen lag lagen ergibt ergab zeigen zeigte weist aufweist findet finden fand fanden
 sieht gesehen scheint erscheint erreicht entspricht macht füllt schwankt schwanken eingenommen
 bestimmt bewertet beurteilt gemessen ermittelt berechnet beschrieben gefunden schätzen schätze
 schätzten eingeschätzt einzuschätzen veranschlagt étaient étant sera été être ont avait avaient
 aura avoir peuvent pouvait fait font représentent évaluons estimons atteint varie oscille compris
 située situé mesurée mesuré chiffrée retrouve retrouvée observe observée montrant notée apprécie
 appréciée calculée cotée based
p bezogen où following
 post because due owing wegen aufgrund of at to on for as within between among across
 throughout along amid near beneath beside toward during through over upon after despite per wie
 where including incl depending zwischen entre bei von auf zu zur zum für du au dans pour sur en
 par until till into onto behind besides regarding concerning towards like unlike aus bis neben
 hinter nach trotz innerhalb entlang gemäß laut einschließlich unter über comme sous chez vers
 après selon jusque jusqu hors
I in im inside
z augenschein morphometrisch visuellement morphometric planimetric quantitative by via using durch
 digital image computer grid eye visual visually morphometry microscopy automated software counting
u from since seit ab vom depuis dès
w with w/ showing mit avec
o together zusammen median weighted
 mittel mittler durchschnitt overall average averages averaging averaged total mean
 combined global whole entire agreed adjudicated consensus composite final summary gesamt insgesamt
 durchschnittlich mittlere moyenne ensemble avg ave
q mehr zurück cca anywhere everywhere taux bit estimation h so rpt approximate très sehr exact
 absolute absolut absolu specify viable power magnification objective upward upwards downward
 downwards h&e best alike too
 therefore thus
 dagegen hingegen revanche
 hence nil zero nearer nur somewhere perhaps ordre richtig recte lire above below angegeben um uh pt
 somewhat just still very quite rather about around almost good excellent representative intact
 preserved limited active residual normalappearing remaining trilineage maturing equal equals score
 value values anteil share proportion fraction prozentsatz estimated yes also well up out much most
 more less again further mature deutlich leicht mäßig etwa stark nettement légèrement discrètement
 modérément some approx ca c. circa environ vicinity order readout range de figure degree extent
 index tick check select circle row half several many few fewer little enough yet once ever already
 even maybe however moreover furthermore nevertheless ten twelve nonetheless otherwise
 meanwhile back altogether indeed better worse far farther shall will alle allem allen aller alles
 einige einigen mehrere mehreren viel viele wenig etwas denn doch jedoch daß dass immer oft häufig
 meist meistens schon noch auch ganz recht ziemlich fast nahezu beinahe ungefähr rund zirka
 vielleicht wohl wahrscheinlich sicher nun dann danach dabei darin daran somit daher
 deshalb bereits weiterhin überall teils teilweise überwiegend lediglich zumindest tout toute tous
 même mêmes ne toujours souvent parfois encore seulement aussi assez trop presque peu probablement
 globalement ici là maintenant puis ainsi alors autour bien mieux moins autant près donc
 proper naked viz unaided meagre meager mere scant paltry bare generous sheer
h uneven unchanged stable herabgesetzt similar comparable identical n normal fair moderate raised
 high low elevated lower abnormal variable patchy heterogeneous markedly diminished preserved
 diminuée augmentée erhöht vermindert reduziert gesteigert normwertig nl appropriate adequate
 regular
y yo yr mm cm jour jours day days week weeks month months year years yrs visit age aged ages age's
 dekade old alter altersentsprechend altersbezogen âge young older adult decade
e nearest limit exp expect expects expected reference norm normative predicted anticipated typical
 typically usual usually normally ordinarily generally üblicherweise normalerweise habituellement
 normalement adjusted matched related chart guideline standard ref interval limits healthy sains
 gesunde gesunden controls erwartet erwartend
 normbereich referenz referenzbereich sollwert normwert attendu norme référence théorique span
 üblich erwartungswert birth adults children infants patients population minus
c wäre wären würde criterion criteria require required requiring define defined definition threshold
 cutoff should would could must may might if whether unless when rule severe target aim protocol
 goal calls inclusion enrollment enrolment needed suspected query eligibility classification scale
 scheme falls category kriterium kriterien sollte wenn critère seuil si doit faut ought ob könnte
 muss müssen soll sollen würden doivent devait lorsque quand
b screen prior cf pre previous previously earlier former formerly preceding baseline pretreatment
 last original originally initial initially history historical ago yesterday diagnosis remission
 presentation admission
 relapse screening before erroneously error incorrect incorrectly mistakenly wrongly replaces
 replacing replaced supersedes superseded january february march april june july august september
 october november december jan feb mar apr jun jul aug sep sept oct nov dec pretransplant outset
 früher vorbefund erstbefund erstdiagnose irrtümlich fälschlich versehentlich vorherige vorherigen
 zuvor damals voruntersuchung antérieur précédent précédemment auparavant vor vorher vormals avant
r sender cases outside sending referring referral submitted submitting external resident fellow
 trainee draft preliminary provisional reader readers observer another you donor donor's sister
 brother sibling twin mother father your interobserver intraobserver rereading reread errorrate
 differed discrepancy reportedly allegedly supposedly purportedly supposed requisition clinician
 clinicians oncologist referrer auswärts auswärtig externe votre vos
n nunmehr our ours now current currently present presently today today's actual actually observed
 new recent aktuell vorliegend jetzt heute derzeit actuel actuelle actuellement fact
E modified updated sic strike scratch
g rückgang anstieg abnahme zunahme diminué augmenté baissé reduced decrease increase fall rise drop
 gone fell fallen ging gesunken sank sinkt passe passait rose risen dropped declined improved
 recovered went grown come down changed steigt gefallen passée passé
a subcortical subcortically subcapsular subendosteal paracortical subkortikal souscorticale
 disregarded ignored discounted excluding excluded exclusive nonrepresentative away apart except
 allowing
t focally half elsewhere areas foci focal region regions zones zone uninvolved involved aggregate
 aggregates nodules places abschnitte abschnitten lowest highest minimum maximum min max parts
 portion portions end remainder stellenweise anderswo
j sondern and or but while whereas plus although though und oder aber et ou mais then weil da obwohl
 obgleich während bevor nachdem car parce puisque tandis quoique
k verglichen instead against statt anstatt anstelle lieu than versus vs compared comparison
 relative contrast als que contre gegenüber vergleich comparaison gegen contrary
i not no cannot never without sans ohne neither nor nicht kein keine pas non aucun aucune unable
 unlikely hardly scarcely disagree disagrees kaum keinen keinem keiner nie niemals jamais
 preclude precludes prevents unavailable n/a w/o
"""
# more of German and French
TONGUES = """
K hematopoiese haematopoiese hämatopoiese hämopoese hämopoiese hämatopoietisch hämopoetisch
 hematopoietique blutmark zellmark parenchym markparenchym sanguiformateur sanguiformatrice
 sanguiformateurs hémopoïèse hémopoïétique hématopoïétiquement
L zelle cellule élément éléments
f graisses graisseux graisseuse graisseuses adipeuse adipeuses adipocytaires
M km raum räume räumen marklichtung lichtung markareal bälkchen balken spongiosa surfaces aires aire
 logettes mailles vacuités interstices interosseuse intertrabéculaire intertrabéculaires
 interosseux intertrabekulär médullaires osseux osseuses
B pbo pbm tréphine trépan trépanobiopsie carottage carottages biopsique biopsiques biopsiée biopsié
 knochenzylinder
G präparate schnitt schnitte schnitten schnittstufen coupe coupes fragments vakuole
 vakuolen vacuole vacuoles stelle
d deren dessen denen lequel laquelle desquels desquelles celle-ci
p lors parmi niveau zufolge
o gesamteindruck gesamtschätzung gemittelt vereinbart endgültig mittelwert définitif définitive
 retenue retenu médiane globale
q knapp gut annähernd schätzungsweise allenfalls bestenfalls kaum maximal rd insbesondere jeweils
 hierbei demnach folglich einheitlich weitgehend voire quasi plutôt quelque quelques semi hauteur
 pratiquement mindestens höchstens eindeutig entsprechend voll vollständig völlig
h hoch hohe hohen hoher hohes haut haute élevé élevée bas basse faible fort forte niedrig gering
 regelrecht unauffällig mäßiggradig réduit réduite abaissée accrue limité limitée restreinte
 conservé conservée préservée erhalten erhaltenes ungleich ungleichmäßig inhomogen fleckig
 hétérogène homogène inégale hypoplastisch hyperplastisch hypoplasique hyperplasique aplastisch
 aplasique désertique maximale riches
y altersgerecht altersnormal altersüblich altersadäquat
e altersnorm altersnormwert décennale attendue attendus attend attendrait attendre
b ursprünglich anfänglich anfangs ausgangswert ausgangsbefund vorjahr ehemals initiale antérieure
 antérieurement précédente
g zurückgegangen angestiegen abgefallen abgesunken gestiegen stieg fiel climbed
t fokal focalement localement herdförmig herdig örtlich endroits plages îlots foyer foyers secteur
 secteurs herd herde herden insel inseln areale arealen bezirke bezirken regionen
j resp respektive bzw beziehungsweise respectivement sodass
v dürfte dürften konnte konnten lässt läßt lassen ließ ließen überschreitet erkennen
z augenmaß œil oeil visuelle visueller semiquantitativ zählung auszählung punktzählung bildanalyse
 morphometrie histomorphometrie planimetrie morphométrie comptage
t rest reste restliche übrige übrigen ende
q soweit égal égale égaux résiduel résiduelle
G länge dicke
R autre autres beidseits beidseitig bilaterale bilateralen bilatéral bilatérale rechter rechtes
 rechten linker
 linkes linken droits gauches anderen
c hätte hätten
e erwarten
b letzten letztes vorigen voriges vergangenen dernier dernière précédents
h wechselnd wechselnde wechselnder wechselhaft variabel
B stanzen biopsien trepanate trepanaten biopsate zylindern stanzhistologie
 trepanation trepanationen trépanation
"""
# adverbs and what is made of a verb: "hierorts", "quantitativement", "prozentual"
NO_NOUN = re.compile(
    r"(?:ly|able|ible|gradig|weise|mäßig|bar|(?:al|iv|eus|ell|iqu|air|ièr|uel)ement|[ae]mment"
    r"|(?:cis|dér|form)ément|orts|lich(?:e[mnrs]?)?)$"
)
# verbs of estimating, measuring and filling of German and French, in all their forms
VERB_FORM = re.compile(
    r"(?!(?:notes|variant|relevant|leg)$)(?:"
    r"(?:(?:hin|her|ab|an|auf|aus|ein|dar|vor|fest|bei)(?:zu|ge)?|be|er|ver|veran|über|ge|zu)?(?:schätz|schätzbar"
    r"|mess|miss|maß|stimm|wert|urteil|rechn|ziffer|schlag|taxier|setz|stuf|quantifizier|liefer|geb"
    r"|gib|zähl|leg|füll|nehm|nimm|nomm|fass|mach|spruch|deck|reich|trag|träg|trug|lieg|leg|weg|wog"
    r"|schwank|variier|pendel|pendl|streu|teil|sprech|sprich|sproch|resultier|imponier|präsentier"
    r"|stell|zeig|weis|wies|find|fund|biet|lauf|läuf|lief|nenn|nann|notier|merk|dokumentier"
    r"|protokollier|halt|hält|diktier|seh|steh|stand)(?:s?e?[nt]?|te[nt]?|ende?)$"
    r"|(?:r?é?(?:estim|évalu|mesur|chiffr|cot|calcul|quantifi|dénombr|compt|occup|combl|vari|oscill"
    r"|fluctu|étal|situ|élèv|élev|mont|approch|avoisin|frôl|dépass|avanc|retrouv|relev|not|observ|montr"
    r"|form|totalis|plac|évoqu|apport|couvr|renferm|comport|offr|rempl|constitu|représent|appréci|établ"
    r"|révèl|fourn|donn|arrêt|fix|port|lu)(?:er?|é|ée?s|ent|ant|ons|ait|aient|era|it|ir|is|ie?s?|issent))$)"
)
SPECIMENS = """
clot koagel koagulum clot clots block cellblock gerinnsel caillot blutgerinnsel
aspirate asp aspirate aspirates aspirated smear smears particle particles spicule spicules film
 films bma aspirat ausstrich ausstriche aspirationszytologie bröckel myélogramme frottis grumeaux
 flecks crumbs units
touch touch imprint imprints squash crushprep dab roll tupfpräparat abklatsch abtupfpräparat
 abrollpräparat
 empreinte empreintes apposition appositions
blood blood peripheral
other node nodes liver spleen skin lung mass csf fluid mri mr pet imaging radiology amputation
 splenectomy necropsy autopsy
bones rib ribs vertebra vertebrae vertebral femur femoral humerus humeral tibia tibial
 fibula fibular ulna sternum sternal skull calvarium calvarial cranial mandible mandibular
 maxilla maxillary clavicle clavicular sacrum sacral scapula scapular pubis pubic acetabulum
 acetabular wirbel wirbelkörper rippe femurkopf oberschenkel brustbein schädel vertèbre vertébral
 vertébrale côte fémur fémoral fémorale crâne
"""  # material that is not the core
MONTHS = words_of(
    "january february march april may june july august september october november december"
)
# of the name of a field: which end of a range it holds
LOW_ENDS = ("min", "minimum", "low", "lower", "lo", "from")
HIGH_ENDS = ("max", "maximum", "high", "upper", "hi", "to")
# of a heading only: what else is biopsied
ORGANS = words_of(
    """kidney kidneys breast prostate stomach colon duodenum thyroid pleura pancreas bladder uterus
    testis ovary tonsil thymus heart muscle brain niere leber milz lymphknoten haut rein foie rate
    ganglion peau"""
)
GENERAL = words_of(
    """background lecture étude examen aspect consult consultation dx power dictation dictated
    diagnosis diagnoses microscopic microscopy microscopical view
    description findings finding comment comments conclusion summary interpretation report
    reports results result ergebnis ergebnisse résultats synoptic final pathologic pathological
    pathology morphologic
    morphology morphological integrated surgical central local consultant hematopathology
    haematopathology adult pediatric addendum amended amendment corrected supplementary
    supplemental procedure note component observation value dataset proforma form checklist
    worksheet bmat diagnostic text body narrative answer template befund beurteilung diagnose
    mikroskopie histologie kommentar conclusion résultat compte rendu opinion recommendation
    recommendations zusammenfassung beschreibung bericht kritischer centrally attending staff
    pathologist on in and the as of for with signed received section laboratory lab complément"""
)
# how a word begins that marks a correction
CORRECTIONS = words_of(
    """correct korr corrig berichtig rectif amend revis errat typo mistyp misprint tippfehler
    schreibfehler coquille nachtrag nachbericht addend supplem supplém complém ergänz"""
)
# what is not to be used: a report, a figure, a core
VOID = (
    r"(?:null and )?void(?:ed)?\b|retract|withdr(?:aw|ew)|rescind|cancel|deleted|invalid"
    r"|strike (?:this|that|it)|disregard(?!ing)|ignored|entered in error"
    r"|(?:do|can|must|should|is|are|may)(?: ?not|n't) (?:be |to be )?(?:used?|rel(?:y|ied)|consider"
    r"|count|tak(?:e|en) into)"
    r"|ungültig|hinfällig|zurückgezogen|zurückgenommen|widerrufen|storniert|nichtig"
    r"|nicht (?:berücksichtigt|verwendet|gewertet)|annulée?|retirée?"
    r"|(?:non|pas) (?:prise?|retenue?)"
)
# stems of words near which a cellularity may stand, be corrected or be taken back
# "CELL: 60%", "50% cell."
_SHORT = re.compile(
    r"cell(?<!\wcell)(?:(?<=% cell)s?(?!\w)|\.? ?\(?%|'?t?y\b|\b[:.]{0,2} ?[~<>]?\d|\.(?:\t| [ |])"
    r"|(?:(?<=is cell)|(?<=are cell))s\b"
    r"|s,?:? (?:(?:at|is|are|of|make|making|up|to) ){0,2}[~<>]?\d)"
)
_STEMS = (
    CORRECTIONS
    | words_of(
        "ellu elul eluar zell d-forming parenchym blutmark sanguiform intertrabec emopo ematopo "
        "ämatop ématop blutbild fett fat graisse adipo richesse markraumf ocell rcell sic; "
        "withdraw disregard retract"
    )
    | {"cell content", "cell density", "by cells", "cent cells", "with cells"}
    | {f"{of} {space}" for of in ("marrow", "medullary", "the") for space in ("space", "area")}
    | {"red marrow", "active marrow", "markraum", "marrow compartment"}
    | {f"{sign} {full}" for sign in ("%", "cent") for full in ("full", "filled", "packed")}
)
# of the grammar: what leads away, sites for certain, filled by another, left over
AWAY = words_of(
    """because by near beneath beside toward on after following post despite upon per at where to
    via using from since bei nach durch sur par après"""
)
STRONG = words_of("marrow space spaces core cores biopsy biopsies trephine section sections")
TAKEN = words_of("involved infiltrated represented occupied replaced accounted occupé infiltrée")
LEFT_OVER = words_of("residual remaining remnant surviving preserved normal restliche résiduelle")
# before a figure, also behind a bound and within a range
HEDGE = (
    r"(?:about|around|approx(?:imately|\.)?|roughly|nearly|almost|some|perhaps|maybe|an estimated"
    r"|circa|ca\.|etwa|rund|environ)"
)
REMARKS = words_of(
    """note notes comment comments remark remarks discussion recommendation recommendations opinion
    guidance information kommentar anmerkung hinweis commentaire remarque correlation"""
)
EVENTS = words_of("diagnosis relapse remission screening")  # of a title: what the visit is for
HISTORY = words_of(
    """history pre pretreatment clinical indication indications background outside referring
    previous prior earlier copied past anamnese vorbefund antécédents clinique klinische"""
)
# Words by which a text is known to be in a language; of a tongue not read, enough to tell it.
_TELLING = {
    "en": "the of and is with are in for marrow was no by biopsy cells",
    "de": "der die das und ist mit von bei ohne im des nicht kein zellen mark",
    "fr": "le la les des et est une dans du de avec sans moelle pour",
    "other": "el los las con una del en es sin médula ósea celularidad il della di che nel con "
    "senza midollo uma da do não com são medula het van een met niet beenmerg zonder og er av "
    "med ikke i på jest nie szpik kostny oraz",
}
WORDS = by_word(TONGUES) | by_word(CLASSES)
KINDS = by_word(SPECIMENS)
KINDS |= {
    lead + word: KINDS[word]  # "Aspiratgerinnsel"
    for lead in ("aspirat", "aspirations", "knochenmark", "knochenmarks", "mark", "partikel")
    for word in ("clot", "clots", "koagel", "koagulum", "gerinnsel", "ausstrich", "ausstriche")
}
WORDS |= dict.fromkeys(KINDS, "S")
_TELLS = {
    word: [name for name, said in _TELLING.items() if word in said.split()]
    for word in " ".join(_TELLING.values()).split()
}
READ = ("en", "de", "fr")
_COUNTING = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen|null ein zwei drei vier fünf sechs sieben
acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn
neunzehn|zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize
quatorze quinze seize"""
_TENS = """twenty thirty forty fifty sixty seventy eighty ninety|zwanzig dreißig vierzig fünfzig
sechzig siebzig achtzig neunzig hundert|vingt trente quarante cinquante soixante -
quatre-vingt - cent"""
# words whose sum is a number: "fifty five", "fünf und dreißig", "soixante et onze"
NUMBERS: dict[str, int] = {"nil": 0, "fourty": 40, "une": 1, "vingts": 20, "quatre-vingts": 80}
for _said in _COUNTING.split("|"):
    NUMBERS |= {word: n for n, word in enumerate(_said.split())}
for _said in _TENS.split("|"):
    NUMBERS |= {word: 10 * n for n, word in enumerate(_said.split(), 2) if word != "-"}
NUMBERS |= {"one hundred": 100, "a hundred": 100, "hundred": 100, "dreissig": 30}
WORDS |= {word: "q" for word, n in NUMBERS.items() if n >= 20 and word not in WORDS}
# capitals are often set without accents: "HEMATOPOIETIQUE"
ACCENTS = str.maketrans("àâçéèêëîïôöùûüä", "aaceeeeiioouuua")
WORDS |= {
    plain: letter
    for word, letter in list(WORDS.items())
    if (plain := word.translate(ACCENTS)) not in WORDS
}
FRACTIONS = {"half": 2, "halves": 2, "hälfte": 2, "moitié": 2, "third": 3, "tier": 3, "drittel": 3}
FRACTIONS |= {
    "quarter": 4,
    "quart": 4,
    "viertel": 4,
    "fourth": 4,
    "fifth": 5,
    "tenth": 10,
    "sixth": 6,
    "eighth": 8,
}
FRACTIONS |= {"fünftel": 5, "zehntel": 10, "cinquième": 5, "dixième": 10}


# "celularidad", "celularidade", "cellularità", "cellulariteit"
_FOREIGN = re.compile(r"\bcell?ularit?(?:à|dade?|eit)\b")


def language(folded: str) -> str:
    """'en', 'de' or 'fr', or 'other': the language whose small words are the most in the text."""
    lead = folded[:2_000]
    if " the " in lead and " of " in lead and " and " in lead:
        return "en"  # no other tongue has all three
    words = lead.split()
    counts = dict.fromkeys(_TELLING, 0.0)
    for word in filter(_TELLS.__contains__, words):
        for name in _TELLS[word]:
            counts[name] += 1 / len(_TELLS[word])
    best = max(counts, key=lambda name: counts[name])
    told = {word for word in words if best in _TELLS.get(word, ())}
    if len(words) < 8 or counts[best] < 3 or (best == "other" and len(told) < 3):
        latin = sum(word[0] < "\u0250" for word in words)
        if _FOREIGN.search(lead):
            return "other"
        return "en" if 2 * latin >= len(words) else "other"
    return best


def is_left_over(word: str) -> bool:
    """Whether a word says that another has filled the rest: "residual", "Resthämatopoese"."""
    return word in LEFT_OVER or word.startswith(("resth", "restb"))


def triggers_in(folded: str) -> list[int]:
    """Where words stand that a cellularity may stand by, be corrected or be taken back near."""
    found = []
    for stem in _STEMS:
        at = folded.find(stem)
        while at >= 0:
            found.append(at)
            at = folded.find(stem, at + len(stem))
    return sorted(found + [match.start() for match in _SHORT.finditer(folded)])
