"""What a ``tts`` job says: passages of text, each with its voice, language, speed and seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from audio.speed import FASTEST, SLOWEST
from cancel import CancelToken
from characters import has_speakable, printable_excerpt
from errors import InvalidRequest, Problem, TextTooLong, VoiceNotFound, WorkerError
from operations.base import Services
from operations.chosen_model import Language, choose_common_model
from operations.chosen_voice import ChosenVoice, choose_stored_voice, conditionals_of
from operations.event_tags import sayable, sayable_replacements, unknown_tags
from operations.parameters import SpeechParameters, resolved, usable_defaults
from operations.pronunciations import PronunciationEntry, levels_for
from operations.request import Request, between
from operations.speech_result import SpokenLine
from operations.spoken_audio import LARGEST_SEED, Seed
from operations.stored_voice import VoiceId, VoiceName
from speech.contract import Conditionals, ModelInfo, Synthesizer, Utterance
from speech.text import clean_text
from speech.text.events import known_tag_spans, tags_as_words, with_known_tags
from speech.text.markup import Markup, Passage, parse_markup
from speech.text.markup.script import MAX_PAUSE_S, MAX_PAUSES_S
from speech.text.normalization import normalize, say_as
from speech.text.pauses import usual_pause_s
from speech.text.pronunciations import Pronunciation, find_pronunciations
from speech.text.replacements import Replacement, SpokenText, without_overlaps
from speech.text.split import PARAGRAPH_PAUSE_S
from voice_store.names import is_voice_id

MAX_TURNS = 1000
# How many times as long as ``MAX_TEXT_CHARS`` a text may be as it is spoken: numbers in words are longer.
SPOKEN_SHARE = 4
# A turn without a seed has the job's and this much more for each turn before it.
TURN_SEED_STEP = 1_000_003
# Seeds of a text's passages lie far apart, and from those of an utterance's chunks (``SEED_STRIDE``): the
# digits of the square root of two.
_PASSAGE_SEED_STEP = 0x6A09E667F3BCC909


class Turn(Request):
    """What one speaker of a dialogue says."""

    text: Annotated[str, Field(description="a string, the text to speak")]
    voice_name: VoiceName = None
    voice_id: VoiceId = None
    language: Language = None
    parameters: Annotated[
        SpeechParameters | None,
        Field(description=f"an object that holds some of {', '.join(SpeechParameters.model_fields)}"),
    ] = None
    seed: Seed = None
    pause_after_s: Annotated[float | None, between(0, MAX_PAUSE_S)] = None


class VoiceKey(NamedTuple):
    """Names a stored voice, by its name or id as it was sent."""

    name: str | None
    voice_id: str | None = None


@dataclass(frozen=True)
class Part:
    """A passage as it was sent: what is not known before the voices and the model are chosen is left open."""

    passage: Passage
    field: str  # of its text: "text" or "turns[3].text"
    turn: int | None  # index; None: the job has no turns
    voice: VoiceKey | None  # None: the job's
    voice_field: str  # where the voice was named
    language: str | None  # as it was sent
    language_field: str  # where the language was named
    parameters: Mapping[str, Any]  # that were sent, the turn's before the job's
    seed: int
    pause_after_s: float
    pause_is_exact: bool


@dataclass(frozen=True)
class Parts:
    """The passages of a job, in order, and what is said of them."""

    parts: Sequence[Part]
    pause_before_s: float = 0.0
    warnings: Sequence[str] = ()


def read_parts(
    text: str | None,
    turns: Sequence[Turn] | None,
    *,
    markup: Markup,
    strict: bool,
    seed: int,
    language: str | None,
    parameters: Mapping[str, Any],
) -> Parts:
    """Returns the passages of a job's text or turns. Arguments: the job's fields as they were sent.

    Raises InvalidRequest for markup that is malformed and for texts with nothing to say, of all turns at
    once.
    """
    if turns is None:
        assert text is not None
        turns, is_dialogue = [Turn(text=text, seed=seed)], False
    else:
        is_dialogue = True
    parts: list[Part] = []
    problems: list[Problem] = []
    warnings: list[str] = []
    pause_before_s = 0.0
    for index, turn in enumerate(turns):
        place = f"turns[{index}]." if is_dialogue else ""
        if turn.voice_name is not None and turn.voice_id is not None:
            reason = f"{place}voice_name and {place}voice_id exclude each other"
            problems.append(Problem(reason, hint="send one of them"))
        try:
            script = parse_markup(clean_text(turn.text), markup, strict=strict, field=f"{place}text")
        except InvalidRequest as error:
            problems += error.problems
            continue
        warnings += script.warnings
        if markup == "tags" and turn.text.lstrip().startswith("<speak"):
            warnings.append(f"{place}text looks like SSML and is read as text: send markup 'ssml'")
        if parts:
            parts[-1] = _with_pause(parts[-1], script.pause_before_s)
        else:
            pause_before_s = script.pause_before_s
        turn_seed = (seed + index * TURN_SEED_STEP) % (LARGEST_SEED + 1) if turn.seed is None else turn.seed
        own = {} if turn.parameters is None else turn.parameters.sent_parameters()
        turn_voice = None
        if turn.voice_name is not None or turn.voice_id is not None:
            turn_voice = VoiceKey(turn.voice_name, turn.voice_id)
        voice_field = f"{place}{'voice_id' if turn.voice_name is None else 'voice_name'}"
        for position, passage in enumerate(script.passages):
            is_last = position + 1 == len(script.passages)
            pause_s, is_exact = _pause_after(
                passage, turn if is_last else None, is_end=is_last and index + 1 == len(turns)
            )
            parts.append(
                Part(
                    passage,
                    field=f"{place}text",
                    turn=index if is_dialogue else None,
                    voice=turn_voice if passage.voice is None else VoiceKey(passage.voice),
                    voice_field=voice_field if passage.voice is None else f"{place}text",
                    language=passage.language or turn.language or language,
                    language_field=f"{place}text"
                    if passage.language
                    else (f"{place}language" if turn.language else "language"),
                    parameters={**parameters, **own},
                    seed=(turn_seed + position * _PASSAGE_SEED_STEP) % (LARGEST_SEED + 1),
                    pause_after_s=pause_s,
                    pause_is_exact=is_exact,
                )
            )
    if problems:
        raise InvalidRequest.of(problems)
    pauses_s = pause_before_s + sum(part.pause_after_s for part in parts if part.pause_is_exact)
    if pauses_s > MAX_PAUSES_S:
        raise InvalidRequest(
            f"has pauses of {pauses_s:.0f} s in all",
            field="turns" if is_dialogue else "text",
            hint=f"ask for at most {MAX_PAUSES_S} s in one job",
        )
    return Parts(parts, pause_before_s, list(dict.fromkeys(warnings)))


def _with_pause(part: Part, more_s: float) -> Part:
    """Adds a pause that was asked for to the one after a part; it replaces a usual one."""
    if not more_s:
        return part
    before_s = part.pause_after_s if part.pause_is_exact else 0.0
    return replace(part, pause_after_s=before_s + more_s, pause_is_exact=True)


def _pause_after(passage: Passage, turn: Turn | None, *, is_end: bool) -> tuple[float, bool]:
    """Returns the seconds of silence after a passage, and whether they were asked for.

    turn: the one that the passage ends; None where the turn goes on. is_end: nothing follows.
    """
    asked_for_s = passage.pause_after_s
    if turn is not None and turn.pause_after_s is not None:
        asked_for_s = turn.pause_after_s
    if asked_for_s is not None:
        return asked_for_s, True
    if is_end:
        return 0.0, False
    if turn is not None or passage.ends_paragraph:
        return PARAGRAPH_PAUSE_S, False
    return usual_pause_s(passage.text), False


@dataclass(frozen=True)
class Line:
    """A passage as it is spoken, and what the receipt says of it."""

    utterance: Utterance
    spoken: SpokenText  # of the utterance's text
    speed: float
    voice: ChosenVoice
    turn: int | None

    @property
    def receipt(self) -> SpokenLine:
        """Returns what the receipt says of the passage."""
        receipt = self.voice.receipt
        name = None if receipt is None else receipt["voice_name"]
        return SpokenLine(self.spoken, name, self.utterance.language, self.turn, self.speed)


@dataclass(frozen=True)
class Lines:
    """All that a job says, by one model."""

    lines: Sequence[Line]  # at least one
    synthesizer: Synthesizer
    warnings: Sequence[str]
    conditionals_s: float  # seconds that the voices' conditionals took
    pause_before_s: float  # of passages that nothing is left of, before the first line


def choose_voices(
    parts: Sequence[Part], default: ChosenVoice, services: Services, max_reference_duration_s: float
) -> list[ChosenVoice]:
    """Returns the voice of each part. default: that of parts that name none.

    Raises VoiceNotFound that names all of the unknown ones, StoreCorrupt, StoreUnavailable.
    """
    voices: dict[VoiceKey | None, ChosenVoice] = {None: default}
    problems: dict[VoiceKey, Problem] = {}
    for part in parts:
        key = part.voice
        if key in voices or key in problems:
            continue
        assert key is not None
        # The first that is missing may be arriving, and was waited for; others have arrived by then.
        if problems and not _is_there(key, services):
            problems[key] = _unknown_voice(part, key)
            continue
        try:
            voices[key] = _stored(key, services, max_reference_duration_s)
        except VoiceNotFound as error:
            problem = error.problems[0]
            reason = f"names a voice that is not there: {problem.reason}"
            problems[key] = replace(problem, reason=reason, field=part.voice_field)
    if problems:
        raise VoiceNotFound.of(list(problems.values()))
    return [voices[part.voice] for part in parts]


def _stored(key: VoiceKey, services: Services, max_reference_duration_s: float) -> ChosenVoice:
    """The voice of a name, or of an id where no voice has that name."""
    if key.voice_id is not None:
        return choose_stored_voice(services, max_reference_duration_s, voice_id=key.voice_id)
    try:
        return choose_stored_voice(services, max_reference_duration_s, name=key.name)
    except VoiceNotFound as not_found:
        if key.name is None or not is_voice_id(key.name):  # looking for a voice takes seconds
            raise
        try:
            return choose_stored_voice(services, max_reference_duration_s, voice_id=key.name)
        except WorkerError:
            raise not_found from None


def _is_there(key: VoiceKey, services: Services) -> bool:
    by_id = services.voices.find(voice_id=key.voice_id or key.name or "")
    return by_id is not None or (key.name is not None and services.voices.find(name=key.name) is not None)


def _unknown_voice(part: Part, key: VoiceKey) -> Problem:
    name = printable_excerpt(key.name or key.voice_id or "")
    return Problem(f'names a voice that is not there: "{name}"', part.voice_field)


def read_lines(
    parts: Sequence[Part],
    voices: Sequence[ChosenVoice],
    services: Services,
    cancel: CancelToken,
    *,
    model: str | None,
    strict: bool,
    normalizes: bool,
    pronunciations: Sequence[PronunciationEntry] | None,
    max_takes: int,
    align: bool,
    context: bool,
) -> Lines:
    """Returns what is spoken of each part, in its voice.

    Raises InvalidRequest, UnsupportedLanguage, Cancelled, and what ``conditionals_of`` raises.
    """
    languages = [(part.language, voice.language) for part, voice in zip(parts, voices, strict=True)]
    # In reverse, so that the first part that has a language is the one that an error names.
    fields = {key: part.language_field for key, part in reversed(list(zip(languages, parts, strict=True)))}
    distinct = {key: fields[key] for key in languages}
    by_language = dict(zip(distinct, choose_common_model(model, distinct, services), strict=True))
    synthesizer = by_language[languages[0]].synthesizer
    info = synthesizer.info
    speakers: dict[int, _Speaker] = {}  # by the identity of their voice
    conditionals_s = pause_before_s = 0.0
    characters = 0
    warnings: dict[str, None] = {}
    lines: list[Line] = []
    for part, voice, language in zip(parts, voices, languages, strict=True):
        cancel.raise_if_cancelled()
        chosen = by_language[language]
        if id(voice) not in speakers:
            started_s = time.perf_counter()
            speakers[id(voice)] = _Speaker.of(voice, synthesizer, services, pronunciations, cancel)
            conditionals_s += time.perf_counter() - started_s
        speaker = speakers[id(voice)]
        params, speed = resolved({**speaker.defaults, **part.parameters})
        dropped, tag_warnings = unknown_tags(part.passage.text, info, field=part.field, strict=strict)
        variety = _variety(part.language, chosen.language, info.spec.name)
        spoken = _spoken(
            part,
            variety,
            dropped,
            speaker.pronunciations,
            info,
            strict=strict,
            normalizes=normalizes,
            cancel=cancel,
        )
        warnings |= dict.fromkeys(
            [*chosen.warnings, *tag_warnings, *speaker.warnings, *info.ignored(params), *spoken.warnings]
        )
        utterance = Utterance(
            _with_tags(spoken.text, info),
            speaker.conditionals,
            part.seed,
            params,
            chosen.language,
            pause_after_s=part.pause_after_s,
            pause_is_exact=part.pause_is_exact,
            max_takes=max_takes,
            align=align,
            field=part.field,
            context=context,
        )
        characters += len(utterance.text)
        if characters > SPOKEN_SHARE * services.max_text_chars:
            raise TextTooLong(
                f"has more than {SPOKEN_SHARE * services.max_text_chars} characters as it is spoken",
                field=part.field,
                hint="send it in several jobs, or shorter pronunciations",
            )
        if has_speakable(utterance.text):
            limited = min(max(speed * (part.passage.rate or 1.0), SLOWEST), FASTEST)
            if limited != speed * (part.passage.rate or 1.0):
                which = f"a speed of {speed:g} and a rate of {part.passage.rate:g}"
                warnings[f"{which} are spoken at {limited:g}, which is as far as it goes"] = None
            lines.append(Line(utterance, spoken, limited, voice, part.turn))
        elif part.pause_is_exact:  # event tags that the model does not know: the pause stays
            if lines:
                lines[-1] = _with_longer_pause(lines[-1], part.pause_after_s)
            else:
                pause_before_s += part.pause_after_s
    if not lines:
        sayable(parts[0].passage.text, info, field=parts[0].field)  # names event tags
        raise InvalidRequest("has nothing in it to say", field=parts[0].field, hint="send words")
    if not lines[-1].utterance.pause_is_exact:
        lines[-1] = replace(lines[-1], utterance=replace(lines[-1].utterance, pause_after_s=0.0))
    return Lines(lines, synthesizer, list(warnings), conditionals_s, pause_before_s)


@dataclass(frozen=True)
class _Speaker:
    """A voice as a model speaks in it."""

    conditionals: Conditionals
    defaults: Mapping[str, Any]  # parameters
    pronunciations: Sequence[Sequence[Pronunciation]]  # see ``find_pronunciations``
    warnings: Sequence[str]

    @classmethod
    def of(
        cls,
        voice: ChosenVoice,
        synthesizer: Synthesizer,
        services: Services,
        pronunciations: Sequence[PronunciationEntry] | None,
        cancel: CancelToken,
    ) -> _Speaker:
        """pronunciations: of the job. Raises what ``conditionals_of`` raises."""
        defaults, default_warnings = usable_defaults(voice.default_parameters)
        levels, entry_warnings = levels_for(pronunciations, voice.pronunciations, services.voices)
        conditionals = conditionals_of(voice, synthesizer, services, cancel)
        warnings = [*voice.warnings, *default_warnings, *entry_warnings]
        return cls(conditionals, defaults, levels, warnings)


def _with_tags(text: str, info: ModelInfo) -> str:
    """Returns a spoken text, of the same length, with its event tags as the model knows them.

    Those that are left for a model without tags only became tags when others were left out: they are words.
    """
    return with_known_tags(text) if info.spec.knows_event_tags else tags_as_words(text)


def _variety(sent: str | None, code: str, model: str) -> str:
    """Returns the tag by whose rules numbers are read: with a region where the job or the model has one.

    sent: the language as it was sent. code: the model's for it. model: its name, such as "pt-pt".
    """
    for tag in (sent or "", model):
        if tag.lower().replace("_", "-").startswith(f"{code}-"):
            return tag
    return code


def _with_longer_pause(line: Line, more_s: float) -> Line:
    before = line.utterance
    pause_s = (before.pause_after_s if before.pause_is_exact else 0.0) + more_s
    return replace(line, utterance=replace(before, pause_after_s=pause_s, pause_is_exact=True))


def _spoken(
    part: Part,
    language: str,
    dropped: Sequence[Replacement],
    levels: Sequence[Sequence[Pronunciation]],
    info: ModelInfo,
    *,
    strict: bool,
    normalizes: bool,
    cancel: CancelToken,
) -> SpokenText:
    """What is spoken of a passage.

    dropped: spans that are left out. levels: see ``find_pronunciations``.
    """
    text = part.passage.text
    warnings: list[str] = []
    asked_for = [*part.passage.replacements]
    for each in part.passage.say_as:
        written = text[each.start : each.end]
        reading = say_as(each.interpret_as, written, language, each.format)
        if reading is None:
            what = f"{printable_excerpt(written)!r} as {each.interpret_as} in {language}"
            warnings.append(f"there is no reading of {what}: it is read as usual")
        else:
            asked_for.append(Replacement(each.start, each.end, reading))
    fixed = without_overlaps(dropped, sorted(asked_for, key=lambda each: each.start))
    # Tags that the model knows are no words for an entry to replace.
    tags = [Replacement(start, end, text[start:end]) for start, end in known_tag_spans(text)]
    found = find_pronunciations(text, levels, without_overlaps(tags, fixed))
    fixed, tag_warnings = sayable_replacements(
        without_overlaps(found, fixed), info, field=part.field, strict=strict
    )
    warnings += tag_warnings
    if not normalizes:
        return SpokenText(text, fixed, warnings)
    spoken = normalize(text, language, fixed, cancel)
    return SpokenText(text, spoken.replacements, [*warnings, *spoken.warnings])
