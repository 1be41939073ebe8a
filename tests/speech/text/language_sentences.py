"""Sentences in each language of the multilingual models, by language code: one a line, at least twenty.

Together they hold the letters and marks of the language, capitals, questions, quotations, names, numbers in
words and in digits, and abbreviations and ordinals whose full stop ends nothing.
"""

SENTENCES = {
    language: text.strip().splitlines()
    for language, text in {
        "ar": """
ذهبت ليلى إلى السوق صباح اليوم.
هل قرأت الكتاب الذي أعطيتك إياه؟
ما أجمل هذه الحديقة!
قال المعلّم: «اجلسوا من فضلكم».
اشترى أحمد خمسة كيلوغرامات من التمر.
وُلِدَ الطِّفْلُ فِي لَيْلَةٍ مُقْمِرَةٍ.
تقع مدينة الرباط على ساحل المحيط الأطلسي.
لا أعرف أين وضعت مفاتيح السيارة.
سيصل القطار بعد عشر دقائق، إن شاء الله.
ضحك الأطفال ثم ركضوا نحو البحر.
إنّ العلم نور، والجهل ظلام.
كم عمرك يا صديقي؟
هذا بيت قديم؛ بناه جدّي قبل ستين سنة.
غادرت الطائرة القاهرة في الساعة السابعة مساءً.
سأل ظافر: «من يشرب الشاي؟»
لم يكن الطقس باردًا كما ظننّا.
رأى الصيّاد غزالًا على ضفّة النهر.
أغلق الباب وافتح النافذة، من فضلك!
تعلّم يوسف اللغة الصينية في ثلاثة أعوام.
كان المؤتمر مفيدًا، وحضره علماء من كل العالم.
أيّ طريق أقصر إلى المستشفى؟
قابلت د. سامي في مكتبه أمس.
""",
        "da": """
Blåbærgrøden smager bedst på en kølig efterårsaften.
Har du set mine nøgler?
Åh, hvor er her smukt!
Søren og Birgitte bor i en lille by ved Øresund.
Jeg købte femogtyve æg og et halvt rugbrød.
»Kommer du med i aften?« spurgte hun.
Den gamle kvinde gik langsomt over broen.
Quizværten fra Zoologisk Museum vandt en cykel og en xylofon.
Hvorfor svarer ingen telefonen?
Toget til Ålborg kører fra spor seks.
Vi spiste ærtesuppe, mens det regnede.
Min bror er læge, men han vil hellere være fisker.
Husk nu at lukke vinduet!
De blev gift den 3. maj i Ribe Domkirke.
Kaffen koster ca. tredive kroner.
I det 19. århundrede var vejen endnu en sti.
Han læste avisen, drak sin te og sagde ingenting.
Er det sandt, at Øjvind flytter til Færøerne?
Børnene løb ned til stranden og badede.
Jeg kan lide hunde, katte osv., men ikke slanger.
Mødet begynder klokken halv ni.
Vi ses på torsdag.
""",
        "de": """
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.
Wo hast du gestern Abend gegessen?
Das ist ja wunderschön!
Frau Köhler trägt immer einen grünen Mantel.
„Kommst du mit ins Kino?“, fragte er.
Der Zug nach Österreich hat fünfundzwanzig Minuten Verspätung.
Am 3. Oktober bleiben die Geschäfte geschlossen.
Dr. Jürgen Weiß arbeitet seit zehn Jahren in Zürich.
Könnten Sie mir bitte das Salz reichen?
Die Bäume verlieren im Herbst ihre Blätter.
Er mag z. B. Äpfel, Birnen und Süßkirschen.
Im 19. Jahrhundert reiste man noch mit der Kutsche.
Ärgere dich nicht!
Meine Großmutter erzählte uns oft von früher.
Das Paket wiegt ca. drei Kilogramm.
Sie sagte: „Ich habe keine Zeit.“
Straßenbahnen fahren hier alle acht Minuten.
Warum schläft Übermut so selten?
Ich weiß nicht, ob Maximilian heute kommt.
Wir wohnen in der Nähe des Schloßgartens, Hausnummer siebzehn.
Das Buch erschien bei Fischer, der Preis war hoch.
Nun ist aber Schluss!
""",
        "el": """
Η γρήγορη αλεπού πηδά πάνω από το τεμπέλικο σκυλί.
Πού πηγαίνεις απόψε;
Τι ωραία μέρα!
Ο Γιώργος και η Ελένη ζουν στη Θεσσαλονίκη.
Αγόρασα δεκαπέντε πορτοκάλια και ένα ψωμί.
«Θα έρθεις μαζί μας;» ρώτησε η Ζωή.
Το τρένο φεύγει στις εφτά το πρωί.
Η Ξένια ψάχνει τα κλειδιά της εδώ και μία ώρα.
Δεν ξέρω αν θα βρέξει αύριο.
Ποιος άφησε ανοιχτή την πόρτα;
Το φεγγάρι φώτιζε τη θάλασσα.
Ο παππούς μου ήταν ψαράς στην Κρήτη.
Πρόσεχε, ο δρόμος γλιστράει!
Μαϊμούδες και προϊόντα: δύο λέξεις με διαλυτικά.
Ο Οδυσσέας ταξίδευε δέκα χρόνια.
Έχεις δει ποτέ χιόνι;
Θέλω έναν καφέ, χωρίς ζάχαρη, παρακαλώ.
Η κυρία Βασιλείου διδάσκει ιστορία, φυσική κ.λπ. στο λύκειο.
Ο κ. Παπαδόπουλος λείπει σήμερα.
Το μουσείο άνοιξε πριν από είκοσι χρόνια.
Τα παιδιά παίζουν στην αυλή του σχολείου.
Καλημέρα, τι κάνετε;
""",
        "en": """
The quick brown fox jumps over the lazy dog.
Where did you put my umbrella?
What a beautiful morning!
Mrs. Blackwood moved to St. Ives last spring.
“Will you come with us?” asked Judy.
There are thirty-two apples in the basket.
Dr. Quentin Fox examined the zebra at the zoo.
I don't know whether it's true.
The train to Exeter leaves at half past six.
Nobody answered, so we went home.
She bought bread, cheese, olives, etc. for the picnic.
My brother's friend works in New York.
Isn't it a bit too early for that?
They arrived at 5 p.m. on a rainy Tuesday.
The U.S. team won by a single point.
Close the door, please!
A naïve café owner opened a second shop.
He said, “I have never seen the sea.”
The third chapter is the longest one.
We walked for hours along the river.
Does anyone know what happened?
See you tomorrow.
""",
        "es": """
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia.
¿Dónde has dejado las llaves?
¡Qué día tan bonito!
La Sra. Ibáñez vive en Logroño desde hace veintidós años.
«¿Vienes con nosotros?», preguntó Íñigo.
El tren a Cádiz sale a las siete y media.
No sé si mañana lloverá en la montaña.
Compré pan, queso, aceitunas, etc. para la cena.
Mi abuela cocinaba el mejor cocido del pueblo.
¿Cuántos años tienes?
El Dr. Núñez llegó tarde a la reunión.
Los niños corrían por la playa, felices.
¡Cierra la puerta, por favor!
Había una vez un ratón que quería ver el mar.
El año pasado viajamos a Perú y a Paraguay.
Dijo que volvería pronto, pero nunca volvió.
La cigüeña anidó en la torre de la iglesia.
¿Por qué no me llamaste ayer?
El examen tiene catorce preguntas difíciles.
A Ximena le gustan el whisky y el kiwi.
Vamos a la casa de mi tío, que está enfermo.
Hasta luego.
""",
        "fi": """
Törkylempijävongahdus on suomen kielen hauska sana.
Missä sinä asut?
Onpa täällä kaunista!
Äiti ja isä matkustivat Åbon kautta Tukholmaan.
Ostin kaksikymmentäviisi munaa ja leipää.
”Lähdetkö mukaan?” kysyi Väinö.
Juna Jyväskylään lähtee puoli kahdeksalta.
En tiedä, sataako huomenna.
Hän syntyi 3. toukokuuta pienessä kylässä.
Lapset juoksivat rantaan uimaan.
Sulje ovi, ole hyvä!
Kuka jätti ikkunan auki?
Kahvi maksaa n. kolme euroa.
Mummo kertoi meille vanhoja tarinoita.
Zeppeliini ja xylofoni olivat museossa.
Yöllä satoi lunta, ja aamulla kaikki oli valkoista.
Pidän marjoista, esim. mustikoista ja puolukoista.
Miksi et soittanut eilen?
Kirja on pöydällä, lamppu sen vieressä.
Tohtori Hämäläinen työskentelee sairaalassa.
Pöytä, tuoli jne. kannettiin ulos.
Nähdään perjantaina.
""",
        "fr": """
Portez ce vieux whisky au juge blond qui fume.
Où as-tu mis mes clés ?
Quelle belle journée !
Mme Lefèvre habite à Nîmes depuis vingt-deux ans.
« Viendras-tu avec nous ? » demanda Zoé.
Le train pour Besançon part à sept heures et demie.
Je ne sais pas s’il pleuvra demain.
Le garçon a mangé une crêpe et deux œufs.
M. Gauthier n’est pas venu à la réunion.
Noël approche, l’âne et le bœuf attendent.
Ferme la porte, s’il te plaît !
Il a acheté du pain, du fromage, etc. pour ce soir.
Ma grand-mère nous racontait des histoires.
Qu’est-ce que c’est que ça ?
L’été dernier, nous sommes allés à la plage.
Le capitaine a dit : « Je n’ai jamais vu la mer. »
La maïeutique ambiguë de Socrate m’étonne.
Pourquoi n’as-tu pas téléphoné hier ?
L’hôtel compte quatre-vingt-dix chambres.
Elle joue du xylophone à l’école.
Ça suffit, maintenant !
À bientôt.
""",
        "he": """
הילדה הלכה לבית הספר בבוקר.
איפה שמת את המפתחות?
איזה יום יפה!
דוד ורחל גרים בחיפה כבר עשרים שנה.
קניתי חמש עשרה תפוזים וחלה אחת.
״אתה בא איתנו?״ שאלה נועה.
הרכבת לתל אביב יוצאת בשבע וחצי.
אני לא יודע אם ירד גשם מחר.
שָׁלוֹם לְכָל הַיְּלָדִים.
מי השאיר את החלון פתוח?
סבתא סיפרה לנו סיפורים ישנים.
תסגור את הדלת, בבקשה!
הספר נמצא על השולחן, ליד המנורה.
צ׳רלי אוהב ג׳ירפות וז׳קטים.
ד״ר כהן עובד בבית החולים.
למה לא התקשרת אתמול?
הכלב נבח כל הלילה, ואיש לא ישן.
צה״ל הוא צבא ההגנה לישראל.
החתול קפץ מעל הגדר וברח.
השמש זרחה מעל הים.
יש לי שני אחים ואחות אחת.
להתראות.
""",
        "hi": """
मेरा नाम सुनीता है।
आप कल कहाँ गए थे?
कितना सुंदर दृश्य है!
राम और श्याम बाज़ार से पच्चीस आम लाए।
“क्या तुम हमारे साथ चलोगे?” उसने पूछा।
रेलगाड़ी सुबह साढ़े सात बजे छूटती है।
मुझे नहीं पता कि कल बारिश होगी या नहीं।
बच्चे नदी के किनारे दौड़ रहे हैं।
डॉ. शर्मा आज अस्पताल में नहीं हैं।
दरवाज़ा बंद कर दीजिए!
दादी हमें पुरानी कहानियाँ सुनाती थीं।
खिड़की किसने खुली छोड़ी?
उसने कहा, “मैंने समुद्र कभी नहीं देखा।”
ज्ञान और विज्ञान में बहुत अंतर है।
ऋषि ने वृक्ष के नीचे बैठकर ध्यान किया।
घर के पीछे एक छोटा बगीचा है, जहाँ फूल खिलते हैं।
मेज़ पर किताब और क़लम रखे हैं।
तुमने कल फ़ोन क्यों नहीं किया?
अंग्रेज़ी की परीक्षा में चौदह प्रश्न थे।
ढाई घंटे बाद ट्रेन झाँसी पहुँची।
ऊँट रेगिस्तान का जहाज़ कहलाता है।
फिर मिलेंगे।
""",
        "it": """
Quel vituperabile xenofobo zelante assaggia il whisky ed esclama: alleluja.
Dove hai messo le chiavi?
Che bella giornata!
La sig.ra Bianchi abita a Forlì da ventidue anni.
«Vieni con noi?» chiese Lucia.
Il treno per Città di Castello parte alle sette e mezza.
Non so se domani pioverà.
Il dott. Verdi non è più in ufficio.
Ho comprato pane, formaggio, olive ecc. per la cena.
Perché non mi hai telefonato ieri?
La nonna ci raccontava storie di una volta.
Chiudi la porta, per favore!
L’anno scorso siamo andati in Sicilia.
C’era una volta un topo che voleva vedere il mare.
Chi ha lasciato aperta la finestra?
Lunedì, martedì e mercoledì il museo è chiuso.
Disse: «Non ho mai visto la neve.»
I bambini correvano lungo la spiaggia.
L’esame ha quattordici domande difficili.
Così non va, mio caro!
È già ora di cena.
A presto.
""",
        "ja": """
私は毎朝、学校へ歩いて行きます。
昨日はどこへ行きましたか？
なんて美しい景色でしょう！
田中さんと鈴木さんは東京に住んでいます。
卵を十二個とパンを買いました。
「一緒に来ますか？」と花子が聞いた。
電車は七時半に出発します。
明日雨が降るかどうか、分かりません。
カメラとテレビを新しい店で買った。
祖母は昔の話をよくしてくれた。
窓を開けたのは誰ですか？
ドアを閉めてください！
猫が三匹、屋根の上で寝ている。
彼は「海を見たことがない。」と言った。
図書館で日本の歴史の本を借りました。
春になると、桜の花が咲きます。
お茶を一杯いかがですか？
北海道の冬はとても寒いです。
子供たちは公園で元気に遊んでいる。
三百円の切符を二枚ください。
人々は静かに話を聞いていた。
それでは、また来週。
""",
        "ko": """
저는 매일 아침 학교에 걸어서 갑니다.
어제 어디에 갔어요?
정말 아름다운 풍경이네요!
김민수 씨와 이영희 씨는 서울에 살고 있습니다.
달걀 열두 개와 빵을 샀어요.
“같이 갈래요?” 하고 지은이가 물었다.
기차는 일곱 시 반에 출발합니다.
내일 비가 올지 모르겠어요.
할머니는 옛날이야기를 자주 들려주셨다.
누가 창문을 열어 놓았어요?
문을 닫아 주세요!
고양이 세 마리가 지붕 위에서 자고 있다.
그는 “바다를 본 적이 없다.”라고 말했다.
도서관에서 역사책을 빌렸습니다.
봄이 되면 벚꽃이 핍니다.
값이 너무 비싸서 사지 않았어요.
왜 어제 전화하지 않았어?
닭이 마당에서 모이를 쪼고 있다.
흙을 밟고 걷는 것이 좋다.
아이들이 놀이터에서 뛰어놀고 있어요.
커피 한 잔 어때요?
안녕히 가세요.
""",
        "ms": """
Saya berjalan kaki ke sekolah setiap pagi.
Di manakah awak letak kunci kereta?
Cantiknya pemandangan ini!
Encik Ahmad dan Puan Faridah tinggal di Kuala Lumpur.
Ibu membeli dua puluh lima biji telur dan sebuku roti.
“Adakah kamu mahu ikut kami?” tanya Zulkifli.
Kereta api ke Johor bertolak pada pukul tujuh setengah pagi.
Saya tidak pasti sama ada hujan akan turun esok.
Dr. Siti bekerja di hospital itu sejak tahun lepas.
Kanak-kanak berlari di tepi pantai.
Tolong tutup pintu!
Siapakah yang membuka tingkap tadi?
Nenek selalu bercerita tentang zaman dahulu.
Beliau berkata, “Saya belum pernah melihat salji.”
Kucing itu melompat ke atas bumbung.
Harga durian naik lagi, kata Vincent dan Xavier.
Mengapakah kamu tidak menelefon saya semalam?
Peperiksaan itu ada empat belas soalan.
Mereka menanam sayur, misalnya bayam dan kubis.
Quraisy membaca buku sejarah di perpustakaan.
Hari ini cuaca sangat panas.
Jumpa lagi.
""",
        "nl": """
Pa’s wijze lynx bezag vroom het fikse aquaduct.
Waar heb je de sleutels gelegd?
Wat een mooie dag!
Mevrouw De Vries woont al tweeëntwintig jaar in IJmuiden.
‘Ga je met ons mee?’ vroeg Joost.
De trein naar ’s-Hertogenbosch vertrekt om half acht.
Ik weet niet of het morgen regent.
Dr. Jansen werkt in het ziekenhuis van Zwolle.
Hij kocht brood, kaas, olijven enz. voor vanavond.
Het is gewoon één groot café.
Mijn oma vertelde vaak over vroeger.
Doe de deur dicht, alsjeblieft!
Wie heeft het raam opengelaten?
Hij zei: “Ik heb nog nooit sneeuw gezien.”
De coöperatie verkoopt groente, o.a. prei en spinazie.
Waarom heb je gisteren niet gebeld?
De kinderen renden over het strand.
Op 3 mei vieren we haar verjaardag.
Het examen telt veertien moeilijke vragen.
Zij heeft een idee, geloof ik.
De reünie begint over een uur.
Tot ziens.
""",
        "no": """
Vår sære Zulu fra badeøya spilte jo whist og quickstep i min taxi.
Hvor har du lagt nøklene?
Så vakkert det er her!
Åse og Bjørn bor i en liten bygd nær Ålesund.
Jeg kjøpte tjuefem egg og et brød.
«Blir du med i kveld?» spurte Ærlend.
Toget til Tromsø går ikke lenger enn til Fauske.
Jeg vet ikke om det blir regn i morgen.
De giftet seg den 3. mai i Nidarosdomen.
Kaffen koster ca. tretti kroner.
Hvem har glemt å lukke vinduet?
Lukk døra, er du snill!
Bestemor fortalte oss gamle eventyr.
På 1800-tallet reiste folk med hest og slede.
Barna løp ned til stranda og badet.
Han liker frukt, f.eks. epler og pærer.
Hvorfor ringte du ikke i går?
Legen sa: «Du må hvile litt.»
Møtet begynner klokka halv ni.
Vi spiste fisk, poteter osv. på hytta.
Fjorden lå blank i kveldslyset.
Vi sees på torsdag.
""",
        "pl": """
Zażółć gęślą jaźń.
Gdzie położyłeś klucze?
Jaki piękny dzień!
Pani Śliwińska mieszka w Łodzi od dwudziestu dwóch lat.
„Pójdziesz z nami?” – zapytała Żaneta.
Pociąg do Białegostoku odjeżdża o wpół do ósmej.
Nie wiem, czy jutro będzie padać śnieg.
Dr Wójcik pracuje w szpitalu przy ul. Długiej.
Kupił chleb, ser, oliwki itd. na kolację.
Kto zostawił otwarte okno?
Zamknij drzwi, proszę!
Babcia opowiadała nam stare baśnie.
Święto Niepodległości obchodzimy 11 listopada.
W 1999 r. przeprowadziliśmy się do Gdańska.
Źrebię biegało po łące, a ćma krążyła wokół lampy.
Powiedział: „Nigdy nie widziałem morza.”
Dlaczego wczoraj nie zadzwoniłeś?
Lubię owoce, np. jabłka, gruszki i śliwki.
Dzieci biegły brzegiem rzeki.
Egzamin ma czternaście trudnych pytań.
Wąż wśliznął się pod kamień.
Do zobaczenia.
""",
        "pt": """
Luís argüia à Júlia que «brações, fé, chá, óxido, pôr, zângão» eram palavras do português.
Onde puseste as chaves?
Que dia tão bonito!
A Sra. Magalhães vive em Évora há vinte e dois anos.
«Vens connosco?», perguntou Inês.
O comboio para Guimarães parte às sete e meia.
Não sei se amanhã vai chover.
O Dr. Gonçalves não está no consultório.
Comprei pão, queijo, azeitonas, etc. para o jantar.
Quem deixou a janela aberta?
Fecha a porta, por favor!
A minha avó contava-nos histórias antigas.
Por que não me telefonaste ontem?
Era uma vez um rato que queria ver o mar.
As crianças corriam pela praia.
Ele disse: «Nunca vi neve.»
O exame tem catorze questões difíceis.
Aquele avião voa para São Tomé e Príncipe.
A lingüiça e o kiwi estão na mesa.
O coração bate mais depressa à noite.
Está tudo bem?
Até logo.
""",
        "ru": """
Съешь же ещё этих мягких французских булок да выпей чаю.
Куда ты положил ключи?
Какой прекрасный день!
Анна и Юрий живут в Санкт-Петербурге двадцать два года.
«Ты пойдёшь с нами?» – спросила Щукина.
Поезд на Ярославль отправляется в половине восьмого.
Я не знаю, будет ли завтра дождь.
В 1999 г. мы переехали в Хабаровск.
Он купил хлеб, сыр, чай и т. д. на ужин.
Кто оставил окно открытым?
Закрой дверь, пожалуйста!
Бабушка рассказывала нам старые сказки.
Доктор сказал: «Вам нужно отдыхать.»
Дети бежали по берегу реки.
Почему ты вчера не позвонил?
Дом стоит на ул. Ленина, рядом с вокзалом.
Эхо долго гремело в горах.
В замке на горе давно никто не живёт.
Экзамен состоит из четырнадцати трудных вопросов.
Ёжик нашёл под елью большой гриб.
Цапля стояла на одной ноге.
До свидания.
""",
        "sv": """
Flygande bäckasiner söka hwila på mjuka tuvor.
Var har du lagt nycklarna?
Så vackert det är här!
Åsa och Björn bor i en liten by nära Örebro.
Jag köpte tjugofem ägg och ett bröd.
”Följer du med i kväll?” frågade Märta.
Tåget till Växjö går klockan halv åtta.
Jag vet inte om det blir regn i morgon.
De gifte sig den 3 maj i Uppsala domkyrka.
Kaffet kostar ca trettio kronor.
Vem lämnade fönstret öppet?
Stäng dörren, är du snäll!
Mormor berättade gamla sagor för oss.
Han gillar frukt, t.ex. äpplen och päron.
Barnen sprang ner till stranden och badade.
Varför ringde du inte i går?
Läkaren sa: ”Du måste vila lite.”
På 1800-talet reste man med häst och släde.
Vi åt fisk, potatis m.m. i stugan.
Zebran och kiwin kommer från olika världsdelar.
En idé är värd mer än en quiz.
Vi ses på torsdag.
""",
        "sw": """
Watoto wanakwenda shuleni kila asubuhi.
Umeweka wapi funguo zangu?
Siku nzuri kama nini!
Juma na Fatuma wanaishi Dar es Salaam.
Mama alinunua mayai ishirini na tano na mkate mmoja.
“Utakuja pamoja nasi?” aliuliza Zawadi.
Treni ya Mombasa inaondoka saa moja na nusu.
Sijui kama mvua itanyesha kesho.
Daktari Mwangi anafanya kazi hospitalini.
Nani aliacha dirisha wazi?
Funga mlango, tafadhali!
Bibi alitusimulia hadithi za kale.
Alisema, “Sijawahi kuona theluji.”
Ng’ombe watatu walikuwa wakila majani.
Kwa nini hukunipigia simu jana?
Wavuvi walirudi pwani jioni.
Mtihani una maswali kumi na manne magumu.
Paka aliruka juu ya ukuta.
Ghala limejaa mahindi, maharagwe na viazi.
Vyakula hivi vinauzwa sokoni Arusha.
Chai iko tayari.
Kwaheri.
""",
        "tr": """
Pijamalı hasta yağız şoföre çabucak güvendi.
Anahtarları nereye koydun?
Ne güzel bir gün!
Ayşe Hanım yirmi iki yıldır Iğdır'da yaşıyor.
“Bizimle gelir misin?” diye sordu İbrahim.
Tren saat yedi buçukta kalkıyor.
Yarın yağmur yağar mı, bilmiyorum.
Dr. Öztürk bugün hastanede değil.
Ekmek, peynir, zeytin vb. aldım.
Pencereyi kim açık bıraktı?
Kapıyı kapat, lütfen!
Büyükannem bize eski masallar anlatırdı.
19. yüzyılda insanlar at arabasıyla yolculuk ederdi.
Çocuklar ırmak kıyısında koşuyordu.
Neden dün beni aramadın?
“Hiç deniz görmedim.” dedi.
Sınavda on dört zor soru var.
Işıl'ın köpeği gölgede uyuyor.
II. Mehmet İstanbul'u fethetti.
Kâğıt ve kalem masanın üzerinde.
Kış geldi, her yer bembeyaz oldu.
Görüşürüz.
""",
        "zh": """
今天天气很好，我们去公园散步吧。
你昨天去了哪里？
这里的风景真美啊！
王小明和李华住在北京。
妈妈买了二十五个鸡蛋和一个面包。
“你跟我们一起去吗？”她问。
火车七点半出发。
我不知道明天会不会下雨。
奶奶常常给我们讲故事。
谁把窗户打开了？
请把门关上！
三只猫在屋顶上睡觉。
他说：“我从来没有见过大海。”
图书馆里有很多历史书。
春天到了，花都开了。
為什麼你昨天沒有打電話？
這本書很有意思，我看了兩遍。
孩子们在操场上跑步。
考试有十四道难题。
请给我一杯热茶，谢谢。
他一九九九年出生在上海。
再见。
""",
    }.items()
}
