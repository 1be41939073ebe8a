"""Texts of several lines and the paragraph that each becomes.

A case has a name, which starts with the code of its language, then the lines, and after "=>" the paragraph,
with a "|" where a sentence ends with its line.
"""

_TEXT = """
ar dialogue
- هل تأتي معنا؟
- لا، أنا متعب
- حسنًا
=>
هل تأتي معنا؟| لا، أنا متعب.| حسنًا

ar verse
قفا نبك من ذكرى حبيب ومنزل
بسقط اللوى بين الدخول فحومل
=>
قفا نبك من ذكرى حبيب ومنزل بسقط اللوى بين الدخول فحومل

ar list
نحتاج إلى:
١. خبز
٢. حليب
٣. ملح
=>
نحتاج إلى: ١. خبز.| ٢. حليب.| ٣. ملح

da verse
Solen er så rød, mor,
og skoven bli'r så sort;
nu er solen død, mor,
og dagen gået bort
=>
Solen er så rød, mor, og skoven bli'r så sort; nu er solen død, mor, og dagen gået bort

da dialogue
– Kommer du?
– Nej, sagde han
– Så går jeg alene
=>
Kommer du?| Nej, sagde han.| Så går jeg alene

de verse
Über allen Gipfeln
Ist Ruh,
In allen Wipfeln
Spürest du
Kaum einen Hauch
=>
Über allen Gipfeln, Ist Ruh, In allen Wipfeln, Spürest du, Kaum einen Hauch

de list
a) Mehl
b) Zucker
c) Eier
=>
a) Mehl.| b) Zucker.| c) Eier

de wrapped
Der Garten des alten
Hauses lag am Rand
der Stadt, und niemand
kam jemals hin.
=>
Der Garten des alten Hauses lag am Rand der Stadt, und niemand kam jemals hin.

el dialogue
— Έρχεσαι μαζί μας;
— Όχι, είπε η Ζωή
— Κρίμα
=>
Έρχεσαι μαζί μας; Όχι, είπε η Ζωή.| Κρίμα

el list
α) ψωμί
β) γάλα
γ) αλάτι
=>
α) ψωμί.| β) γάλα.| γ) αλάτι

en verse
I wandered lonely as a cloud
That floats on high o'er vales and hills,
When all at once I saw a crowd,
A host, of golden daffodils
=>
I wandered lonely as a cloud, That floats on high o'er vales and hills, When all at once I saw a
crowd, A host, of golden daffodils

en sonnet
Let me not to the marriage of true minds
Admit impediments. Love is not love
Which alters when it alteration finds,
Or bends with the remover to remove
=>
Let me not to the marriage of true minds Admit impediments. Love is not love, Which alters when it
alteration finds, Or bends with the remover to remove

en verse of small letters
the rain came down
on the tin roof
all night
and nobody slept
=>
the rain came down, on the tin roof, all night, and nobody slept

en narrow
He met John
Smith in New
York and then
went home.
=>
He met John Smith in New York and then went home.

en names
Milk
Eggs
Bread
=>
Milk.| Eggs.| Bread

en address
Best regards,
John Smith
Director
=>
Best regards, John Smith, Director

en dash in a sentence
He was tired of the whole long day and of everything
— very tired — and so he slept until the next
morning.
=>
He was tired of the whole long day and of everything — very tired — and so he slept until the next
morning.

en title
Chapter 1
It began.
=>
Chapter 1.| It began.

en bullets in a line
• milk • eggs • bread
=>
milk.| eggs.| bread

es dialogue
—¿Vienes con nosotros?
—No sé —dijo ella—. Tal vez
—Pues yo sí.
=>
¿Vienes con nosotros?| No sé —dijo ella—. Tal vez.| Pues yo sí.

es wrapped dialogue
—No sé qué decirte, pero creo que es mejor que te vayas
—dijo ella—. Es tarde.
=>
No sé qué decirte, pero creo que es mejor que te vayas —dijo ella—. Es tarde.

es hyphens
-Hola
-¿Qué tal?
-Bien
=>
Hola.| ¿Qué tal?| Bien

es verse
Caminante, son tus huellas
el camino y nada más;
caminante, no hay camino,
se hace camino al andar
=>
Caminante, son tus huellas el camino y nada más; caminante, no hay camino, se hace camino al andar

fi verse
Mieleni minun tekevi,
aivoni ajattelevi
lähteäni laulamahan,
saa'ani sanelemahan
=>
Mieleni minun tekevi, aivoni ajattelevi lähteäni laulamahan, saa'ani sanelemahan

fi dialogue
– Tuletko mukaan?
– En, sanoi hän
– Harmi
=>
Tuletko mukaan?| En, sanoi hän.| Harmi

fr dialogue
— Tu viens ?
— Non, dit-elle. Pas ce soir
— Dommage…
=>
Tu viens ?| Non, dit-elle. Pas ce soir.| Dommage…

fr verse
Les sanglots longs
Des violons
De l’automne
Blessent mon cœur
D’une langueur
Monotone.
=>
Les sanglots longs, Des violons, De l’automne, Blessent mon cœur, D’une langueur, Monotone.

fr list
— du pain ;
— du lait ;
— du sel.
=>
du pain ; du lait ; du sel.

he dialogue
– אתה בא?
– לא, אני עייף
– חבל
=>
אתה בא?| לא, אני עייף.| חבל

he list
א. לחם
ב. חלב
ג. מלח
=>
א. לחם.| ב. חלב.| ג. מלח

hi dialogue
— तुम आओगे?
— नहीं, मैं थका हूँ
— अच्छा।
=>
तुम आओगे?| नहीं, मैं थका हूँ.| अच्छा।

hi list
१. रोटी
२. दूध
३. नमक
=>
१. रोटी.| २. दूध.| ३. नमक

it verse
Nel mezzo del cammin di nostra vita
mi ritrovai per una selva oscura,
ché la diritta via era smarrita.
=>
Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era
smarrita.

it dialogue
– Vieni?
– No – rispose
– Peccato
=>
Vieni?| No – rispose.| Peccato

ja verse
古池や
蛙飛びこむ
水の音
=>
古池や。|蛙飛びこむ。|水の音

ja list
・りんご
・みかん
・ぶどう
=>
りんご。|みかん。|ぶどう

ja wrapped
吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつ
かぬ。
=>
吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。

ja dialogue
「行くの？」
「行かない」
「そう」
=>
「行くの？」|「行かない」。|「そう」

ja numbers
１．パン
２．牛乳
=>
１．パン。|２．牛乳

ko wrapped
오늘은 날씨가 매우 좋아서 우리는 공원에 가서 산책을 하기로
했다. 공원에는 사람이 많았다.
=>
오늘은 날씨가 매우 좋아서 우리는 공원에 가서 산책을 하기로 했다. 공원에는 사람이 많았다.

ko list
가. 빵
나. 우유
다. 소금
=>
가. 빵.| 나. 우유.| 다. 소금

ko verse
나 보기가 역겨워
가실 때에는
말없이 고이 보내 드리우리다
=>
나 보기가 역겨워.| 가실 때에는.| 말없이 고이 보내 드리우리다

ms list
1) beras
2) gula
3) garam
=>
1) beras.| 2) gula.| 3) garam

ms dialogue
- Awak nak ikut?
- Tak nak
- Baiklah
=>
Awak nak ikut?| Tak nak.| Baiklah

nl verse
Ik ging naar zee
en keek naar de golven
tot de avond viel
en bleef
=>
Ik ging naar zee, en keek naar de golven, tot de avond viel, en bleef

nl dialogue
– Kom je mee?
– Nee, zei hij
– Jammer
=>
Kom je mee?| Nee, zei hij.| Jammer

no verse
Ja, vi elsker dette landet,
som det stiger frem,
furet, værbitt over vannet,
med de tusen hjem
=>
Ja, vi elsker dette landet, som det stiger frem, furet, værbitt over vannet, med de tusen hjem

no dialogue
– Blir du med?
– Nei, sa hun
– Synd
=>
Blir du med?| Nei, sa hun.| Synd

pl dialogue
– Idziesz z nami?
– Nie – odparła – nie dziś
– Szkoda
=>
Idziesz z nami?| Nie – odparła – nie dziś.| Szkoda

pl verse
Litwo! Ojczyzno moja! ty jesteś jak zdrowie.
Ile cię trzeba cenić, ten tylko się dowie,
Kto cię stracił. Dziś piękność twą w całej ozdobie
Widzę i opisuję, bo tęsknię po tobie
=>
Litwo! Ojczyzno moja! ty jesteś jak zdrowie. Ile cię trzeba cenić, ten tylko się dowie, Kto cię
stracił. Dziś piękność twą w całej ozdobie, Widzę i opisuję, bo tęsknię po tobie

pt dialogue
— Vens connosco?
— Não — disse ela. — Hoje não
— Que pena!
=>
Vens connosco?| Não — disse ela. — Hoje não.| Que pena!

pt verse
As armas e os barões assinalados,
Que da ocidental praia Lusitana,
Por mares nunca de antes navegados,
Passaram ainda além da Taprobana
=>
As armas e os barões assinalados, Que da ocidental praia Lusitana, Por mares nunca de antes
navegados, Passaram ainda além da Taprobana

ru dialogue
— Ты идёшь?
— Нет, — сказала она. — Не сегодня
— Жаль
=>
Ты идёшь?| Нет, — сказала она. — Не сегодня.| Жаль

ru verse
Мороз и солнце; день чудесный!
Ещё ты дремлешь, друг прелестный —
Пора, красавица, проснись
=>
Мороз и солнце; день чудесный! Ещё ты дремлешь, друг прелестный — Пора, красавица, проснись

ru list
а) хлеб
б) молоко
в) соль
=>
а) хлеб.| б) молоко.| в) соль

ru list with dashes
— молоко
— хлеб
— соль
=>
молоко.| хлеб.| соль

sv dialogue
– Kommer du?
– Nej, sa han
– Synd
=>
Kommer du?| Nej, sa han.| Synd

sv list
* mjölk
* ägg
* bröd
=>
mjölk.| ägg.| bröd

sw verse
Nilikwenda pwani
nikaona bahari
mawimbi yakanijia
nikarudi
=>
Nilikwenda pwani nikaona bahari mawimbi yakanijia nikarudi

sw list
(1) mkate
(2) maziwa
(3) chumvi
=>
(1) mkate.| (2) maziwa.| (3) chumvi

tr dialogue
— Geliyor musun?
— Hayır, dedi
— Peki
=>
Geliyor musun?| Hayır, dedi.| Peki

tr verse
Dağlar ile taşlar ile
Çağırayım Mevlâm seni
Seherlerde kuşlar ile
Çağırayım Mevlâm seni
=>
Dağlar ile taşlar ile.| Çağırayım Mevlâm seni.| Seherlerde kuşlar ile.| Çağırayım Mevlâm seni

zh verse
春眠不觉晓
处处闻啼鸟
夜来风雨声
花落知多少
=>
春眠不觉晓。|处处闻啼鸟。|夜来风雨声。|花落知多少

zh verse with marks
床前明月光，
疑是地上霜。
举头望明月，
低头思故乡
=>
床前明月光，疑是地上霜。举头望明月，低头思故乡

zh wrapped
今天天气很好，我们决定去公园散步。公园里有很多人，有的在跑
步，有的在唱歌；孩子们在玩
耍。
=>
今天天气很好，我们决定去公园散步。公园里有很多人，有的在跑步，有的在唱歌；孩子们在玩耍。

zh quotation on a new line
他说：
“走吧。”
=>
他说：“走吧。”

zh list
一、面包
二、牛奶
（三）鸡蛋
=>
一、面包。|二、牛奶。|（三）鸡蛋

zh letters
①苹果
②香蕉
=>
①苹果。| ②香蕉

zh dialogue
——你去吗？
——不去
——好
=>
你去吗？|不去。|好

th lines
ฉันรักเธอ
เธอรักฉัน
=>
ฉันรักเธอ.| เธอรักฉัน

en subtitles
I was walking down the street
when I saw
a dog. It was
very big.
=>
I was walking down the street when I saw a dog. It was very big.

en heading and prose
# The garden
It lay at the edge of the town, and nobody ever came there but
an old man.
=>
The garden.| It lay at the edge of the town, and nobody ever came there but an old man.
"""


def _case(block: str) -> tuple[str, str, str]:
    """Returns the name, the text and the paragraph."""
    text, _, paragraph = block.partition("\n=>\n")
    name, _, lines = text.partition("\n")
    return name, lines, " ".join(paragraph.splitlines())


CASES = [_case(block) for block in _TEXT.strip().split("\n\n")]
