"""A large JSON object as text with a member a line: only lines that changed are spelled or parsed."""

from __future__ import annotations

import json

_START, _BETWEEN, _END = "{\n", ",\n", "\n}\n"
_UNKNOWN = object()


class JsonByLine:
    """Remembers the members it spelled or parsed last. What is laid out otherwise is parsed as a whole."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[object, str]] = {}  # by key: the value and its line
        self._keys: dict[str, str] = {}  # by line

    def dumps(self, content: dict[str, object]) -> bytes:
        """ASCII, so that a reader's locale does not matter."""
        lines = {}
        for key, value in content.items():
            known, line = self._lines.get(key, (_UNKNOWN, ""))
            is_same = known is value or (type(value) is str and known == value)
            lines[key] = value, line if is_same else f"{json.dumps(key)}: {json.dumps(value)}"
        self._remember(lines)
        text = _BETWEEN.join(line for _, line in lines.values())
        return (_START + text + _END if lines else "{}\n").encode("ascii")

    def loads(self, data: bytes) -> object:
        """As ``json.loads``, but a member that was known is the very object that it was.

        Raises ValueError, RecursionError.
        """
        text = data.decode()
        members = self._by_line(text) if text.startswith(_START) and text.endswith(_END) else None
        return json.loads(text) if members is None else members

    def _by_line(self, text: str) -> dict[str, object] | None:
        """The members; None when a line does not hold just one. A string in JSON holds no line break."""
        lines: dict[str, tuple[object, str]] = {}
        for line in text[len(_START) : -len(_END)].split(_BETWEEN):
            key = self._keys.get(line)
            if key is not None:
                lines[key] = self._lines[key]
                continue
            try:
                member = json.loads(f"{{{line}}}")
            except ValueError:
                return None
            if len(member) != 1:
                return None
            ((key, value),) = member.items()
            lines[key] = value, line
        self._remember(lines)
        return {key: value for key, (value, _) in lines.items()}

    def _remember(self, lines: dict[str, tuple[object, str]]) -> None:
        self._lines = lines
        self._keys = {line: key for key, (_, line) in lines.items()}
