"""A sentence in each language, spoken once to find the heads of T3 that follow the text."""

from __future__ import annotations

SENTENCES = {
    "ar": "في الصباح ذهبنا إلى السوق واشترينا الخبز والفاكهة.",
    "da": "Om morgenen gik vi ned til havnen og købte frisk fisk.",
    "de": "Am Morgen gingen wir zum Hafen und kauften frischen Fisch.",
    "el": "Το πρωί πήγαμε στο λιμάνι και αγοράσαμε φρέσκο ψάρι.",
    "en": "In the morning we walked to the harbour and bought some fresh fish.",
    "es": "Por la mañana fuimos al puerto y compramos pescado fresco.",
    "fi": "Aamulla kävelimme satamaan ja ostimme tuoretta kalaa.",
    "fr": "Le matin nous sommes allés au port acheter du poisson frais.",
    "he": "בבוקר הלכנו אל הנמל וקנינו דגים טריים.",
    "hi": "सुबह हम बंदरगाह गए और ताज़ी मछली खरीदी।",
    "it": "La mattina siamo andati al porto a comprare del pesce fresco.",
    "ja": "あさ、わたしたちはみなとへいって、さかなをかいました。",
    "ko": "아침에 우리는 항구에 가서 신선한 생선을 샀습니다.",
    "ms": "Pada waktu pagi kami pergi ke pelabuhan dan membeli ikan segar.",
    "nl": "In de ochtend liepen we naar de haven en kochten verse vis.",
    "no": "Om morgenen gikk vi ned til havnen og kjøpte fersk fisk.",
    "pl": "Rano poszliśmy do portu i kupiliśmy świeże ryby.",
    "pt": "De manhã fomos ao porto e comprámos peixe fresco.",
    "ru": "Утром мы пошли в порт и купили свежую рыбу.",
    "sv": "På morgonen gick vi ner till hamnen och köpte färsk fisk.",
    "sw": "Asubuhi tulikwenda bandarini na tukanunua samaki wabichi.",
    "tr": "Sabah limana yürüdük ve taze balık aldık.",
    "zh": "早上我们走到港口，买了一些新鲜的鱼。",
}


def calibration_sentence(language: str) -> str:
    """Returns the sentence of a language; the English one where there is none."""
    return SENTENCES.get(language, SENTENCES["en"])
