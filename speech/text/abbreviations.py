"""Word lists that tell whether a full stop ends a sentence or belongs to an abbreviation.

One list for all languages, because the language of a quotation or a name is not known, and what a language
changes of it where the language of the text is known (``CHANGES``). Written without the last full stop. An
entry in lower case stands for any case; one with a capital ("Sun") is an abbreviation only when it is written
with one, because in lower case it is an ordinary word. What is an ordinary word in either case ("no", "in")
is in the lists that also look at the digits beside it.

Abbreviations with full stops inside ("U.S", "z.B", "S.p.A") and single letters ("J", "p") need no entry:
``speech.text.sentences`` knows them by their form as abbreviations that may end a sentence.
"""

from __future__ import annotations

from typing import NamedTuple


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the last word of a sentence: something has to follow.
CONNECTORS = _words("""
    e.g i.e viz cf vs a.k.a aka w.r.t n.b p.s approx incl excl esp
    z.b d.h bzw ca sog vgl insb evtl ggf inkl exkl zzgl abzgl geb
    p.ex c.-à-d
    p.ej p.es
    bijv d.w.z o.a
    t.ex f.eks dvs d.v.s bl.a
    np tzn tzw tj
    т.е т.н напр
""")

# Stand before a name, also before one that is an ordinary word elsewhere: "Dr. No", "Dr. He".
TITLES = _words("""
    mr mrs ms mx messrs mssrs dr drs prof profs rev Hon Sen Sens Rep Reps Gov Govs Gen Gens Col Cols capt cpt
    lt Maj cmdr cdr comdr sgt cpl pvt pfc adm brig supt insp Pres amb ald atty attys asst Det Fr br
    wm geo chas Jas thos robt
    hr hrn frl fam dipl ing Mag med habil
    mme mmes mlle mlles mgr
    sra srta srs sres sras Dra Dras dres dña ud uds vd vds lic arq profa mtro gral cnel tte excmo excma
    sigg sig.ra sig.na dott dott.ssa prof.ssa avv geom
    exmo exma dhr mevr mw św ks ul ул г-н акад
    डॉ प्रो
""")

# Stand before a number, a letter or a roman numeral; before another word they may end a sentence.
REFERENCES = _words("""
    vol vols nos fig figs eq eqs eqn eqns ch chs chap chaps sec secs sect sects pp pg pgs par para paras
    ref refs ver op tel ext apt rm rte hwy n° est max min temp avg
    nr nrn bde abb abs kap tab tabl ziff anm aufl hrsg
    pág págs núm pag pagg kl godz стр рис табл гл тел
""")

# As above, but also ordinary words, so only a digit or a roman numeral makes them abbreviations.
REFERENCES_BEFORE_DIGITS = _words("no art arts app cap bk pt pts ex Mo Di Mi Do Sa So")

NUMBER_WORDS = _words("One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve")

# Put an end to a list: a capital after them starts a sentence, whichever word it is.
LIST_ENDS = _words("""
    etc usw usf u.v.m u.ä o.ä ecc enz osv m.m itd itp atd apod т.д т.п
""")

# Names of months after the day: "5. jan.", "5 ott.", "5 янв.".
MONTHS_AFTER_DAY = _words("""
    jan feb febr mar mars apr maj jun juni jul aug sep sept oct okt nov dec des dez janv févr avr juil déc
    ene abr ago dic gen genn febb mag giu lug set sett ott fev mai out
    stycz lut kwiec czerw lip sierp wrzes wrześ pazdz paźdz listop grudz
    ιαν φεβ μαρτ απρ ιουν ιουλ αυγ σεπ οκτ νοε δεκ янв февр апр авг сент окт нояб дек
""")

# Units of measure, after a number only: "5 in." but "come in.".
UNITS = MONTHS_AFTER_DAY | _words("""
    in ft yd yds mi lb lbs oz pt pts qt qts gal tsp tbsp min mins sec secs hr hrs std sek wk wks yr yrs mo mos
    sq cu fl km cm mm kg mg ml mio mrd tsd mln mld tys tyś mill milj тыс млн млрд руб коп мин сек
    εκ δισ χιλ كم كلم سم ملم كجم كغ
""")

TIME_ZONES = _words("""
    EST EDT ET CST CDT CT MST MDT MT PST PDT PT GMT UTC BST CET CEST EET IST JST AEST
    Eastern Central Mountain Pacific Greenwich Zulu
""")

MONTHS = _words("""
    Jan Feb Febr Mar Apr Jun Jul Aug Sep Sept Oct Okt Nov Dec Dez
    janv févr avr juil déc ene abr dic genn febb giu lug ott
""")
WEEKDAYS = _words("Mon Tue Tues Wed Weds Thu Thur Thurs Fri Sat Sun")
MONTH_NAMES = _words("""
    January February March April May June July August September October November December
    Januar Jänner Februar März Mai Juni Juli Oktober Dezember
    januar februar marts mars april maj mai juni juli august augusti september oktober november
    desember december
""")
DAY_NAMES = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

# Times of day: as LIST_ENDS, but a zone, a day or a month goes on with the sentence: "5 p.m. EST".
TIMES = _words("a.m p.m")
WITH_TIMES = TIME_ZONES | MONTHS | WEEKDAYS | MONTH_NAMES | DAY_NAMES

# Everything else that goes on unless the next word is one that starts sentences.
OTHERS = (
    MONTHS
    | WEEKDAYS
    | _words("""
    jr sr sig esq inc ltd llc co corp bros plc assn assoc dept dist div est'd govt gov't intl int'l natl nat'l
    mfg mgr univ inst acad ed eds edn trans al seq ibid misc resp hist oz lb lbs fl
    st ft mt mtn mts ste ave blvd bldg rd ln hway fwy expy pkwy plz sq Pl str
    Calif Mass Fla Ariz Ala Ark Colo Conn Del Ga Ia Ill Ind Kan Kans Ky La Md Me Mich Minn Miss Mo Mont Neb
    Nev Okla Ore Pa Penn Penna Tenn Tex Va Vt Wash Wis Wisc Wyo Ont Que
    chr jh jhd jhdt gest verh bspw kath ev
    env apr av bd éd tél
    ej avda apdo uu ee aprox cía ltda lda
    nl bv
    il др проф гг
""")
)

# Words with a capital that start a sentence far more often than they follow an abbreviation.
STARTERS = _words("""
    A About After Again Also Although An And Another Are As At Because Before Besides Both But By Can Could
    Did Do Does During Each Even Every Everybody Everyone Finally For From Had Has Have He Her Here His How
    However I If In Indeed Instead Is It Its Just Later Like Many Maybe Meanwhile Most My Next No Nobody Not
    Nothing Now On Once Only Or Our Perhaps She Should Since So Some Somebody Someone Sometimes Soon Still
    Suddenly That The Their Then There Therefore These They This Those Though Thus To Today Tomorrow Tonight
    Under Unfortunately Until We Well Were What When Where Whether Which While Who Why With Without Would
    Yesterday Yes Yet You Your
    Aren Couldn Didn Doesn Don Isn Let Shouldn Wasn Weren Won Wouldn C' J' L' N' Qu' S'

    Aber Als Am An Auch Auf Bei Bis Da Dann Danach Das Dass Dem Den Der Deshalb Die Dies Diese Dieser Dieses
    Doch Ein Eine Einer Einmal Er Es Für Hier Ich Ihr Im Ist Jetzt Man Mit Nach Nicht Noch Nun Nur Ob Oder
    Seine Seit Sie Sind Und Unter Viele Vom Von Vor War Warum Was Weil Wenn Wer Wie Wir Wo Zu Zum Zur

    Alors Après Au Aussi Avant Avec Ce Ceci Cela Cet Cette Ces Comme Dans De Depuis Des Donc Du Elle Elles En
    Enfin Et Il Ils Je Le Les Leur Mais Même Nous Où Par Pendant Pour Pourquoi Puis Quand Quel Quelle Qui Sans
    Si Son Sur Tous Tout Très Tu Un Une Vous

    Ahora Al Algunos Allí Antes Aquí Así Aunque Como Con Cuando De Desde Después Donde El Ella Ellas Ellos
    Entonces Era Es Esa Ese Esta Este Esto Fue Ha Hasta Hay La Las Lo Los Luego Mi Mientras Muchos Muy No
    Nosotros Nunca Para Pero Por Porque Pues Que Según Ser Si Sí Sin Su Sus También Todo Todos
    Un Una Usted Ya Yo

    Anche Che Chi Con Cosa Così Da Dal Del Di Dopo È Gli Il Io Lei Lui Loro Ma Nel Noi Non Ora Per Perché
    Poi Quando Questa Questo Quindi Se Sono Tutti Uno Voi
    As Até Com Depois Ela Ele Eles Eu Isso Isto Mas Não Na No Nós O Os Ou Quem São Seu Também Uma
    Daar Dan Dat De Deze Dit Een Er Geen Het Hij Hoe Ik Maar Met Naar Niet Of Om Ook Toen Van Waar Waarom Wat
    We Wij Zij Ze
    Den Det Och Han Hon Jag Jeg Vi Men Og Hun Ale On Ona Ono Jest Nie To Potem

    А Без Был Была Было Были В Вот Все Всё Вы Где Да Для До Его Если Её Ещё За Здесь И Из Или К Как Когда
    Мы На Не Нет Но О Он Она Они Оно От По Поэтому После Потом При С Сейчас Так Там То Тогда Ты У Что Это Я
""")

# The starters that are nobody's name: only these end a sentence after a title.
STARTERS_AFTER_TITLE = _words("""
    Although And Because But His However If It Its Our Since That Their Then There These They This Those
    The Thus We When While Your
    Aber Dann Danach Das Dass Deshalb Dies Diese Jetzt Und Wenn Wir
    Alors Cela Cette Mais Nous Puis Pero Luego Entonces Después Porque Poi Ma Maar Toen Men Потом Но
""")

# Words before a German or Scandinavian ordinal: "der 2. Weltkrieg", "am 3. Oktober".
ORDINAL_DETERMINERS = _words("""
    der die das dem den des am im vom zum zur beim ins ein eine einen einem einer jeder jeden
""")


class Changes(NamedTuple):
    """What a language changes of the lists above."""

    # Ordinary words of the language that are abbreviations in another: they stay only in lists that look at a
    # digit beside them.
    words: frozenset[str] = frozenset()
    # Further entries, of lists that are not for the other languages: they would be ordinary words there.
    connectors: frozenset[str] = frozenset()
    titles: frozenset[str] = frozenset()
    list_ends: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


CHANGES = {
    "ar": Changes(list_ends=_words("إلخ الخ"), others=_words("هـ")),
    "da": Changes(
        words=_words("Jan al ed il med min op par sig ud"),
        connectors=_words("ang bl.a ca ekskl eksl evt f.eks fx hhv inkl jf mht pga vedr"),
        list_ends=_words("m.fl m.v o.lign osv"),
        others=_words("""
            adr afd alm ank cand dr.phil eftf egl forts kgl maks mia nuv omr opr skr tidl udg årg årh
        """),
    ),
    "de": Changes(
        words=_words("Jan"),
        titles=_words("Fa Univ.-Prof"),
        connectors=_words("bes einschl entspr exkl gem mind od rd sogen urspr vorm wg"),
        list_ends=_words("dergl desgl u.dgl o.dgl"),
        others=_words("""
            allg anl ausg ehem eigtl engl etw forts franz gegr ges gest gez griech inh ital jg lat od österr
            röm schweiz sen span staatl städt stellv Univ verf zit zul zzt
        """),
    ),
    "el": Changes(
        connectors=_words("βλ δηλ λ.χ π.χ πρβλ"),
        titles=_words("αγ δρ κ κα καθ κος λεωφ οδ πλ στρ"),
        list_ends=_words("κ.ά κ.λπ κ.ο.κ κ.τ.λ κλπ κτλ"),
        others=_words("αι αρ αριθ εικ κεφ σελ τηλ"),
    ),
    "en": Changes(others=_words("d.phil hosp mex scil NE NW SE SW")),
    "es": Changes(
        words=_words("ave para par ver"),
        titles=_words("""
            Arq Cap Ctra Dir Hna Hno Hnos Ing Lcda Lcdo Lda Ldo Mons pbro pdta pdte Sto Sta Sgto
        """),
        connectors=_words("máx mín"),
        others=_words("""
            admón apdo cdad cra ctra dcha dcho depto dpto ed ext fdo gob Dom Jue Lun Mar Mié Sáb Vie párrf
            izda izdo izq nov oct párr pl ppal prov pza sept trad
        """),
    ),
    "fi": Changes(
        words=_words("Jan"),
        connectors=_words("eaa ekr em esim huom jkr klo ko ks lk mm n nk ns nyk puh synt ts vrt"),
        titles=_words("""
            alik arkkit ev.luutn hra joht kapt kers luutn maist maj nti os prof rva siht toht toim toim.joht
            tri vänr vääp ylik ylil
        """),
        list_ends=_words("jne tms ym yms"),
        others=_words("alk alkup ent ilm jatk kirj myöh suom toim ev.lut"),
    ),
    "fr": Changes(
        words=_words("est par sec"),
        titles=_words("Cie Ets Pr Sté boul boulev"),
        connectors=_words("env"),
        others=_words("adj ann éd fasc fém fig hab id inf lib masc sing suiv sup suppl trad"),
    ),
    "he": Changes(titles=_words("פרופ ופרופ גב וגב ד וד")),
    "hi": Changes(
        words=_words("है हैं था थी थीं थे"),
        titles=_words("""
            एच एन एफ एम एल एस आर क्यू डब्ल्यू डब्लू यू कु कै पं मि श्री श्रीमती सुश्री स्व
        """),
        others=_words("ई.पू कि.मी पृ रु सं"),
    ),
    "it": Changes(
        words=_words("ave est"),
        titles=_words("""
            Amm Arch arch Card Cav Comm Dir Egr Gent gent.ma gent.mo gen ill.mo Ing Mons on On Rag rag Sen
            Serg Spett Ten
        """),
        connectors=_words("es cfr"),
        others=_words("""
            all artt cit cod es ext fig figg int num pref reg suppl trad voll dom gio lun mer sab ven
        """),
    ),
    "ms": Changes(
        connectors=_words("cth mis"),
        titles=_words("En Hj Hjh Ir Pn Sdr Tn Ust YAB YB"),
        list_ends=_words("dkk dll dsb dst spt"),
    ),
    "nl": Changes(
        words=_words("Jan al min op ver"),
        connectors=_words("""
            afb bijl evt excl incl m.a.w m.b.t m.n nl o.a resp t.a.v t.g.v t.o.v vgl z.g zgn
        """),
        titles=_words("ds em fam ir kard kapt mr mw"),
        list_ends=_words("e.d enz etc"),
        others=_words("afd afl alg betr eig geb gem ong temp vert"),
    ),
    "no": Changes(
        words=_words("Jan al av ed med min par tab"),
        connectors=_words("ang bl.a ca dvs ekskl ev evt f.eks iht inkl jf mht pga vedr"),
        list_ends=_words("m.fl m.m o.l osv"),
        others=_words("adm adr alm avd forf forts kgl maks mva omtr oppr tidl utg årg årh"),
    ),
    "pl": Changes(
        words=_words("Jan co dres par"),
        connectors=_words("im m.in ok por pt tzn tzw wg zob"),
        titles=_words("""
            abp al arcybp bł bp dyr gen hab inż kard ks mec mgr os pl płk por ppłk pow red sierż woj
        """),
        others=_words("ang franc łac maks mies niem rozdz ros ryc rys tłum ur wyd"),
    ),
    "pt": Changes(
        words=_words("ave para par ver"),
        titles=_words("Arq Av Cap Cel Des Eng Exma Ilma Ilmo Pça Pe R Rod Sarg Sta Sto Ten"),
        connectors=_words("máx mín"),
        others=_words("abr ago ap cód depto dez ed fev nov obs out prov séc tb trad"),
    ),
    "ru": Changes(
        connectors=_words("им см ср т.е т.к т.н"),
        titles=_words("акад ген доц инж им кап лейт о обл пл полк пос пр просп проф респ св тов"),
        list_ends=_words("др пр т.д т.п"),
        others=_words("""
            Род ок англ букв вост греч долл зап изд инст ист канд корп лат напр нем обл прим ред рус ст ун-т
            фр франц экз
        """),
    ),
    "sv": Changes(
        words=_words("Jan al av ed ej med min par sig tab"),
        connectors=_words("""
            ang bl.a ca d.v.s dvs enl exkl f.d ff fr.o.m inkl jfr kl m.a.o p.g.a resp s.k t.ex t.o.m
        """),
        list_ends=_words("m.fl m.m osv"),
        others=_words("avd forts förf nuv obs omkr prel trol uppl urspr utg vard"),
    ),
    "sw": Changes(
        titles=_words("Bi Bw Dkt Mch Mhe Mwl Prof"),
        connectors=_words("k.m k.v taz"),
        list_ends=_words("n.k"),
        others=_words("Na Sh uk"),
    ),
    "tr": Changes(
        words=_words("al av ev il ver vs"),
        connectors=_words("bkz krş örn"),
        titles=_words("""
            Alb Apt Arş Asb Av Bn Bul Cad Doç Ecz Gen Gör Hz Mah Mim Müh Org Öğr Sn Sok Ütğm Uzm Yrd Yzb
        """),
        list_ends=_words("vb vd vs"),
        others=_words("alm ark bs Çev fr ing Kat mad osm"),
    ),
}
# A full stop makes an ordinal: "3. maj", "19. århundrede", "3. toukokuuta", "19. yüzyıl".
WITH_ORDINALS = frozenset({"da", "de", "fi", "no", "pl", "tr"})
# Dates are written with full stops: how many digits the numbers before them have, "5. 3. 2024", "2024. 3. 5."
LONGEST_OF_DATE = {**dict.fromkeys(WITH_ORDINALS, 2), "ko": 4}
# Ordinals before names, which have capitals: "II. Mehmet".
WITH_ORDINALS_BEFORE_NAMES = frozenset({"tr"})
