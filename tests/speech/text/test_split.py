import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cancel import CancelToken
from errors import Cancelled
from speech.text import Chunk, clean_text, estimate_duration_s, has_speakable, split_text
from speech.text.boundaries import Boundary, rank_boundaries
from speech.text.duration import UNITS_PER_S, units_per_s
from speech.text.split import CLAUSE_PAUSE_S, MIN_MAX_CHUNK_S, PARAGRAPH_PAUSE_S, SENTENCE_PAUSE_S
from tests.speech.text.language_sentences import SENTENCES
from tests.speech.text.texts import ANY_TEXT, FAMILY, FLAGS

UNITS = [
    "Dr. Smith", "e.g. this", "U.S. Army", "J. R. R. Tolkien", "3 p.m. on", "Jan. 5th", "approx. three",
    "vol. 2", "1,234.56", "3.14", "10:30", "2024-05-01", "10 000 000", "2.5 km", "5, 2024", "１，２３４",
    "https://example.com/a,b;c:d?e=f.g", "first.last@example.co.uk", "Node.js", "don’t", "co-operate",
]  # fmt: skip
LIMITS_S = st.floats(MIN_MAX_CHUNK_S, 27)
LANGUAGES = st.sampled_from([None, *SENTENCES])


def texts(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def without_spaces(text: str) -> str:
    return "".join(text.split())


def letters_and_digits(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@pytest.mark.parametrize("text", ["", " \n", "...", "?!", "—", "* * *", "😀", "\u200b", "\ud83d", "\u0301"])
def test_marks_alone_cannot_be_spoken_and_give_no_chunks(text):
    assert not has_speakable(text)
    assert split_text(text) == []


@settings(max_examples=400, deadline=None)
@given(text=ANY_TEXT, max_chunk_s=LIMITS_S, language=LANGUAGES)
@example(text="a" + "!" * 500 + "b" + " ." * 300 + "c", max_chunk_s=MIN_MAX_CHUNK_S, language="pl")
@example(text="Z" + "\u0301" * 500 + "algo" * 100, max_chunk_s=MIN_MAX_CHUNK_S, language=None)
@example(text="क्" * 400, max_chunk_s=MIN_MAX_CHUNK_S, language="hi")
@example(text="7" * 400, max_chunk_s=MIN_MAX_CHUNK_S, language="pl")
@example(text=FLAGS * 50 + "x", max_chunk_s=MIN_MAX_CHUNK_S, language=None)
def test_every_chunk_fits_and_says_something_and_no_letter_is_lost(text, max_chunk_s, language):
    chunks = split_text(text, max_chunk_s, language=language)
    for chunk in chunks:
        assert len(chunk.text) <= max_chunk_s * units_per_s(language)
        assert has_speakable(chunk.text)
        assert chunk.text == " ".join(chunk.text.split())
    assert letters_and_digits("".join(texts(chunks))) == letters_and_digits(clean_text(text))
    assert chunks == split_text(text, max_chunk_s, language=language)
    assert all(chunk.pause_after_s in (0, 0.1, 0.2, 0.5) for chunk in chunks)
    assert not chunks or chunks[-1].pause_after_s == 0


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT, max_chunk_s=LIMITS_S)
def test_a_text_that_starts_short_loses_nothing_either(text, max_chunk_s):
    chunks = split_text(text, max_chunk_s, starts_short=True)
    for index, chunk in enumerate(chunks):
        assert len(chunk.text) <= min(max_chunk_s, MIN_MAX_CHUNK_S * (index + 1)) * UNITS_PER_S + 1e-6
        assert has_speakable(chunk.text)
    assert letters_and_digits("".join(texts(chunks))) == letters_and_digits(clean_text(text))


def test_a_text_that_starts_short_starts_with_a_sentence():
    text = "It was late. " * 30
    chunks = texts(split_text(text, starts_short=True))
    assert len(chunks[0]) < len(chunks[1])
    assert all(chunk.endswith(".") for chunk in chunks)


@settings(max_examples=300, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(["ab", "cd", "Ef.", "gh,", "3.5", "ij!", "好。", "„x‟", "(k)", "é…", "—", "%"]),
        min_size=1,
        max_size=300,
    )
)
def test_on_one_line_not_even_a_mark_is_lost(text):
    line = "x " + " ".join(text)
    if re.search(r"[\W_]{21}", line) is None:
        assert without_spaces("".join(texts(split_text(line)))) == without_spaces(line)


def test_a_short_text_is_one_chunk_in_its_own_words():
    assert split_text(" Hello —  “there”… ") == [Chunk("Hello — “there”…", 0.0)]


def test_sentences_are_packed_together_and_cut_between():
    sentences = [f"This is sentence number {name} of the whole text." for name in "abcdefghij"]
    chunks = split_text(" ".join(sentences))
    assert len(chunks) == 2
    assert [chunk.text.endswith("text.") for chunk in chunks] == [True, True]
    assert chunks[0].pause_after_s == SENTENCE_PAUSE_S
    assert abs(len(chunks[0].text) - len(chunks[1].text)) < 60


def test_paragraphs_are_never_in_one_chunk():
    chunks = split_text("First one.\n\nSecond one.\n \t\n\nThird one.\u2029Fourth.")
    assert texts(chunks) == ["First one.", "Second one.", "Third one.", "Fourth."]
    assert [chunk.pause_after_s for chunk in chunks] == [PARAGRAPH_PAUSE_S] * 3 + [0]


@pytest.mark.parametrize("rule", ["* * *", "---", "___", "❧", "..."])
def test_a_line_of_marks_ends_a_paragraph_and_is_not_spoken(rule):
    assert texts(split_text(f"The end.\n{rule}\nA start.")) == ["The end.", "A start."]


def test_wrapped_lines_are_one_sentence():
    wrapped = (
        "The quick brown fox jumps over the dog and runs\naway\nto the good people of a grand city called\n"
        "New York and on to the great bridge of President\nKennedy."
    )
    assert texts(split_text(wrapped)) == [wrapped.replace("\n", " ")]


def test_headings_and_list_items_end_with_a_stop():
    items = "# A Title\nThe list:\n- milk\n* eggs (twelve)\n• “bread!”\n1. First\n2) Second"
    text = items + "\n\nChapter One\nIt began."
    assert texts(split_text(text)) == [
        "A Title. The list: milk. eggs (twelve). “bread!” 1. First. 2) Second",
        "Chapter One. It began.",
    ]


def test_a_long_sentence_is_cut_at_its_clauses():
    clause = "the road went on over hills and rivers without any end in sight"
    chunks = split_text("; ".join([clause] * 9) + ".")
    assert all(chunk.text.startswith("the road") and chunk.text[-1] in ";." for chunk in chunks)
    assert {chunk.pause_after_s for chunk in chunks[:-1]} == {CLAUSE_PAUSE_S}


def test_without_clauses_it_is_cut_between_words_without_a_pause():
    words = "word " * 100
    chunks = split_text(words)
    assert all(set(chunk.text.split()) == {"word"} for chunk in chunks)
    assert {chunk.pause_after_s for chunk in chunks} == {0}


@pytest.mark.parametrize("length", [281, 300, 561, 570])
def test_no_tiny_tail_is_left_over(length):
    chunks = split_text(("abc " * 200)[:length].strip())
    assert min(len(chunk.text) for chunk in chunks) > 90


def test_a_one_word_sentence_is_kept_with_its_neighbour():
    chunks = split_text("Yes. " + "the road went over the hills, and over the rivers, " * 7)
    assert chunks[0].text.startswith("Yes. the road")


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_is_cut_inside(unit):
    # The unit at every distance from the start, so that a cut would fall on each of its places.
    for offset in range(0, 140, 3):
        text = "x" * (offset + 1) + " " + f"{unit} and so " * 40
        joined = " | ".join(texts(split_text(text, 8)))
        assert joined.count(unit) == 40, joined


@pytest.mark.parametrize("language", SENTENCES)
def test_every_language_is_cut_between_sentences(language):
    sentences = [clean_text(sentence) for sentence in SENTENCES[language]]
    chunks = texts(split_text(" ".join(sentences), language=language))
    assert len(chunks) > 1
    for chunk in chunks:
        while chunk:  # whole sentences one after the other
            assert chunk.startswith(sentences[0])
            chunk = chunk.removeprefix(sentences.pop(0)).lstrip()
    assert not sentences


def test_a_turn_of_a_dialogue_ends_a_sentence_whatever_its_last_word_is():
    turn = "Иванов долго шёл по дороге и пришёл наконец в старый г."
    chunks = split_text(f"— {turn}\n" * 8, language="ru")
    assert len(chunks) > 1
    assert all(chunk.text.endswith("г.") for chunk in chunks)
    assert {chunk.pause_after_s for chunk in chunks[:-1]} == {SENTENCE_PAUSE_S}


def test_a_dash_before_what_a_speaker_does_is_a_place_to_cut():
    sentence = "No sé qué quieres hacer —dijo ella— ni por qué has venido " * 6
    assert all(text.startswith("No sé") or text[0] in "—n" for text in texts(split_text(sentence)))


def test_an_all_lower_case_text_is_still_cut_at_sentences():
    chunks = split_text("hello there. how are you. i am fine thanks. " * 12)
    assert all(chunk.text.endswith(".") and chunk.pause_after_s in (SENTENCE_PAUSE_S, 0) for chunk in chunks)


def test_dialogue_is_cut_after_the_closing_quote():
    chunks = split_text("“Where are you going?” asked Tom. “Out,” she said — and she meant it. " * 5)
    assert all(text.startswith("“") and text.endswith(".") for text in texts(chunks))


def test_chinese_is_cut_at_its_own_marks():
    text = "今天天气很好，我们决定去公园散步。公园里有很多人，有的在跑步，有的在唱歌；孩子们在玩耍。" * 8
    chunks = split_text(text)
    assert "".join(texts(chunks)) == text
    assert all(chunk.text.endswith("。") for chunk in chunks)
    assert {chunk.pause_after_s for chunk in chunks[:-1]} == {SENTENCE_PAUSE_S}
    one_sentence = split_text("我们走了很久，看到了美丽的湖水、五颜六色的花；" * 12)
    assert all(chunk.text[-1] in "，、；" for chunk in one_sentence)


def test_a_japanese_quotation_goes_on_after_its_bracket():
    text = "彼は「いい天気ですね。」と言った。"
    assert rank_boundaries(text)[text.index("と")] is Boundary.CLAUSE


def test_a_script_without_spaces_or_marks_is_cut_between_its_characters():
    text = "今天天气很好我们决定去公园散步" * 20
    assert "".join(texts(split_text(text))) == text


@pytest.mark.parametrize(
    ("text", "starters"),
    [
        ("きゃしゅー" * 80, "きし"),
        ("เก้า" * 120, "เ"),
        ("กำ" * 200, "ก"),
        ("स्त्री" * 80, "स"),
        ("x\u0323\u0301" * 150, "x"),
        ("\u1112\u119e" * 150, "\u1112"),  # old hangul, which has no composed form
    ],
)
def test_what_reads_as_one_character_is_never_divided(text, starters):
    chunks = split_text(text)
    assert len(chunks) > 1
    assert all(chunk.text[0] in starters for chunk in chunks)
    assert "".join(texts(chunks)) == unicodedata.normalize("NFC", text)


def test_emoji_sequences_and_flags_are_never_divided():
    text = f"a{FAMILY}b{FLAGS}c👍🏽" * 40
    rest = "|".join(texts(split_text(text)))
    assert rest.count(FAMILY) == rest.count(FLAGS) == rest.count("👍🏽") == 40


def test_one_endless_word_is_cut_as_a_last_resort():
    chunks = split_text("a" * 5000)
    assert "".join(texts(chunks)) == "a" * 5000
    assert len(chunks) == 18


def test_digits_and_ideographs_fill_a_chunk_sooner():
    for text in ("1 2 3 4 5 6 7 8 9 " * 40, "好" * 500, "word " * 200, "FBI CIA NASA " * 30):
        chunks = split_text(text)
        assert all(estimate_duration_s(chunk.text) < 19 for chunk in chunks)


def test_long_rows_of_marks_are_shortened_and_weld_no_words():
    (chunk,) = split_text("Chapter 1 " + ". " * 200 + "page 9")
    assert letters_and_digits(chunk.text) == "Chapter1page9"
    assert " page 9" in chunk.text
    assert len(chunk.text) < 50


def test_a_limit_too_small_for_numbers_is_refused():
    with pytest.raises(ValueError, match="at least 6.67"):
        split_text("hello", 6.6)


def test_splitting_needs_no_torch():
    code = "import sys, speech.text; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_quotation_of_many_sentences_is_cut_between_them():
    quotation = "“" + "I went home that night. It was late, and the road was dark. " * 8 + "I slept.” "
    chunks = split_text(quotation + "He looked at her.")
    assert len(chunks) > 1
    assert all(chunk.text[-1] in ".”" for chunk in chunks)
    assert {chunk.pause_after_s for chunk in chunks[:-1]} == {SENTENCE_PAUSE_S}


def test_an_abbreviation_between_two_chunks_gets_no_pause():
    sentence = "On that day Ms. Johnson went to see Vol. Three with Dr. Lee at 5 p.m. Eastern in Ft. Worth, "
    for words in range(1, 40):
        text = "word " * words + sentence * 4
        assert not [chunk for chunk in split_text(text) if chunk.text.endswith((".", "Ms", "Dr", "Vol"))]


def test_thai_is_cut_after_letters_with_signs_too():
    text = "ที่นี่มีน้ำ" * 60
    chunks = split_text(text)
    assert "".join(texts(chunks)) == text
    ranks = rank_boundaries(text)
    assert ranks[text.index("น")] is Boundary.UNSPACED


@pytest.mark.parametrize(
    ("quotation", "mark"), [("„Ich gehe jetzt“, und", "und"), ("»Ich gehe jetzt«, und", "und")]
)
def test_german_quotation_marks_close_at_the_end(quotation, mark):
    assert rank_boundaries(quotation)[quotation.index(mark) - 1] is Boundary.CLAUSE


LONG = {
    "spaces": " " * 1_000_000 + "a",
    "a letter with accents of two heights": "a" + "\u0301\u0323" * 500_000,
    "decomposing marks": "a" + "\u0f73" * 1_000_000,
    "emoji": "a" + "😀" * 1_000_000,
    "flags": "a" + FLAGS[0] * 1_000_000,
    "one word": "a" * 100_000,
    "one number": "7" * 100_000,
    "alternating scripts": "a好اक" * 25_000,
    "one chinese paragraph": "今天天气很好，我们走。" * 9_000,
    "one paragraph of quotations": "“Hello there. ” " * 7_000,
    "quotations never closed": "“Hello there. " * 7_000,
    "abbreviations": "e.g. Ms. U.S. p. ex. " * 5_000,
    "lines of a letter": "a\n" * 100_000,
    "joined letters": "a" + "क्" * 50_000,
    "one line of a list": "milk • eggs " * 10_000,
    "verse": "The road went on\nand on and on\nso far\n" * 3_000,
    "turns of a dialogue": "— Tu viens ?\n—No —dijo ella—\n- Nein\n" * 3_000,
    "footnotes": "He left.[1] [2] She. " * 5_000,
    "names of works": "《书！" * 25_000,
    "closing quotes": ("a." + "”»" * 9 + "\n") * 5_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_and_hostile_texts_are_split_without_loss(text):
    chunks = split_text(text)  # each of them took minutes, or hours, when the time was quadratic
    assert letters_and_digits("".join(texts(chunks))) == letters_and_digits(clean_text(text))


def test_a_cancelled_job_is_not_split_to_its_end():
    cancel = CancelToken()
    cancel.cancel(Cancelled("The caller cancelled the job"))
    with pytest.raises(Cancelled, match="The caller"):
        split_text("One sentence.", cancel=cancel)


def test_cancelling_between_two_paragraphs_ends_the_splitting():
    class CancelsAtThird(CancelToken):
        checks = 0

        def raise_if_cancelled(self):
            self.checks += 1
            if self.checks == 3:
                self.cancel(Cancelled("enough"))
            super().raise_if_cancelled()

    cancel = CancelsAtThird()
    with pytest.raises(Cancelled):
        split_text("One.\n\n" * 1000, cancel=cancel)
    assert cancel.checks == 3
