"""What the normalisation needs to know of each language: words for signs, sums of money, times and dates.

Number words are not here (``numbers``), and neither are the names of months and units, which come from CLDR
(``cldr``). Words stand as they are spoken in a running text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, eq=False)  # hashable: the same language is the same object
class Language:
    """The words and conventions of one language. Where a word is empty, the sign stays as written."""

    code: str
    locale: str  # of CLDR's rules and names
    decimal: Literal[".", ","]  # the decimal mark
    point: str  # its name
    minus: str
    plus: str
    percent: str  # with "{}" for the number
    permille: str
    and_: str
    at: str  # in an e-mail address
    dot: str  # in an address or a version
    to: str  # between the ends of a range
    number: str  # before a number, for "#", "№" and "No."
    signs: str  # "=", "<", ">", "×", "÷", "±", "≈", "≤", "≥", separated by "|"
    over: str  # "{n}" over "{d}" for a fraction that has no name
    fractions: str  # 1/2, 1/3, 2/3, 1/4, 3/4, separated by "|"; empty: all as ``over``
    # Money: "sign plural forms/plural forms of the hundredth", separated by ";". Forms are separated by "|" in
    # the order of ``plurals``; a letter and a colon before them is their gender.
    money: str
    # Times: of hour and minute, of a full hour; "{h}" and "{m}".
    time: str
    full_hour: str
    hour_form: str = ""  # gender of the hour, or "native" for Korean
    money_and: str | None = None  # between the unit and its hundredths; None: as ``and_``
    plurals: str = "one|other"  # names of the plural categories in ``money``, see CLDR
    decimals: Literal["digits", "group"] = "group"  # how the digits after the mark are read
    # Date: "{d}", "{m}", "{y}"; and without the year.
    date: str = "{d} {m} {y}"
    day_form: str = "cardinal"  # "cardinal", "ordinal", "first" (the first alone is ordinal), ...
    day_gender: str = ""
    first: str = ""  # what the first day of a month is called; empty: as others
    day_mark: str = ""  # a pattern of what may follow the day: "\\." in "3. Mai"
    month_link: str = ""  # a pattern of what stands between day and month, or month and year: "de"
    ordinals: tuple[tuple[str, str], ...] = ()  # pattern of a suffix, form of the ordinal
    abbreviations: Mapping[str, str] = field(default_factory=dict)
    closing: str = ""  # those of ``abbreviations`` that may end a sentence
    units: str = ""  # symbols of the language's own script, "км=km", see ``cldr.UNITS``
    number_abbreviations: str = ""  # patterns of what stands for ``number`` before a digit
    titles: Mapping[str, str] = field(default_factory=dict)  # said when a name follows
    year_before: str = ""  # words after which four digits are a year
    year_after: str = ""  # words before which four digits may be a year
    scales: str = ""  # words of large numbers after a sum of money
    of: str = ""  # between such a word and a currency: "million d'euros"
    genders: str = ""  # of units that have not the usual one: "f:hour minute;n:gram"
    gender: str = ""  # of most units
    is_spaced: bool = True  # whether words stand apart


_EN = Language(
    code="en", locale="en", decimal=".", point="point", decimals="digits",
    minus="minus", plus="plus", percent="{} percent", permille="{} per mille",
    and_="and", at="at", dot="dot", to="to", number="number",
    signs="equals|less than|greater than|times|divided by|plus or minus|approximately"
    "|less than or equal to|greater than or equal to",
    over="{n} over {d}", fractions="one half|one third|two thirds|one quarter|three quarters",
    money="$ dollar|dollars/cent|cents;€ euro|euros/cent|cents;£ pound|pounds/penny|pence;¥ yen|yen"
    ";₹ rupee|rupees/paisa|paise;₽ ruble|rubles/kopek|kopeks;₩ won|won;CHF Swiss franc|Swiss francs/centime|centimes",
    time="{h} {m}", full_hour="{h} o'clock",
    date="{m} {d}, {y}", day_form="ordinal",
    ordinals=(("st|nd|rd|th", ""),),
    abbreviations={
        "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "approx.": "approximately",
        "w/o": "without",
    },
    closing="etc.",
    number_abbreviations="No\\.|no\\.|Nr\\.|№",
    titles={"Dr.": "Doctor", "Prof.": "Professor"},
    year_before="in|since|by|until|till|from|of|year|during|after|before|around|circa|to|between|and|class"
    "|spring|summer|autumn|fall|winter|early|late|mid|for|on|"
    "january|february|march|april|may|june|july|august|september|october|november|december",
    year_after="was|is|were|are|will|would|has|had|and|or|to|until|the|a|an|when|but|that|which|who|they|he|she|it|"
    "we|i|in|at|on|by|as|with|for|after|before|election|season|edition|model|census|film|movie|novel|album|war|"
    "olympics|championship|championships|budget|report|act",
    scales="thousand|million|billion|trillion",
)
_DE = Language(
    code="de", locale="de", decimal=",", point="Komma", decimals="digits",
    minus="minus", plus="plus", percent="{} Prozent", permille="{} Promille",
    and_="und", at="at", dot="Punkt", to="bis", number="Nummer",
    signs="gleich|kleiner als|größer als|mal|geteilt durch|plus minus|ungefähr|kleiner gleich|größer gleich",
    over="{n} durch {d}", fractions="ein halb|ein Drittel|zwei Drittel|ein Viertel|drei Viertel",
    money="$ m:Dollar|Dollar/m:Cent|Cent;€ m:Euro|Euro/m:Cent|Cent;£ n:Pfund|Pfund/m:Penny|Pence;¥ m:Yen|Yen"
    ";₽ m:Rubel|Rubel;CHF m:Schweizer Franken|Schweizer Franken/m:Rappen|Rappen",
    time="{h} Uhr {m}", full_hour="{h} Uhr", hour_form="n",
    date="{d} {m} {y}", day_form="german", day_mark="\\.",
    abbreviations={
        "z. B.": "zum Beispiel", "z.B.": "zum Beispiel", "d. h.": "das heißt", "d.h.": "das heißt",
        "u. a.": "unter anderem", "u.a.": "unter anderem", "usw.": "und so weiter", "etc.": "et cetera",
        "bzw.": "beziehungsweise", "ca.": "circa", "Mio.": "Millionen", "Mrd.": "Milliarden", "evtl.": "eventuell",
        "ggf.": "gegebenenfalls", "vgl.": "vergleiche", "inkl.": "inklusive",
    },
    closing="usw.|etc.",
    number_abbreviations="Nr\\.|№", titles={"Dr.": "Doktor", "Prof.": "Professor"},
    year_before="in|im|seit|bis|von|vom|ab|jahr|jahre|jahres|anno|um|vor|nach|zwischen|und|ende|anfang|mitte|sommer|"
    "winter|herbst|frühling|januar|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember",
    year_after="war|ist|wurde|wurden|waren|hat|hatte|und|oder|bis|gab|kam|als|der|die|das|ein|eine|in|im|an|bei|mit|"
    "noch|begann|starb|endete|geboren|gegründet|erschien",
    scales="Millionen|Million|Milliarden|Milliarde|Billionen|Mio\\.|Mrd\\.",
    genders="f:mile minute second hour tonne kilowatt-hour", gender="m",
)
_FR = Language(
    code="fr", locale="fr", decimal=",", point="virgule",
    minus="moins", plus="plus", percent="{} pour cent", permille="{} pour mille",
    and_="et", at="arobase", dot="point", to="à", number="numéro",
    signs="égale|inférieur à|supérieur à|fois|divisé par|plus ou moins|environ|inférieur ou égal à"
    "|supérieur ou égal à",
    over="{n} sur {d}", fractions="un demi|un tiers|deux tiers|un quart|trois quarts",
    money="$ m:dollar|dollars/m:cent|cents;€ m:euro|euros/m:centime|centimes;£ f:livre|livres/m:penny|pence"
    ";¥ m:yen|yens;₽ m:rouble|roubles;CHF m:franc suisse|francs suisses/m:centime|centimes",
    time="{h} heures {m}", full_hour="{h} heures", hour_form="f",
    day_form="first", first="premier",
    ordinals=(("ers?", "m"), ("re|ère", "f"), ("nde?|e|ème|eme|ᵉ", "m")),
    abbreviations={"p. ex.": "par exemple", "etc.": "et cetera", "c.-à-d.": "c'est-à-dire", "env.": "environ"},
    closing="etc.",
    number_abbreviations="n°|N°|nº|№|no\\.", titles={"Dr": "Docteur", "Pr": "Professeur"},
    scales="millions?|milliards?", of="de|d'", genders="f:hour minute second tonne pound ounce calorie kilocalorie",
    gender="m",
)
_ES = Language(
    code="es", locale="es", decimal=",", point="coma",
    money_and="con",
    minus="menos", plus="más", percent="{} por ciento", permille="{} por mil",
    and_="y", at="arroba", dot="punto", to="a", number="número",
    signs="igual a|menor que|mayor que|por|dividido entre|más menos|aproximadamente|menor o igual que"
    "|mayor o igual que",
    over="{n} sobre {d}", fractions="un medio|un tercio|dos tercios|un cuarto|tres cuartos",
    money="$ m:dólar|dólares/m:centavo|centavos;€ m:euro|euros/m:céntimo|céntimos;£ f:libra|libras/m:penique|peniques"
    ";¥ m:yen|yenes;CHF m:franco suizo|francos suizos/m:céntimo|céntimos",
    time="{h} y {m}", full_hour="{h} en punto", hour_form="f",
    date="{d} de {m} de {y}", day_form="first", first="primero", month_link="de|del",
    ordinals=(("\\.?º|\\.?°|\\.?os", "m"), ("\\.?ª|\\.?as", "f"), ("\\.?er", "adjective")),
    abbreviations={
        "p. ej.": "por ejemplo", "p.ej.": "por ejemplo", "etc.": "etcétera", "aprox.": "aproximadamente",
        "EE. UU.": "Estados Unidos", "EE.UU.": "Estados Unidos",
    },
    closing="etc.|EE. UU.|EE.UU.",
    number_abbreviations="n\\.?º|N\\.?º|núm\\.|№",
    titles={"Dr.": "doctor", "Dra.": "doctora", "Sr.": "señor", "Sra.": "señora", "Prof.": "profesor"},
    scales="millón|millones|billones", of="de", genders="f:mile hour tonne ounce pound inch yard hectare", gender="m",
)
_PT = Language(
    code="pt", locale="pt", decimal=",", point="vírgula",
    minus="menos", plus="mais", percent="{} por cento", permille="{} por mil",
    and_="e", at="arroba", dot="ponto", to="a", number="número",
    signs="igual a|menor que|maior que|vezes|dividido por|mais ou menos|aproximadamente|menor ou igual a"
    "|maior ou igual a",
    over="{n} sobre {d}", fractions="um meio|um terço|dois terços|um quarto|três quartos",
    money="$ m:dólar|dólares/m:centavo|centavos;R$ m:real|reais/m:centavo|centavos"
    ";€ m:euro|euros/m:cêntimo|cêntimos;£ f:libra|libras/m:penny|pence;¥ m:iene|ienes",
    time="{h} e {m}", full_hour="{h} horas", hour_form="f",
    date="{d} de {m} de {y}", day_form="first", first="primeiro", month_link="de",
    ordinals=(("\\.?º|\\.?°", "m"), ("\\.?ª", "f")),
    abbreviations={"p. ex.": "por exemplo", "p.ex.": "por exemplo", "etc.": "et cetera", "aprox.": "aproximadamente"},
    closing="etc.",
    number_abbreviations="n\\.?º|N\\.?º|№",
    titles={"Dr.": "doutor", "Dra.": "doutora", "Sr.": "senhor", "Sra.": "senhora", "Prof.": "professor"},
    scales="milhão|milhões|bilhão|bilhões", of="de", genders="f:mile hour tonne ounce pound inch yard", gender="m",
)
_IT = Language(
    code="it", locale="it", decimal=",", point="virgola",
    minus="meno", plus="più", percent="{} per cento", permille="{} per mille",
    and_="e", at="chiocciola", dot="punto", to="a", number="numero",
    signs="uguale a|minore di|maggiore di|per|diviso|più o meno|circa|minore o uguale a|maggiore o uguale a",
    over="{n} fratto {d}", fractions="un mezzo|un terzo|due terzi|un quarto|tre quarti",
    money="$ m:dollaro|dollari/m:centesimo|centesimi;€ m:euro|euro/m:centesimo|centesimi;£ f:sterlina|sterline/m:penny|pence"
    ";¥ m:yen|yen;CHF m:franco svizzero|franchi svizzeri/m:centesimo|centesimi",
    time="{h} e {m}", full_hour="{h} in punto", hour_form="f",
    day_form="first", first="primo",
    ordinals=(("\\.?º|\\.?°", "m"), ("\\.?ª", "f")),
    abbreviations={"ecc.": "eccetera", "ad es.": "ad esempio", "p. es.": "per esempio", "p.es.": "per esempio"},
    closing="ecc.",
    number_abbreviations="n\\.º|n°|N°|nr\\.|№", titles={"Dott.": "dottor", "Dott.ssa": "dottoressa", "Prof.": "professor"},
    scales="milione|milioni|miliardo|miliardi", of="di", genders="f:hour tonne ounce pound yard", gender="m",
)
_NL = Language(
    code="nl", locale="nl", decimal=",", point="komma",
    minus="min", plus="plus", percent="{} procent", permille="{} promille",
    and_="en", at="apenstaartje", dot="punt", to="tot", number="nummer",
    signs="is gelijk aan|kleiner dan|groter dan|keer|gedeeld door|plus of min|ongeveer|kleiner dan of gelijk aan"
    "|groter dan of gelijk aan",
    over="{n} gedeeld door {d}", fractions="een half|een derde|twee derde|een kwart|drie kwart",
    money="$ dollar|dollar/cent|cent;€ euro|euro/cent|cent;£ pond|pond/penny|pence;¥ yen|yen",
    time="{h} uur {m}", full_hour="{h} uur",
    ordinals=(("e|ste|de", ""),),
    abbreviations={
        "bijv.": "bijvoorbeeld", "d.w.z.": "dat wil zeggen", "enz.": "enzovoort", "etc.": "et cetera",
        "o.a.": "onder andere", "ca.": "circa", "m.a.w.": "met andere woorden",
    },
    closing="enz.|etc.",
    number_abbreviations="nr\\.|Nr\\.|№", titles={"Dr.": "dokter", "Prof.": "professor"},
    year_before="in|sinds|tot|van|vanaf|jaar|anno|rond|voor|na|tussen|en|begin|eind|zomer|winter|herfst|lente",
    year_after="was|is|werd|werden|waren|heeft|had|en|of|tot|kwam|toen|de|het|een|in|op|met|geboren",
    scales="miljoen|miljard",
)
_SV = Language(
    code="sv", locale="sv", decimal=",", point="komma",
    minus="minus", plus="plus", percent="{} procent", permille="{} promille",
    and_="och", at="snabel-a", dot="punkt", to="till", number="nummer",
    signs="är lika med|mindre än|större än|gånger|delat med|plus minus|ungefär|mindre än eller lika med"
    "|större än eller lika med",
    over="{n} genom {d}", fractions="en halv|en tredjedel|två tredjedelar|en fjärdedel|tre fjärdedelar",
    money="$ m:dollar|dollar/m:cent|cent;€ m:euro|euro/m:cent|cent;£ n:pund|pund/m:penny|pence"
    ";kr m:krona|kronor/n:öre|öre;¥ m:yen|yen",
    time="{h} {m}", full_hour="{h}", hour_form="n",
    day_form="ordinal", ordinals=((":e|:a", ""),),
    abbreviations={
        "t.ex.": "till exempel", "t. ex.": "till exempel", "osv.": "och så vidare", "bl.a.": "bland annat",
        "bl. a.": "bland annat", "dvs.": "det vill säga", "etc.": "et cetera", "ca": "cirka", "m.m.": "med mera",
    },
    closing="osv.|etc.|m.m.",
    number_abbreviations="nr|Nr|№", titles={"Dr.": "doktor", "Prof.": "professor"},
    year_before="i|år|året|sedan|till|från|efter|före|omkring|mellan|och|sommaren|vintern|hösten|våren",
    year_after="var|är|blev|och|eller|till|då|när|som|i|på|med|hade|har|föddes|kom",
    scales="miljon|miljoner|miljard|miljarder", genders="n:gram kilogram milligram tonne pound", gender="m",
)
_DA = Language(
    code="da", locale="da", decimal=",", point="komma",
    minus="minus", plus="plus", percent="{} procent", permille="{} promille",
    and_="og", at="snabel-a", dot="punktum", to="til", number="nummer",
    signs="er lig med|mindre end|større end|gange|divideret med|plus minus|cirka|mindre end eller lig med"
    "|større end eller lig med",
    over="{n} over {d}", fractions="en halv|en tredjedel|to tredjedele|en fjerdedel|tre fjerdedele",
    money="$ m:dollar|dollar/m:cent|cent;€ m:euro|euro/m:cent|cent;£ n:pund|pund/m:penny|pence"
    ";kr m:krone|kroner/m:øre|øre;¥ m:yen|yen",
    time="{h} {m}", full_hour="{h}", hour_form="n",
    day_form="ordinal", day_mark="\\.", 
    abbreviations={
        "f.eks.": "for eksempel", "f. eks.": "for eksempel", "osv.": "og så videre", "bl.a.": "blandt andet",
        "dvs.": "det vil sige", "etc.": "et cetera", "ca.": "cirka", "m.m.": "med mere",
    },
    closing="osv.|etc.|m.m.",
    number_abbreviations="nr\\.|Nr\\.|№", titles={"Dr.": "doktor", "Prof.": "professor"},
    year_before="i|år|året|siden|til|fra|efter|før|omkring|mellem|og|sommeren|vinteren|efteråret|foråret",
    year_after="var|er|blev|og|eller|til|da|som|i|på|med|havde|har|kom",
    scales="million|millioner|milliard|milliarder", genders="n:gram kilogram milligram minute second pound tonne", gender="m",
)
_NO = Language(
    code="no", locale="no", decimal=",", point="komma",
    minus="minus", plus="pluss", percent="{} prosent", permille="{} promille",
    and_="og", at="krøllalfa", dot="punktum", to="til", number="nummer",
    signs="er lik|mindre enn|større enn|ganger|delt på|pluss minus|omtrent|mindre enn eller lik|større enn eller lik",
    over="{n} delt på {d}", fractions="en halv|en tredjedel|to tredjedeler|en fjerdedel|tre fjerdedeler",
    money="$ m:dollar|dollar/m:cent|cent;€ m:euro|euro/m:cent|cent;£ n:pund|pund/m:penny|pence"
    ";kr m:krone|kroner/n:øre|øre;¥ m:yen|yen",
    time="{h} {m}", full_hour="{h}", hour_form="n",
    day_form="ordinal", day_mark="\\.",
    abbreviations={
        "f.eks.": "for eksempel", "f. eks.": "for eksempel", "osv.": "og så videre", "bl.a.": "blant annet",
        "dvs.": "det vil si", "etc.": "et cetera", "ca.": "cirka", "m.m.": "med mer",
    },
    closing="osv.|etc.|m.m.",
    number_abbreviations="nr\\.|Nr\\.|№", titles={"Dr.": "doktor", "Prof.": "professor"},
    year_before="i|år|året|siden|til|fra|etter|før|omkring|mellom|og|sommeren|vinteren|høsten|våren",
    year_after="var|er|ble|og|eller|til|da|som|i|på|med|hadde|har|kom",
    scales="million|millioner|milliard|milliarder", genders="n:gram kilogram milligram minute second pound tonne", gender="m",
)
_FI = Language(
    code="fi", locale="fi", decimal=",", point="pilkku",
    money_and="",
    minus="miinus", plus="plus", percent="{} prosenttia", permille="{} promillea",
    and_="ja", at="ät", dot="piste", to="viiva", number="numero",
    signs="on yhtä kuin|pienempi kuin|suurempi kuin|kertaa|jaettuna|plus miinus|noin|pienempi tai yhtä suuri kuin"
    "|suurempi tai yhtä suuri kuin",
    over="{n} per {d}", fractions="yksi kahdesosa|yksi kolmasosa|kaksi kolmasosaa|yksi neljäsosa|kolme neljäsosaa",
    money="$ dollari|dollaria/sentti|senttiä;€ euro|euroa/sentti|senttiä;£ punta|puntaa/penny|pennyä;¥ jeni|jeniä",
    time="{h} {m}", full_hour="{h}",
    day_form="ordinal", day_mark="\\.",
    abbreviations={
        "esim.": "esimerkiksi", "jne.": "ja niin edelleen", "ym.": "ynnä muuta", "ks.": "katso", "n.": "noin",
        "mm.": "muun muassa",
    },
    closing="jne.|ym.",
    number_abbreviations="nro|Nro|№",
    scales="miljoonaa|miljardia",
)
_PL = Language(
    code="pl", locale="pl", decimal=",", point="przecinek",
    money_and="",
    minus="minus", plus="plus", percent="{} procent", permille="{} promili",
    and_="i", at="małpa", dot="kropka", to="–", number="numer",
    signs="równa się|mniejsze niż|większe niż|razy|podzielić przez|plus minus|około|mniejsze lub równe|większe lub równe",
    over="{n} przez {d}", fractions="jedna druga|jedna trzecia|dwie trzecie|jedna czwarta|trzy czwarte",
    money="$ m:dolar|dolary|dolarów|dolara/m:cent|centy|centów|centa;€ n:euro|euro|euro|euro/m:cent|centy|centów|centa"
    ";£ m:funt|funty|funtów|funta/m:pens|pensy|pensów|pensa;zł m:złoty|złote|złotych|złotego/m:grosz|grosze|groszy|grosza"
    ";¥ m:jen|jeny|jenów|jena",
    plurals="one|few|many|other",
    time="{h} {m}", full_hour="{h}", hour_form="ordinal",
    day_form="polish", 
    abbreviations={
        "np.": "na przykład", "itd.": "i tak dalej", "itp.": "i tym podobne", "tzn.": "to znaczy", "m.in.": "między innymi",
        "tj.": "to jest",
    },
    closing="itd.|itp.",
    number_abbreviations="nr|Nr|№", titles={"Dr": "doktor", "dr": "doktor", "Prof.": "profesor", "prof.": "profesor"},
    scales="miliony|milionów|miliardy|miliardów",
    genders="f:mile hour minute second tonne foot kilowatt-hour ounce", gender="m",
)
_RU = Language(
    code="ru", locale="ru", decimal=",", point="запятая",
    money_and="",
    minus="минус", plus="плюс", percent="{} процент", permille="{} промилле",
    and_="и", at="собака", dot="точка", to="–", number="номер",
    signs="равно|меньше|больше|умножить на|разделить на|плюс минус|примерно|меньше или равно|больше или равно",
    over="{n} дробь {d}", fractions="одна вторая|одна треть|две трети|одна четверть|три четверти",
    money="$ m:доллар|доллара|долларов/m:цент|цента|центов;€ n:евро|евро|евро/m:цент|цента|центов"
    ";£ m:фунт|фунта|фунтов/m:пенс|пенса|пенсов;₽ m:рубль|рубля|рублей/f:копейка|копейки|копеек"
    ";¥ f:иена|иены|иен",
    plurals="one|few|many",
    time="{h} {m}", full_hour="{h} ровно", hour_form="m",
    day_form="russian",
    ordinals=(
        ("[ыи]?й|ой", "m"), ("[ая]?я", "f"), ("[ое]?е", "n"), ("[ео]?го", "genitive"), ("[ое]?му", "dative"),
        ("[ое]?м", "locative"), ("[иы]?х", "plural-genitive"), ("ые", "plural"),
    ),
    abbreviations={
        "т. е.": "то есть", "т.е.": "то есть", "и т. д.": "и так далее", "и т.д.": "и так далее",
        "и т. п.": "и тому подобное", "и т.п.": "и тому подобное", "т. к.": "так как", "т.к.": "так как",
        "напр.": "например", "руб.": "рублей",
    },
    closing="и т. д.|и т.д.|и т. п.|и т.п.|руб.",
    units='км=km м=m см=cm мм=mm кг=kg мг=mg г=g т=t л=l мл=ml км/ч=km/h м/с=m/s м²=m² км²=km² м³=m³ га=ha ч=h мин=min сек=s ГБ=GB МБ=MB ТБ=TB кВт=kW Вт=W Гц=Hz кГц=kHz МГц=MHz ккал=kcal',
    number_abbreviations="№",
    scales="миллиона|миллионов|миллиарда|миллиардов|тысяч",
    genders="f:mile minute second tonne", gender="m",
)
_EL = Language(
    code="el", locale="el", decimal=",", point="κόμμα",
    minus="μείον", plus="συν", percent="{} τοις εκατό", permille="{} τοις χιλίοις",
    and_="και", at="παπάκι", dot="τελεία", to="έως", number="αριθμός",
    signs="ίσον|μικρότερο από|μεγαλύτερο από|επί|διά|συν πλην|περίπου|μικρότερο ή ίσο με|μεγαλύτερο ή ίσο με",
    over="{n} προς {d}", fractions="ένα δεύτερο|ένα τρίτο|δύο τρίτα|ένα τέταρτο|τρία τέταρτα",
    money="$ n:δολάριο|δολάρια/n:σεντ|σεντ;€ n:ευρώ|ευρώ/n:λεπτό|λεπτά;£ f:λίρα|λίρες/f:πένα|πένες;¥ n:γιεν|γιεν",
    time="{h} και {m}", full_hour="{h}", hour_form="f",
    day_form="first", day_gender="f", first="πρώτη",
    ordinals=(("ος|oς", "m"), ("η", "f"), ("ο", "n")),
    abbreviations={"π.χ.": "παραδείγματος χάριν", "κ.λπ.": "και λοιπά", "κλπ.": "και λοιπά", "δηλ.": "δηλαδή"},
    closing="κ.λπ.|κλπ.",
    units='χλμ=km χμ=km μ=m εκ=cm χιλ=mm κιλά=kg γρ=g λτ=l χλμ/ώρα=km/h τ.μ.=m² ώ=h',
    number_abbreviations="αρ\\.|Αρ\\.|№",
    scales="εκατομμύρια|δισεκατομμύρια", genders="m:celsius fahrenheit degree tonne;f:hour inch yard ounce", gender="n",
)
_TR = Language(
    code="tr", locale="tr", decimal=",", point="virgül",
    money_and="",
    minus="eksi", plus="artı", percent="yüzde {}", permille="binde {}",
    and_="ve", at="et", dot="nokta", to="ila", number="numara",
    signs="eşittir|küçüktür|büyüktür|çarpı|bölü|artı eksi|yaklaşık|küçük eşittir|büyük eşittir",
    over="{n} bölü {d}", fractions="bir bölü iki|bir bölü üç|iki bölü üç|bir bölü dört|üç bölü dört",
    money="$ dolar|dolar/sent|sent;€ avro|avro/sent|sent;£ sterlin|sterlin/peni|peni;₺ lira|lira/kuruş|kuruş;¥ yen|yen",
    time="{h} {m}", full_hour="{h}",
    ordinals=(("['’][ıiuü]?nc[ıiuü]", ""),),
    abbreviations={"vb.": "ve benzeri", "vs.": "vesaire", "örn.": "örneğin", "bkz.": "bakınız"},
    closing="vb.|vs.",
    number_abbreviations="No:|no:|№", titles={"Dr.": "doktor", "Prof.": "profesör"},
    scales="milyon|milyar",
)
_HE = Language(
    code="he", locale="he", decimal=".", point="נקודה",
    minus="מינוס", plus="פלוס", percent="{} אחוז", permille="{} פרומיל",
    and_="ו", at="שטרודל", dot="נקודה", to="עד", number="מספר",
    signs="שווה|קטן מ|גדול מ|כפול|חלקי|פלוס מינוס|בערך|קטן או שווה|גדול או שווה",
    over="{n} חלקי {d}", fractions="חצי|שליש|שני שלישים|רבע|שלושה רבעים",
    money="$ m:דולר|דולר/m:סנט|סנט;€ m:אירו|אירו/m:סנט|סנט;£ f:לירה שטרלינג|לירות שטרלינג/m:פני|פני"
    ";₪ m:שקל|שקלים/f:אגורה|אגורות",
    time="{h} {m}", full_hour="{h}", hour_form="f",
    date="{d} ב{m} {y}", day_gender="m", month_link="ב",
    abbreviations={"וכו'": "וכולי", "וכו׳": "וכולי", "ע\"י": "על ידי", "ע״י": "על ידי"},
    units='ק"מ=km ק״מ=km ס"מ=cm ס״מ=cm מ"מ=mm מ״מ=mm ק"ג=kg ק״ג=kg מ"ר=m² מ״ר=m² קמ"ש=km/h קמ״ש=km/h',
    number_abbreviations="מס'|מס׳|№", titles={"ד\"ר": "דוקטור", "ד״ר": "דוקטור"},
    scales="מיליון|מיליארד",
    genders="f:hour minute second celsius fahrenheit degree", gender="m",
)
_AR = Language(
    code="ar", locale="ar", decimal=".", point="فاصلة",
    minus="ناقص", plus="زائد", percent="{} بالمائة", permille="{} بالألف",
    and_="و", at="آت", dot="نقطة", to="إلى", number="رقم",
    signs="يساوي|أصغر من|أكبر من|ضرب|على|زائد أو ناقص|حوالي|أصغر من أو يساوي|أكبر من أو يساوي",
    over="{n} على {d}", fractions="نصف|ثلث|ثلثان|ربع|ثلاثة أرباع",
    money="$ دولار|دولار|دولارات|دولارًا|دولار/سنت|سنت|سنتات|سنتًا|سنت;€ يورو|يورو|يورو|يورو|يورو/سنت|سنت|سنتات|سنتًا|سنت"
    ";£ جنيه إسترليني|جنيه إسترليني|جنيهات إسترلينية|جنيهًا إسترلينيًا|جنيه إسترليني",
    plurals="one|two|few|many|other",
    time="{h} و{m} دقيقة", full_hour="{h}", hour_form="ordinal",
    abbreviations={},
    units='كم=km سم=cm مم=mm كجم=kg كغ=kg كغم=kg مل=ml كم/س=km/h كم²=km² م²=m²',
    number_abbreviations="№",
    scales="مليون|ملايين|مليار",
)
_HI = Language(
    code="hi", locale="hi", decimal=".", point="दशमलव", decimals="digits",
    money_and="",
    minus="माइनस", plus="प्लस", percent="{} प्रतिशत", permille="{} प्रति हज़ार",
    and_="और", at="ऐट", dot="डॉट", to="से", number="नंबर",
    signs="बराबर|से कम|से अधिक|गुणा|भाग|प्लस माइनस|लगभग|से कम या बराबर|से अधिक या बराबर",
    over="{n} बटा {d}", fractions="आधा|एक तिहाई|दो तिहाई|एक चौथाई|तीन चौथाई",
    money="$ डॉलर|डॉलर/सेंट|सेंट;€ यूरो|यूरो/सेंट|सेंट;£ पाउंड|पाउंड/पेंस|पेंस;₹ रुपया|रुपये/पैसा|पैसे;¥ येन|येन",
    time="{h} बजकर {m} मिनट", full_hour="{h} बजे",
    ordinals=(("वां|वाँ|वें|ला|रा|था|ठा", "m"), ("वीं|ली|री|थी|ठी", "f")),
    abbreviations={},
    units='किमी=km मी=m सेमी=cm मिमी=mm किग्रा=kg ग्रा=g ली=l किमी/घंटा=km/h',
    number_abbreviations="नं\\.|№", titles={"डॉ.": "डॉक्टर", "प्रो.": "प्रोफ़ेसर"},
    scales="लाख|करोड़|अरब|हज़ार",
)
_JA = Language(
    code="ja", locale="ja", decimal=".", point="点", decimals="digits", is_spaced=False,
    money_and="",
    minus="マイナス", plus="プラス", percent="{}パーセント", permille="{}パーミル",
    and_="アンド", at="アットマーク", dot="ドット", to="から", number="ナンバー",
    signs="イコール|小なり|大なり|かける|割る|プラスマイナス|約|以下|以上",
    over="{d}分の{n}", fractions="",
    money="$ ドル|ドル/セント|セント;€ ユーロ|ユーロ/セント|セント;£ ポンド|ポンド/ペンス|ペンス;¥ 円|円;￥ 円|円;₩ ウォン|ウォン",
    plurals="other|other",
    time="{h}時{m}分", full_hour="{h}時",
    date="{y}年{m}月{d}日", scales="千|万|億|兆", number_abbreviations="№|No\\.",
)
_ZH = Language(
    code="zh", locale="zh", decimal=".", point="点", decimals="digits", is_spaced=False,
    money_and="",
    minus="负", plus="加", percent="百分之{}", permille="千分之{}",
    and_="和", at="艾特", dot="点", to="到", number="号",
    signs="等于|小于|大于|乘以|除以|正负|约|小于等于|大于等于",
    over="{d}分之{n}", fractions="",
    money="$ 美元|美元;€ 欧元|欧元;£ 英镑|英镑;¥ 元|元;￥ 元|元", plurals="other|other",
    time="{h}点{m}分", full_hour="{h}点",
    date="{y}年{m}月{d}日", scales="千|万|亿",
)
_KO = Language(
    code="ko", locale="ko", decimal=".", point="점", decimals="digits",
    money_and="",
    minus="마이너스", plus="플러스", percent="{}퍼센트", permille="{}퍼밀",
    and_="앤드", at="골뱅이", dot="점", to="에서", number="번호",
    signs="는|보다 작다|보다 크다|곱하기|나누기|플러스마이너스|약|이하|이상",
    over="{d}분의 {n}", fractions="",
    money="$ 달러|달러/센트|센트;€ 유로|유로/센트|센트;£ 파운드|파운드/펜스|펜스;₩ 원|원;¥ 엔|엔", plurals="other|other",
    time="{h} 시 {m} 분", full_hour="{h} 시", hour_form="native",
    date="{y}년 {m} {d}일", scales="만|억|조", number_abbreviations="№",
)
_MS = Language(
    code="ms", locale="ms", decimal=".", point="perpuluhan", decimals="digits",
    money_and="",
    minus="negatif", plus="tambah", percent="{} peratus", permille="{} per seribu",
    and_="dan", at="at", dot="titik", to="hingga", number="nombor",
    signs="sama dengan|kurang daripada|lebih daripada|darab|bahagi|tambah tolak|kira-kira|kurang daripada atau sama dengan"
    "|lebih daripada atau sama dengan",
    over="{n} per {d}", fractions="setengah|satu pertiga|dua pertiga|satu perempat|tiga perempat",
    money="$ dolar|dolar/sen|sen;€ euro|euro/sen|sen;£ paun|paun/peni|peni;RM ringgit|ringgit/sen|sen;¥ yen|yen",
    plurals="other|other",
    time="{h} {m}", full_hour="{h}",
    abbreviations={"dll.": "dan lain-lain", "dsb.": "dan sebagainya"},
    closing="dll.|dsb.",
    number_abbreviations="No\\.|no\\.|№", titles={"Dr.": "Doktor", "Prof.": "Profesor"},
    scales="juta|bilion|ribu",
)
_SW = Language(
    code="sw", locale="sw", decimal=".", point="nukta", decimals="digits",
    minus="hasi", plus="jumlisha", percent="asilimia {}", permille="{} kwa elfu",
    and_="na", at="at", dot="nukta", to="hadi", number="namba",
    signs="sawa na|chini ya|zaidi ya|mara|gawanya kwa|jumlisha au toa|takriban|chini ya au sawa na|zaidi ya au sawa na",
    over="{n} juu ya {d}", fractions="nusu|theluthi moja|theluthi mbili|robo moja|robo tatu",
    money="$ <dola|dola/<senti|senti;€ <yuro|yuro/<senti|senti;£ <pauni|pauni/peni|peni;KSh <shilingi|shilingi/<senti|senti"
    ";¥ <yeni|yeni",
    time="saa {h} na dakika {m}", full_hour="saa {h}",
    abbreviations={"n.k.": "na kadhalika", "k.m.": "kwa mfano"},
    closing="n.k.",
    number_abbreviations="Na\\.|№", titles={"Dkt.": "Daktari", "Prof.": "Profesa"},
    scales="milioni|bilioni|elfu",
)
LANGUAGES: dict[str, Language] = {
    each.code: each
    for each in (
        _AR, _DA, _DE, _EL, _EN, _ES, _FI, _FR, _HE, _HI, _IT, _JA, _KO, _MS, _NL, _NO, _PL, _PT, _RU, _SV, _SW, _TR, _ZH,
    )
}
# What differs by region. Any other region is read as its language.
REGIONS: dict[str, Language] = {
    "pt-pt": replace(_PT, locale="pt_PT"),
    "es-mx": replace(_ES, decimal=".", point="punto"),
}


def language_of(tag: str) -> Language | None:
    """Returns what is known of a language by its tag ("en", "pt-BR", "zh_CN"); None: nothing."""
    tag = tag.lower().replace("_", "-")
    return REGIONS.get(tag) or LANGUAGES.get(tag.partition("-")[0])
