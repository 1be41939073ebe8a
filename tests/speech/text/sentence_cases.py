"""Texts with their sentence ends: a "|" stands before the space (or letter) at which a reader pauses."""

INSIDE_A_SENTENCE = """
I met Ms. Johnson today.
Ask Mr. Brown or Mrs. Brown about it.
Mx. Taylor called.
Thank you, Dr. Smith, for coming.
We invited Prof. Adams and Rev. King.
Sen. Warren and Rep. Cheney spoke.
Gov. Newsom met Gen. Milley.
Lt. Col. Frank Slade retired.
Capt. Kirk and Sgt. Pepper arrived.
The Hon. Judge Smith presided.
Messrs. Smith and Jones called.
Fr. Brown and Sr. Mary came.
It was written by Wm. Shakespeare and Geo. Washington.
Gens. Lee and Grant met.
Pres. Lincoln was there.
Supt. Chalmers sighed.
Dr. He wrote to Dr. So and Dr. No.
MR. SMITH AND DR. JONES ARE HERE.
hello mr. smith and mrs. jones.
They live near Ft. Worth now.
We climbed Mt. Everest twice.
Meet me at St. Mary Street.
The store is on Main St. near the bank.
We drove down Fifth Ave. North.
Turn left on Sunset Blvd. West.
Take Rte. 66 and Hwy. 101.
She moved to Apt. 5 of Bldg. C.
Sault Ste. Marie is cold.
See Vol. 3 for that.
It is in vol. IV of the work.
Compare Figs. 2 and 3 there.
As shown in Fig. A and Fig. 7b.
This follows from Eq. (3) directly.
Use Eqs. 4 to 6 here.
He read No. 5 and Nos. 6 to 8.
The text is in Ch. 12 of the book.
Sec. 4 and Sect. 5 differ.
See pp. 12 to 15 and p. 20.
Art. 5 of the law says so.
Smith, Ed. Jones, wrote it.
The 2nd ed. Cambridge is best.
According to Smith et al. 2019 it works.
Tab. 3 lists Ref. 7.
Beethoven's Op. 27 No. 2 is known.
We meet on Mon. Tues. and Wed. mornings.
It opens Thurs. Jan. 5 at noon.
Come on Sat. Morning or Sun. Evening.
On Fri. Mar. 13 it rained.
They met on Jan. 5th and Feb. 6th.
Since Sept. 2001 and Dec. 1999 it is so.
Last Aug. Mary left.
The show is at 5 p.m. EST today.
The call starts at 9 a.m. Eastern.
It runs from 5 p.m. Monday to 8 a.m. Friday.
We met at 3 p.m. on the bridge.
It starts at 7 a.m. sharp.
He came, e.g. This one and that.
Many fruits, e.g. Apples and pears.
That is, i.e. Tuesday.
Batman vs. The Joker is a film.
Roe v. Wade is a case.
Compare cf. Smith and viz. Jones.
Dwayne Johnson, a.k.a. The Rock, agreed.
It is approx. three or approx. Seven units.
Born c. 1900 or ca. 1901.
The temp. is high, incl. the max. 30 degrees.
In 44 B.C. Caesar died.
It was founded in A.D. 70 there.
She holds a Ph.D. Degree from there.
He earned his M.D. Degree early.
Anna Bell, M.Sc. Physics, spoke.
J. R. R. Tolkien wrote it.
George W. Bush and John F. Kennedy met.
A. A. Milne and C. S. Lewis wrote.
J.R.R. Tolkien and J. K. Rowling.
J.-P. Sartre smoked.
The U.S. Army and the U.K. Parliament agreed.
He flew to Washington, D.C. Monday.
The U.N. Security Council met.
L.A. Lakers fans cheered.
Apple Inc. CEO Tim Cook spoke.
Barnes & Co. Ltd. Chairman spoke.
Acme Corp. Vice President Lee left.
Warner Bros. Pictures made it.
Martin Luther King Jr. Day is a holiday.
Sammy Davis Jr. Sang well.
The Dept. of Energy and the Univ. Press agreed.
Call tel. 555 ext. 12 now.
It costs 5 min. Walking time.
He is 6 ft. 2 in. tall.
It weighs 10 lbs. 4 oz. exactly.
N.B. This is new.
P.S. I love you.
Oakland, Calif. Mayor Schaaf spoke.
Phoenix, Ariz. Police said so.
See (e.g. Chapter Two) for it.
(Dr. Smith) came.
“Mr. Brown” left.
The gov't. Agency agreed.
Wait… what is it.
He was, well... not there.
Well... I don’t know.
Add six fl. oz. of milk.
It began at 11:58 p.m. P.D.T. on Monday.
È l'Ing. Mengozzi.
«К чему? – спросила мама.
Едем в пгт. Брагиновка.
It took 1, 2, 3 ... 500 jobs.
“Where to?” asked Tom.
“Out!” she said.
“I know.” he said.
He said “Stop.” and went.
Version 3.14 of Node.js is out.
See example.com and a.b.c for it.
Am 3. Oktober kam er.
Es war der 2. Weltkrieg.
Im 19. Jahrhundert war das anders.
Er kam am 24. Dezember.
Das ist z. B. Wasser oder z.B. Wein.
Es ist d. h. Nacht, d.h. Dunkelheit.
Das sind ca. Hundert Leute bzw. Kinder.
Siehe Nr. 5 und Abb. 3.
Hr. Müller und Fr. Schmidt kamen.
Dr. med. Hans Meier und Dipl.-Ing. Kurt Weber.
Im Jahr 44 v. Chr. Rom lag still.
Sie hat 5 Mio. Euro und 3 Mrd. Dollar.
Er wohnt in der Goethestr. Neun.
Vgl. Müller und evtl. Meier, ggf. Schulz.
Ludwig XIV. war König.
Anna Weber, geb. Müller, kam.
M. Dupont et Mme. Petit sont là.
Mlle. Martin est à la maison.
Voir p. ex. Paris ou c.-à-d. Lyon.
En 50 av. J.-C. Rome attaqua.
Il habite bd. Voltaire.
« Tu viens ? » dit-il.
El Sr. García y la Sra. López llegaron.
La Dra. Ruiz y el Lic. Pérez hablan.
Por ej. Madrid, o p. ej. Sevilla.
Los EE. UU. Ganaron.
Vea la pág. 5 y el núm. 3.
Buenos días, Ud. Sabe mucho.
Il sig. Rossi e la sig.ra Bianchi.
Il dott. Verdi parla.
O Exmo. Silva e a Dra. Costa.
De heer drs. Jansen en dhr. Bakker.
Det är t.ex. Stockholm.
Widzę prof. Nowaka i ul. Długą.
Он живёт на ул. Ленина в г. Москва.
Это т.е. Россия.
""".strip().splitlines()

AT_A_SENTENCE_END = """
He came at 5 p.m.| Then he left.
He came at 5 p.m.| Tom left.
We begin at 9 a.m.| The doors open earlier.
I live in the U.S.| She does not.
He moved to the U.K.| It rained.
They arrived in Washington, D.C.| They were tired.
We saw cats, dogs, etc.| The end.
We saw cats, dogs, etc.| Tom liked it.
He works at Apple Inc.| He likes it.
She runs Acme Corp.| They make anvils.
I met Sammy Davis Jr.| He sang.
She has a Ph.D.| Her brother does not.
He died in 44 B.C.| Then war came.
The house is on Main St.| She left it.
Turn into Fifth Ave.| Then stop.
I am done.| No.| I am not.
Is it true?| No.| He lied.
Take plan B.| The other failed.
I need vitamin C.| It helps.
He was Malcolm X.| They knew him.
He took the max.| Then he left.
It needs a min.| Tom waits.
She likes the fig.| Tom does not.
He sat.| Then he stood.
He left long ago.| Tom stayed.
Call me Max.| Everybody does.
Look at the sun.| It is up.
He did his rep.| Then he rested.
I like art.| Tom likes it as well.
It was in the sec.| Tom saw it.
We go in Dec.| Then it snows.
Come on Mon.| We are open.
It is 6 ft.| The other is 7 ft.
It is 5 in.| Then it grew.
Come in.| Sit down.
It weighs 10 lbs.| He carried it.
I saw the Dr.| Then I went home.
You and I.| She knows.
So do I.| You know it.
He has three.| Tom has four.
I have 5.| Tom has 3.
It was in 1999.| The year ended.
It was 3.14.| That is pi.
See chapter IV.| The next is better.
It was World War II.| Germany lost.
I use Node.js.| The rest is old.
Go to example.com.| Then read.
I know him.| So does she.
He wrote to NASA.| NASA replied.
Watch TV.| Tom does.
Hmm.| Tom left.
Really?| Yes!| Go on.
“Stop!”| He ran.
“I live here.”| She left.
“I went home.| It was late.”| He slept.
(He came.| He went.)| Then it rained.
He said “Go!”| And then he left.
He lives in the U.S.”| She said so.
Wait...| What?
Well…| Tom came.
hello there.| how are you.| fine.
THE END.| IT IS OVER.
HE LIVES IN THE U.S.| SHE DOES NOT.
It costs $5.| $6 is too much.
He left.| 20 people stayed.
He came.| — She went.
We stop.| "You go on."
'I go.'| 'You stay.'
This is it.| (It was not.)
What?!| No way.
Thanks!!| Bye.
Ich wohne in der Goethestr.| Das ist schön.
Es gab Äpfel, Birnen usw.| Dann ging er.
Das ist ein Hund.| Er bellt.
Rom fiel im Jahr 44 v. Chr.| Das war früh.
„Ich komme.“| Er ging.
»Ich komme.«| Er ging.
Er kam.| »Ja«, sagte er.
Er hat 5 Mio.| Sie hat mehr.
Das war im Jahr 1999.| Danach kam er.
Il y a des chats, etc.| Il part.
« Je viens. »| Il part.
Tu viens ?| Oui.
Il est né en 50 av. J.-C.| Il est mort.
Vive en EE. UU.| Ella no.
¿Qué pasa?| ¡Nada!| Bueno.
Hay gatos, perros, etc.| Luego llueve.
Trabaja en Repsol S. A.| El jefe no.
Ci sono gatti, ecc.| Poi piove.
Er zijn katten, enz.| Dan regent het.
Он родился в 1999 г.| Она тоже.
Есть кошки и т. д.| Потом дождь.
今天很好。|我们走。|好吗？|好！
彼は来た。|そして帰った。
彼は「いい天気ですね。」と言った。
वह आया।| वह गया।
هل تأتي؟| نعم.
यह डॉ. शर्मा हैं।| वह गए।
""".strip().splitlines()

CASES = [*INSIDE_A_SENTENCE, *AT_A_SENTENCE_END]

# By language: what is an abbreviation in one is a word in another.
BY_LANGUAGE = {
    "ar": """
قابلت د. سامي و م. ليلى.
سألت: «متى تأتي؟»| ثم خرجت.
«متى تأتي؟» سألت ليلى.
اشترى خبزًا وجبنًا إلخ.| ثم عاد.
هل تسمع؟| نعم.
جاء أحمد.| ذهب عمر.
""",
    "da": """
Kom med.| Anna venter.
Han satte sig.| Peter stod op.
Gå ud.| Det er varmt.
Bogen er min.| I dag læser jeg den.
Den 3. maj rejste de hjem.
I det 19. århundrede var det anderledes.
Det er f.eks. Anna og bl.a. Peter.
Hun bor på 2. sal i nr. 5.
Vi har æbler, pærer osv.| Spis nu.
Jeg ved det hele.| Prof. Holm gør ikke.
""",
    "de": """
Das ist, was ich mag.| Tom mag es auch.
Er kam am 24. Dezember.
Der 1. FC Köln gewann.
Im 20. Jahrhundert war es so.
Sie war 3. geworden.
Wilhelm II. war Kaiser.
Das steht auf S. 5 und in Bd. 2.
Es kostet ca. 5 Euro inkl. Steuer.
Wir waren zu zweit.| Danach kam Eva.
Er rief: „Halt!“| Dann lief er.
„Halt!“, rief er.
""",
    "el": """
Ο κ. Παπάς και ο Δρ. Νίκου ήρθαν.
Έχει φρούτα, π.χ. Μήλα και σύκα.
Τι ώρα είναι;| Είναι αργά.
«Πού πας;» ρώτησε η Μαρία.
Έφερε ψωμί, τυρί κ.λπ.| Μετά έφυγε.
Γεννήθηκε το 1950 μ.Χ. στην Αθήνα.
Ήρθε η Άννα· έφυγε ο Πέτρος.
""",
    "en": """
We came in.| Max stayed out.
Do it, e.g. Monday.
“Is it true?”| Anna nodded.
“Is it true?” asked Anna.
It was in vol. II of the book.
The age of 3.| Then it grew.
""",
    "es": """
Queremos ver.| Juan también.
Es para ti y para par.| Ana lo sabe.
Vimos un ave.| Pedro la siguió.
El Sr. Ruiz y la Dra. Gil llegaron.
Vive en la Avda. América.
Vea el cap. 3 y la pág. 5.
¿Vienes?| Sí.| ¡Vamos!
Fuimos al mar.| Pedro nadó.
Compró pan, etc.| Luego salió.
""",
    "fi": """
Hän syntyi 3. toukokuuta.
Pidän marjoista, esim. mustikoista.
Otimme leipää, juustoa jne.| Sitten lähdimme.
Pöytä, tuoli jne. kannettiin ulos.
Se on n. kolme metriä.
Elettiin 1. vuosisadalla eKr. Roomassa.
Hän sanoi.| ”Lähdetään.”
”Lähdetään!” hän sanoi.
Kello on klo 5.| Mennään.
Kysy prof. Virtaselta.
""",
    "fr": """
Je sais où il est.| Pierre le sait aussi.
Il est sept.| Paul arrive.
Ils vont de deux par.| Paul suit.
M. Dupont et Mme. Petit.
Voir p. ex. Paris, chap. II et vol. 3.
« Tu viens ? » dit-il.| Elle sourit.
Il a dit : « Non. »| Elle est partie.
C’est le 3.| Paul arrive.
Louis XIV. régnait alors.
""",
    "he": """
פרופ. לוי וד. כהן באו.
״אתה בא?״ שאלה נועה.
הוא אמר: ״אני בא.״| היא הלכה.
מה שלומך?| טוב.
שלום.| מה נשמע?
זה הבית שלי.| שם גר דוד.
""",
    "hi": """
डॉ. शर्मा और श्री. वर्मा आए।| वे गए।
जे. के. रोलिंग ने लिखा।
“तुम आओगे?” उसने पूछा।
उसने पूछा: “तुम आओगे?”| वह चला गया।
क्या हुआ?| कुछ नहीं।
यह घर है.| वह दुकान है.
पं. नेहरू बोले।
""",
    "it": """
Il sig. Rossi e il dott. Neri.
Vediamo l'est.| Marco guarda.
È un ave.| Maria canta.
Ha pane, olio ecc.| Poi esce.
«Vieni?» chiese Lia.| Lui tacque.
Disse: «No.»| Poi uscì.
Vedi cap. 3 e pag. 5.
È il n. 5 di via Roma.
""",
    "ja": """
今日は雨だ。|明日は晴れる。|本当？|はい！
「行く？」と彼女は聞いた。
彼は「行く。」と言った。
三・五と二.五は違う。
「行こう。」太郎は立った。
""",
    "ko": """
여기가 우리 집.| 저기가 학교.
응.| 그래.
“갈래요?” 하고 물었다.
김 씨는 왔다.| 이 씨는 갔다.
값은 3.5배다.| 비싸다.
그는 “간다.”라고 말했다.
""",
    "ms": """
Dr. Siti dan Prof. Ali datang.
En. Ahmad dan Pn. Ros tinggal di sini.
Dia membeli ikan, sayur dll.| Kemudian dia pulang.
“Mahukah kamu?” tanya Ali.
Lihat hlm. 5 dan No. 3.
Itu rumah saya.| Abu jiran saya.
""",
    "nl": """
Ik weet het al.| Jan ook.
Sta op.| Jan wacht.
Het is ver.| Piet loopt.
De heer mr. Jansen en drs. Bos.
Hij eet o.a. Brie en bijv. Gouda.
Kaas, brood enz.| Dan ging hij.
‘Kom je?’ vroeg Joost.
Zie blz. 5 en nr. 3.
""",
    "no": """
Kom med.| Anna venter.
Ta den av.| Per hjelper deg.
Boken er min.| I dag leser jeg den.
De giftet seg den 3. mai.
På det 19. århundret og i 2. etasje.
Det er f.eks. Anna og bl.a. Per.
Vi har epler, pærer osv.| Spis nå.
«Blir du med?» spurte hun.
""",
    "pl": """
Nie wiem co.| Jan wie.
Kupiłem dres.| Anna też.
Mieszka przy ul. Długiej i al. Jana.
W 1999 r. Anna wyjechała.
Był w 3. klasie na 2. piętrze.
Lubię np. Annę i m.in. Jana.
Chleb, ser itd.| Potem poszedł.
Św. Jan i ks. Tischner.
„Pójdziesz?” – zapytała Anna.
""",
    "pt": """
Queremos ver.| Pedro também.
Vimos uma ave.| Pedro seguiu-a.
Comprei um par.| A Ana também.
O Sr. Silva e a Dra. Costa.
Mora na Av. Brasil.
Veja o cap. 3 e a pág. 5.
Pão, queijo, etc.| Depois saiu.
«Vens?», perguntou a Ana.
""",
    "ru": """
Он живёт на ул. Ленина у пл. Мира.
Площадь им. Ленина.
См. рис. 5 и гл. 2.
Хлеб, сыр и т. д.| Потом он ушёл.
Хлеб, сыр и др.| Потом он ушёл.
А. С. Пушкин жил в XIX в. в России.
Это стоит 5 руб.| Он купил.
«Ты идёшь?» – спросила Анна.
Он любит рис.| Мама тоже.
""",
    "sv": """
Kom med.| Anna väntar.
Han satte sig.| Olle stod kvar.
Ta den av.| Olle hjälper dig.
Boken är min.| I dag läser jag den.
Jag vet det ej.| Karin vet.
Det är t.ex. Anna och bl.a. Olle.
Vi har äpplen, päron osv.| Ät nu.
”Följer du med?” frågade Märta.
Han köpte bröd.| ”Ät nu!” sa han.
Vi ses kl. 5 vid nr. 3.
""",
    "sw": """
Bw. Juma na Bi. Fatuma wamefika.
Dkt. Mwangi ni daktari.
“Utakuja?” aliuliza Zawadi.
Hii ni nyumba.| Ali anaishi hapa.
Alinunua nyama, samaki n.k.| Kisha akaenda.
Je, uko tayari?| Ndiyo.
""",
    "tr": """
Bu bizim ev.| Ali burada yaşıyor.
Kitabı al.| Ahmet bekliyor.
Bana ver.| Ayşe gelsin.
II. Mehmet ve IV. Murat padişahtı.
19. yüzyılda ve 3. katta.
20. Yüzyıl başladı.
Prof. Dr. Aziz Bey ve Doç. Can geldi.
Ekmek, peynir vb.| Sonra gitti.
Ekmek, peynir vs. aldım.
Örn. Ali ve bkz. Ankara.
“Gelir misin?” diye sordu.
""",
    "zh": """
今天很好。|我们走。|好吗？|好！
他说：“走吧。”|我们走了。
“去吗？”她问。
他住在北京。|“走吧。”
三点五和3.5一样。
你好！|再见。
""",
}
CASES_BY_LANGUAGE = [
    (language, case) for language, text in BY_LANGUAGE.items() for case in text.strip().splitlines()
]
