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
یہ کتاب ہے۔| وہ گھر ہے۔
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
قال: «متى تأتي؟»| ثم خرج.
جاء أحمد؛ وذهب عمر.| هل تسمع؟| نعم، أسمع!| حسنًا.
وُلد سنة ١٩٥٠ هـ. في القاهرة.
أ.د. سامي و أ. ليلى.
قال: "اذهب."| ثم نام.
(جاء أحمد.)| ثم نام.
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
Se afd. Nord og alm. Brug.
Den 5. jan. Peter kom.
Han bor i Kbh.| Hun bor i Ribe.
Det er ca. 5 km inkl. moms.
»Kommer du?« spurte hun.| »Ja.«| Hun gik.
– Kommer du?| – Ja, sagde han.
H.C. Andersen skrev det.
Kl. 5 kom dr.phil. Hansen.
Mødet er d. 5. ds. i Aarhus.
Det er jf. § 5 stk. 2 nr. 3.
Det blev mdr. senere.
Det var i 1999.| 20 mennesker kom.
Listen: • 9. Brød • 10. Ost.
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
Er sagte: „Sie rief: ‚Komm!‘ und ging.“| Dann schlief er.
Die Fa. Müller, bes. Herr Meier, einschl. Frau Weber.
Univ.-Prof. Dr. Weber kam.
Der hl. Franz und St. Martin.
Sie kam mit dem allg. Plan.
Siehe Art. 5 Abs. 2 S. 3 BGB.
Es gab u. a. Äpfel, o. Ä.| Dann ging er.
»Halt!«, rief er.| »Nein.«
›Halt!‹ rief er.| ›Nein.‹
Er ist ehem. Minister.| Sie ist stellv. Leiterin.
Am Mo. 5. Mai um 3 Uhr.
Das dauert 5 Std. 30 Min. und 10 Sek. insgesamt.
Im Jg. 1950 erschien die Ausg. 3.
Die Nr. 1 ist da.| Die Nr. 2 fehlt.
Das war im Jahr 1999.| 20 Leute kamen.
Er kam am 5. 3. 2024 und ging.
""",
    "el": """
Ο κ. Παπάς και ο Δρ. Νίκου ήρθαν.
Έχει φρούτα, π.χ. Μήλα και σύκα.
Τι ώρα είναι;| Είναι αργά.
«Πού πας;» ρώτησε η Μαρία.
Έφερε ψωμί, τυρί κ.λπ.| Μετά έφυγε.
Γεννήθηκε το 1950 μ.Χ. στην Αθήνα.
Ήρθε η Άννα· έφυγε ο Πέτρος.
Η κα. Παπά και ο καθ. Νίκου.
Στις 5 π.μ. Ήρθε ο Νίκος.
Βλ. σελ. 5 και κεφ. 3.
«Πού πας;»| Ήταν αργά.
Τον 5ο αι. π.Χ. Αθήνα.
Μένει στην οδ. Ερμού, αρ. 5.
«Ναι.»| Έφυγε.
—Πού πας;| —Σπίτι.
""",
    "en": """
We came in.| Max stayed out.
Do it, e.g. Monday.
“Is it true?”| Anna nodded.
“Is it true?” asked Anna.
It was in vol. II of the book.
The age of 3.| Then it grew.
“He said, ‘Go.’”| She went.
“He said, ‘Go.’ and left.”| She went.
It was Sept. 5 and Oct. Sixth.
See p. 5, ll. 3 and fn. 2.
See Dr. A. B. Cole, R.N., at 5 a.m.| She waits.
Mt. Sinai Hosp. Center opened.
Is it?| — Yes.| — No.
He left.[1]| She stayed.
He left. [2]| She stayed.
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
El Ing. Gómez y el Arq. Díaz.
Vive en la Ctra. Nacional, núm. 5, 2.º izq.
Sto. Domingo y Sta. Ana.
El dpto. Legal y la admón. Pública.
«Dijo: “Ven.”»| Se fue.
—No sé —dijo ella—.| Tal vez.
—¿Vienes? —preguntó Ana.
—¡Vengo! —gritó él—.| ¡Espera!
En el s. XX y el a. C. romano.
Nació el 5 de oct. de 1950.
¿Qué...?| ¿Quién?| Nada.
Murió en el 44 a. C.| Luego hubo guerra.
Tel. 5, ext. 3, C. P. 28001.
El gral. Franco y el pdte. Suárez.
La prof. Gil y el máx. nivel.
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
Ks. s. 5 ja esim. kuva 3.
Ev.lut. kirkko ja mm. Turku.
Toim.joht. Virtanen ja ylil. Koski.
Huom. Tämä on uusi.
Se maksaa 5 milj. euroa.
Ma 5. päivä klo 5.30.
– Tuletko?| – En, sanoi hän.
”Tule.”| Hän tuli.
»Tule.»| Hän tuli.
Hän asuu os. Katu 5.
Asia, ts. Ongelma, on vaikea.
Elokuvassa on mm. Anna.
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
Il a vu Me. Dupont et le Pr. Martin.
La Cie. Générale et les Ets. Martin.
Le 5 janv. Paul est venu.
L’art. 5 et l’al. 2.
« Il a dit : “Viens.” »| Elle rit.
« Non ! »| Il partit.
— Tu viens ?| — Oui.
C’est vrai…| Paul rit.
Au XIXe s. Paris grandit.
Le boul. Voltaire et la pl. Vendôme.
Il pèse 5 kg.| Elle part.
""",
    "he": """
פרופ. לוי וד. כהן באו.
״אתה בא?״ שאלה נועה.
הוא אמר: ״אני בא.״| היא הלכה.
מה שלומך?| טוב.
שלום.| מה נשמע?
זה הבית שלי.| שם גר דוד.
״בוא!״ אמר דוד.| היא באה.
הוא בא.| היא הלכה?| כן!
עמ׳ 5 וכו׳.| הוא הלך.
גב׳ לוי באה.| מר כהן הלך.
"בוא."| היא באה.
ב-5.5 באנו.
""",
    "hi": """
डॉ. शर्मा और श्री. वर्मा आए।| वे गए।
जे. के. रोलिंग ने लिखा।
“तुम आओगे?” उसने पूछा।
उसने पूछा: “तुम आओगे?”| वह चला गया।
क्या हुआ?| कुछ नहीं।
यह घर है.| वह दुकान है.
पं. नेहरू बोले।
एस. के. शर्मा आए।| वे गए।
उसने कहा, “चलो।”| वह गया।
ए.पी.जे. अब्दुल कलाम आए।
मि. शर्मा और स्व. गुप्ता।
पृ. ५ और सं. ३ देखो।
क्या?| हाँ!| अच्छा।
५ रु. किलो और ३ कि.मी. दूर।
यह पंक्ति है॥| दूसरी है॥
यह सच है।”| वह गया।
""",
    "it": """
Ha perso un ago.| Maria cerca.
Il sig. Rossi e il dott. Neri.
Vediamo l'est.| Marco guarda.
È un ave.| Maria canta.
Ha pane, olio ecc.| Poi esce.
«Vieni?» chiese Lia.| Lui tacque.
Disse: «No.»| Poi uscì.
Vedi cap. 3 e pag. 5.
È il n. 5 di via Roma.
L’ing. Rossi, l’avv. Neri e l’on. Verdi.
Mons. Bianchi e il gen. Russo.
Nel 44 a.C. Roma cadde.
Per es. Roma, cfr. Livio, op. cit. Vol. 2.
«Disse: “Vieni.”»| Poi uscì.
– Vieni?| – No.
Il 5 ott. Marco venne.
Spett. Ditta, gent.ma Sig.ra Neri.
Sono le 5.| Marco esce.
Via Roma n. 5, int. 3.
Il prof. arch. Paolo Neri.
Aspetta...| I gatti dormono.
""",
    "ja": """
今日は雨だ。|明日は晴れる。|本当？|はい！
「行く？」と彼女は聞いた。
彼は「行く。」と言った。
三・五と二.五は違う。
「行こう。」太郎は立った。
「行くの？」|「行かない。」と彼は言った。
彼は来た……そして帰った。
「行こう。」|「うん。」
（彼は来た。）|そして帰った。
えっ！？|本当？
第1.5章は面白い。|次へ。
Dr. スミスは来た。|帰った。
""",
    "ko": """
여기가 우리 집.| 저기가 학교.
응.| 그래.
“갈래요?” 하고 물었다.
김 씨는 왔다.| 이 씨는 갔다.
값은 3.5배다.| 비싸다.
그는 “간다.”라고 말했다.
3. 1. 운동은 중요하다.
2024. 5. 1. 서울에서 만났다.
예: A. 사과 B. 배.
회의는 2024. 5. 1.에 열렸다.| 모두 왔다.
""",
    "ms": """
Dr. Siti dan Prof. Ali datang.
En. Ahmad dan Pn. Ros tinggal di sini.
Dia membeli ikan, sayur dll.| Kemudian dia pulang.
“Mahukah kamu?” tanya Ali.
Lihat hlm. 5 dan No. 3.
Itu rumah saya.| Abu jiran saya.
Ir. Ahmad dan Ust. Ali.
Di Jln. Ampang dan Kg. Baru.
Buah, sayur dsb.| Ali pulang.
Muka surat ms. 5.
Y.B. Datuk Ali dan YAB. Tan Sri.
Contohnya, mis. Ikan.
"Mahu?"| Ali diam.
""",
    "nl": """
Dat is Jan.| Piet komt.
In Jan. 2024 sneeuwde het.
Hij zag Max.| Piet niet.
Ik weet het al.| Jan ook.
Sta op.| Jan wacht.
Het is ver.| Piet loopt.
De heer mr. Jansen en drs. Bos.
Hij eet o.a. Brie en bijv. Gouda.
Kaas, brood enz.| Dan ging hij.
‘Kom je?’ vroeg Joost.
Zie blz. 5 en nr. 3.
Zie afb. 3 en hfst. Vier.
De fam. Jansen, incl. Piet, excl. Klaas.
Op 5 okt. Jan kwam.
Prof. dr. ir. Bos en ds. Visser.
Kardinaal, m.a.w. Een bisschop.
‘Kom je?’| Joost knikte.
“Hij zei: ‘Kom.’”| Zij kwam.
Het kost ca. Tien euro, resp. Elf.
Dat is z.g. Kunst, d.w.z. Niets.
In de 19e eeuw n.Chr. Rome.
""",
    "no": """
Det var Jan.| Kari kom.
Kom med.| Anna venter.
Ta den av.| Per hjelper deg.
Boken er min.| I dag leser jeg den.
De giftet seg den 3. mai.
På det 19. århundret og i 2. etasje.
Det er f.eks. Anna og bl.a. Per.
Vi har epler, pærer osv.| Spis nå.
«Blir du med?» spurte hun.
Se avd. Nord og adm. Direktør.
Den 5. jan. Kari kom.
Det koster 5 mill. Kroner.
«Kom.»| Hun gikk.
– Kommer du?| – Nei, sa han.
Tlf. 5 og ekskl. mva. i tillegg.
Forf. Hamsun og adm. Berg.
Jf. § 5 ledd 2.
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
Zob. rozdz. III i rys. 5.
Abp. Nowak, ks. prof. Tischner i kpt. Żbik.
W woj. Mazowieckim i pow. Łódzkim.
Kosztuje ok. 5 tys. zł.| Anna kupiła.
„Powiedział: «Chodź.»”| Poszła.
– Idziesz?| – Nie – odparła.
Ur. 5 grudz. 1950, zm. Wiosną.
Firma sp. z o.o. Nowak.
To jest tzw. Wielka Gra.
XIX w. Polska.
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
O Eng. Silva, o Cel. Costa e o Pe. João.
S. Paulo e Sto. António e Sta. Maria.
R. Augusta, n.º 5, ap. 3.
No séc. XX e a.C. Roma.
«Disse: “Vem.”»| Saiu.
— Vens?| — Não.
Em 5 de out. Pedro veio.
O depto. Jurídico e a ed. Globo.
V. Ex.ª Sabe.
Ele tem 5 anos.| O Pedro tem 6.
""",
    "ru": """
Пришёл муж.| Анна спала.
Он живёт на ул. Ленина у пл. Мира.
Площадь им. Ленина.
См. рис. 5 и гл. 2.
Хлеб, сыр и т. д.| Потом он ушёл.
Хлеб, сыр и др.| Потом он ушёл.
А. С. Пушкин жил в XIX в. в России.
Это стоит 5 руб.| Он купил.
«Ты идёшь?» – спросила Анна.
Он любит рис.| Мама тоже.
Акад. Сахаров, проф. Иванов и доц. Петров.
Обл. Больница и респ. Татарстан.
См. гл. II, кн. 3, ч. 2, с. 5.
Он сказал: «Она крикнула: „Иди!“ и ушла».| Потом уснул.
— Ты идёшь?| — Нет, — сказала она.| — Не сегодня.
В 5 тыс. км от г. Москвы, пос. Мирный.
Род. 5 янв. Иванов.
В XIX в. Россия росла.
Ген. Иванов и полк. Петров.
В 44 г. до н. э. Рим пал.
Ул. Ленина, д. 5, кв. 3, корп. 2.
«Иди!»| Он ушёл.
Ок. Москвы и англ. Король.
Он живёт в США.| Она нет.
Ст. Петров пришёл в 5 ч. 30 мин. утра.
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
Se avd. Norr och uppl. Två.
Den 5 jan. Olle kom.
Ca. 5 milj. Kronor inkl. moms.
”Kom.”| Hon gick.
– Kommer du?| – Nej, sa han.
Enl. Olle resp. Karin är det sant, p.g.a. Regn.
S:t Olof och dr. Holm.
Kl. 5 fr.o.m. Måndag t.o.m. Fredag.
""",
    "sw": """
Bw. Juma na Bi. Fatuma wamefika.
Dkt. Mwangi ni daktari.
“Utakuja?” aliuliza Zawadi.
Hii ni nyumba.| Ali anaishi hapa.
Alinunua nyama, samaki n.k.| Kisha akaenda.
Je, uko tayari?| Ndiyo.
Uk. 5 na Na. 3.
Mwl. Nyerere na Mh. Rais.
Sh. 500 tu.
“Njoo!”| Juma alikuja.
Taz. Juma, k.v. Nyama.
S.L.P. 5, Dar es Salaam.
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
Uzm. Dr. Kaya ve Müh. Demir.
Atatürk Blv. Çankaya, No. 5, Kat. 3.
Hz. Muhammed ve St. Pierre.
M.Ö. 44 yılında ve M.S. Roma.
“‘Gel.’ dedi.”| Gitti.
— Geliyor musun?| — Hayır.
Saat 5.30'da geldi.| Gitti.
T.C. Ankara Valiliği.
Saat 5'te geldi.| Ali gitti.
Çev. Ali Kaya, s. 5, bs. 2.
A.Ş. Genel Müdürü.
""",
    "zh": """
今天很好。|我们走。|好吗？|好！
他说：“走吧。”|我们走了。
“去吗？”她问。
他住在北京。|“走吧。”
三点五和3.5一样。
你好！|再见。
他走了……后来呢？|没人知道。
《红楼梦》。|好书！
（他走了。）|她来了。
真的吗？！|是的。
“走吧！”|“好。”
一、面包。|二、牛奶。
我们去看《快跑！孩子》好吗？|好！
""",
}
CASES_BY_LANGUAGE = [
    (language, case) for language, text in BY_LANGUAGE.items() for case in text.strip().splitlines()
]
