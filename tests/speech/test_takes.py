"""What is wrong with a take, by its tokens and by its way through the text."""

from __future__ import annotations

import numpy as np
import pytest

from speech.contract import FAULTS
from speech.t3.alignment import Scores
from speech.takes import WEIGHTS, Fault, TakeCheck, badness
from speech.text.duration import estimate_duration_s, max_speech_tokens
from tests.speech.t3.test_alignment import attention, noise

TEXT = "My brother sold his boat and bought a farm beside the lake."
SPANS = tuple((index, index + 1) for index in range(len(TEXT)))  # a token a letter
STEPS = 100
STEADY = np.arange(STEPS) * len(TEXT) // STEPS
SPEECH = np.arange(1000, 1000 + STEPS)
SILENT = 4299


def codes(
    places: np.ndarray, speech: np.ndarray | None = None, text: str = TEXT, *, stopped: bool = True
) -> list[str]:
    """The faults of a reading that looks at these places."""
    spans = tuple((index, index + 1) for index in range(len(text)))
    scores = attention(places, len(text))
    return found(TakeCheck.of(text, spans, frozenset({SILENT})), scores, speech, stopped=stopped)


def found(
    check: TakeCheck, scores: Scores | None, speech: np.ndarray | None = None, *, stopped: bool = True
) -> list[str]:
    if speech is None:
        assert scores is not None
        speech = np.arange(1000, 1000 + len(scores))
    return [fault.code for fault in check.faults(speech, scores, stopped=stopped)]


def hold(at: int, steps: int) -> np.ndarray:
    """A reading that stays at a step."""
    return np.concatenate([STEADY[:at], np.full(steps, STEADY[at]), STEADY[at:]])


def test_a_good_reading_has_no_fault():
    assert codes(STEADY) == []


def test_every_fault_has_a_weight_and_a_sentence():
    assert FAULTS.keys() == WEIGHTS.keys()


def test_an_end_that_is_never_reached():
    assert codes(STEADY[:60]) == ["end_missing"]
    assert codes(STEADY[:-6]) == []  # within the last word


def test_words_that_are_said_again():
    assert codes(np.concatenate([STEADY[:70], STEADY[35:]])) == ["repeats"]
    one_word = np.concatenate([STEADY[:70], STEADY[63:]])
    assert codes(one_word) == []


def test_words_that_are_left_out():
    assert codes(np.concatenate([STEADY[:30], STEADY[65:]])) == ["skips"]
    assert codes(STEADY[40:]) == ["skips"]  # from the start on
    assert codes(np.concatenate([STEADY[:30], STEADY[37:]])) == []


def test_a_place_that_is_stayed_at():
    assert codes(hold(40, 35)) == ["stuck"]
    assert codes(hold(40, 15)) == []


def test_a_pause_is_no_stay():
    places = hold(40, 35)
    speech = np.full(len(places), 1000)
    speech[40:75] = SILENT
    assert codes(places, speech) == []


def test_a_sound_of_an_event_may_last():
    text = "[laugh] " + TEXT
    spans = ((0, 7), *((index, index + 1) for index in range(7, len(text))))
    places = np.concatenate([np.zeros(45), 1 + np.arange(105) * len(TEXT) // 105])
    check = TakeCheck.of(text, spans)
    assert found(check, attention(places, len(spans))) == []
    assert found(TakeCheck.of("A laugh " + TEXT, spans), attention(places, len(spans))) == ["stuck"]


def test_attention_that_is_lost_tells_nothing():
    assert found(TakeCheck.of(TEXT, SPANS), noise(STEPS, len(TEXT), 0)) == []


def test_a_reading_without_tokens_and_one_that_ran_on():
    check = TakeCheck.of(TEXT)
    assert found(check, None, SPEECH[:0]) == ["empty"]
    assert found(check, None, SPEECH, stopped=False) == ["ran_on"]


@pytest.mark.parametrize(
    "text", ["Yes.", "No!", "Hm", "7", "OK", "你好。", "[laugh]", "はい", TEXT, TEXT * 4]
)
def test_durations_from_half_to_double_the_estimate_are_good(text):
    """And whatever a word takes between a third of a second and one and a half."""
    check, estimate_s = TakeCheck.of(text), estimate_duration_s(text)
    for duration_s in (max(0.35, 0.5 * estimate_s), max(1.5, 2.0 * estimate_s)):
        assert found(check, None, np.ones(round(25 * duration_s))) == []


@pytest.mark.parametrize("text", [TEXT, TEXT * 2])
def test_durations_far_from_the_estimate_are_faults(text):
    check, estimate_s = TakeCheck.of(text), estimate_duration_s(text)
    assert found(check, None, np.ones(round(25 * 0.3 * estimate_s))) == ["too_short"]
    assert found(check, None, np.ones(max_speech_tokens(text) - 1)) == ["too_long"]


def test_texts_of_few_tokens_are_checked_as_well():
    """Of one letter, of one word, and with more text than speech."""
    for text in ("A", "Yes.", "Yes, no."):
        places = np.arange(20) * len(text) // 20
        assert codes(places, text=text) == []
        assert codes(places[-1:], text=text) in ([], ["skips"])


def test_scripts_without_spaces_have_words_of_two_characters():
    text = "早上我们走到港口买了一些新鲜的鱼"
    steady = np.arange(90) * len(text) // 90
    assert codes(steady, text=text) == []
    assert codes(steady[:50], text=text) == ["end_missing"]
    assert codes(np.concatenate([steady[:70], steady[20:]]), text=text) == ["repeats"]


def test_the_worst_fault_comes_first_and_more_make_a_take_worse():
    faults = TakeCheck.of(TEXT, SPANS).faults(
        SPEECH[:60], attention(np.concatenate([STEADY[:50], STEADY[:10]]), len(TEXT)), stopped=False
    )
    assert [fault.code for fault in faults] == ["ran_on", "end_missing", "repeats"]
    assert badness(faults) > badness(faults[:2]) > badness(faults[:1]) > badness(()) == 0
    assert badness([Fault("stuck", 0.1)]) < badness([Fault("stuck", 0.9)])
