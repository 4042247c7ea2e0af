"""The YAML header of a model: found in the SQL file or beside it, read strictly, checked.

Every mistake in a header is reported at once, each with its file and line. YAML is read with the
booleans of YAML 1.2, so that `country: NO` stays a country; a key written twice is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tailrace.config.project import did_you_mean
from tailrace.dataclass import dataclass
from tailrace.errors import HeaderInvalid, ModelError, SeveralModelErrors, UnknownHeaderKey

HEADER_BYTES_MAX = 64 * 1024

# What stands before the header may be white space, `--` lines and other block comments.
_BEFORE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*(?!\s*---\s).*?\*/)*", re.DOTALL)
_OPENING = re.compile(r"/\*\s*---(?=\s)")
_CLOSING = re.compile(r"(?:^|\s)---\s*$")
# Texts that both parsers of PyYAML read alike: no anchor, tag or `?`, nothing but printable ASCII.
_SAME_FOR_BOTH = re.compile(r"[\n\x20\x22-\x25\x27-\x29\x2b-\x3e\x40-\x7e]*")
_COLON = re.compile(r":(?:\s|$)")
_JINJA = re.compile(r"\{\{|\{%|\{#")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MISSING_HINTS = {
    "key": "Name the column that makes a row a member, such as: key: contact_id",
    "group_id": "Name the column with the group's id, such as: group_id: account_id",
}
_PLAINLY = {
    "found unexpected end of stream": "a text in quotes is not closed",
    "but found another document": "there are two documents, and a header is one",
    "mapping values are not allowed here": "a second colon makes the line unreadable",
}
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header as it was written: plain values, and the line that each stands on.

    `called` is what messages call the text: `header`, or `file` for a file that is YAML throughout.
    """

    values: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]
    file: str
    called: str = "header"

    def line(self, path: Sequence[str]) -> int:
        """The line of a value, or of the nearest thing around it."""
        at = tuple(path)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A .sql file taken apart. The SQL keeps its place: blank lines stand for the header."""

    yaml: str | None
    yaml_line: int
    sql: str


def split(text: str, *, file: str) -> Split:
    """Take the header out of the leading comment of a SQL file.

    Raises:
        HeaderInvalid: The header is opened, and not closed.
    """
    start = _BEFORE.match(text)
    opening = _OPENING.match(text, start.end() if start else 0)
    if opening is None:
        return Split(yaml=None, yaml_line=1, sql=text)
    line = text.count("\n", 0, opening.end()) + 1
    end = text.find("*/", opening.end())
    body = text[opening.end() : end]
    closing = _CLOSING.search(body)
    if end < 0 or closing is None:
        raise HeaderInvalid(
            "The header is opened with /* --- and not closed with --- */",
            hint="End the header with a line --- */, and write no */ inside it.",
            file=file,
            line=line,
        )
    blank = re.sub(r"[^\n]", " ", text[: end + 2])
    return Split(
        yaml=body[: closing.start()].lstrip(" \t"), yaml_line=line, sql=blank + text[end + 2 :]
    )


def read_header(
    text: str,
    *,
    file: str,
    first_line: int = 1,
    called: str = "header",
    bytes_max: int = HEADER_BYTES_MAX,
) -> Header:
    """Read YAML into plain values with line marks. Errors name the text as `called`.

    Raises:
        HeaderInvalid: It is not YAML, not a mapping, or holds what a header must not.
        SeveralModelErrors: More than one of these.
    """
    offset = first_line - 1
    if len(text.encode()) > bytes_max:
        raise HeaderInvalid(
            f"The {called} is larger than {bytes_max} bytes", file=file, line=first_line
        )
    jinja = _JINJA.search(text)
    if jinja:
        raise HeaderInvalid(
            f"{jinja.group()} stands in the {called}; models are plain SQL and YAML, without Jinja",
            hint="Write the value itself; other tools would run what is in these brackets.",
            file=file,
            line=first_line + text.count("\n", 0, jinja.start()),
        )
    try:
        node = _composed(text)
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, file=file, offset=offset, called=called) from None
    except RecursionError:
        raise HeaderInvalid(
            f"The {called} is nested too deep", file=file, line=first_line
        ) from None
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise HeaderInvalid(
            f"The {called} must be keys with values, such as: description: Live contacts",
            file=file,
            line=first_line,
        )
    reading = _Reading(file=file, offset=offset)
    reading.lines[()] = first_line
    values = reading.value(node, ()) if node is not None else {}
    raise_all(reading.errors)
    return Header(values=values, lines=reading.lines, file=file, called=called)


def raise_all(errors: Sequence[ModelError]) -> None:
    """Raise nothing, the one error, or all of them as one, in the order of files and lines."""
    flat = [one for error in errors for one in error.flattened()]
    if len(flat) == 1:
        raise flat[0]
    if flat:
        flat.sort(key=lambda error: (error.file or "", error.line or 0))
        raise SeveralModelErrors(flat)


_FastLoader: type[yaml.CSafeLoader] | None = None
if yaml.__with_libyaml__:

    class _FastLoader(yaml.CSafeLoader):  # type: ignore[no-redef]
        """The same syntax, without the check for anchors."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the base class's attribute


class _Loader(yaml.SafeLoader):
    """YAML's syntax without YAML 1.1's guesses about what a plain word means."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the base class's own attribute

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None):
            problem = "anchors (&) and aliases (*) are not used; put a text with & or * in quotes"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


def _composed(text: str) -> yaml.Node | None:
    """The nodes of a text. libyaml reads a header in a tenth of the time, if it is installed.

    Errors have the words of PyYAML's own parser, which reads all that the other one may not.
    """
    if _FastLoader is not None and _SAME_FOR_BOTH.fullmatch(text):
        with suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=_FastLoader)
    return yaml.compose(text, Loader=_Loader)


class _Reading:
    """One walk over the YAML nodes, noting the line of every value."""

    def __init__(self, *, file: str, offset: int) -> None:
        self.file = file
        self.offset = offset
        self.lines: dict[tuple[str, ...], int] = {}
        self.errors: list[ModelError] = []

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self.lines[(*path, str(i))] = self._line(item)
            return [self.value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        if node.tag != "tag:yaml.org,2002:str":
            self._refuse(f"{dotted(path)} begins with a tag (!); tags are not used", node)
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        return self._plain(node, path) if plain else self._text(node, path)

    def _text(self, node: yaml.Node, path: tuple[str, ...]) -> str:
        """A quoted text. JSON writes one character as two escapes, which YAML leaves apart."""
        text: str = node.value
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(f"{dotted(path)} holds half a character", node)
            return ""

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or key == "<<":
                self._refuse("A key in the header must be a plain word", key_node)
                continue
            key = self._text(key_node, path)
            inner = (*path, key)
            if key in found:
                first = self.lines[inner]
                self._refuse(f"{dotted(inner)} is written twice, first on line {first}", key_node)
                continue
            self.lines[inner] = self._line(key_node)
            found[key] = self.value(value_node, inner)
        return found

    def _plain(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        try:
            return plain_value(node.value)
        except ValueError:
            self._refuse(f"{dotted(path)} is not a finite number", node)
            return None

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + 1 + self.offset

    def _refuse(self, message: str, node: yaml.Node) -> None:
        self.errors.append(HeaderInvalid(message, file=self.file, line=self._line(node)))


def plain_value(text: str) -> Any:
    """The value of a word without quotes: null, true, false, a number or the text itself.

    Raises:
        ValueError: It is not a finite number.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise ValueError(text)


def _not_yaml(
    error: yaml.YAMLError, text: str, *, file: str, offset: int, called: str
) -> HeaderInvalid:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    problem = _PLAINLY.get(problem, problem)
    hint = None
    without_colon = _line_without_colon(error, text)
    if without_colon is not None:
        line = offset + 1 + without_colon
        return HeaderInvalid(
            f"The {called} is not YAML: the line has no colon followed by a space",
            hint="Write a key, a colon, a space and the value, such as: key: contact_id",
            file=file,
            line=line,
        )
    if "second colon" in problem:
        hint = "A text that holds a colon and a space must be in quotes."
    if "cannot start any token" in problem:
        hint = "A text that begins with @, ` or % must be in quotes; indent with spaces, not tabs."
    line = offset + 1 + (mark.line if mark else 0)
    return HeaderInvalid(f"The {called} is not YAML: {problem}", hint=hint, file=file, line=line)


def _line_without_colon(error: yaml.YAMLError, text: str) -> int | None:
    """The line, from 0, that should be a key with a value and has no colon.

    The parser reads it and the line below it as one key, and complains about the second one.
    """
    problem = str(getattr(error, "problem", ""))
    key, mark = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if problem == "could not find expected ':'" and key is not None:
        return int(key.line)
    if not problem.startswith("mapping values are not allowed") or mark is None:
        return None
    lines = text.split("\n")
    if _COLON.search(lines[mark.line][: mark.column]):
        return None
    first = mark.line
    while first > 0 and not _COLON.search(lines[first - 1]):
        first -= 1
    while first < mark.line and not lines[first].split("#")[0].strip():
        first += 1
    above = lines[first - 1].split(" #")[0].rstrip() if first else ""
    indent = len(lines[first]) - len(lines[first].lstrip())
    is_continued = not above.endswith(":") and len(above) - len(above.lstrip()) < indent
    return None if first == mark.line or is_continued else first


@cache
def schema(name: str) -> Mapping[str, Any]:
    """The JSON Schema (draft-07) of a header, `audience` or `model`, or of `tests`."""
    path = Path(__file__).parent / "schemas" / f"{name}.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@cache
def _validator(name: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft7Validator(dict(schema(name)))


def check(header: Header, schema_name: str) -> list[ModelError]:
    """Everything in the header that its JSON Schema refuses."""
    unknown: set[tuple[str, ...]] = set()
    errors: list[ModelError] = []
    found = list(_validator(schema_name).iter_errors(dict(header.values)))
    for error in found:
        if error.kind.name == "additionalProperties":
            unknown.add(tuple(str(part) for part in error.instance_path))
    for error in found:
        path = tuple(str(part) for part in error.instance_path)
        # A misspelt `column` already explains why neither column nor value is there.
        if error.kind.name in ("oneOf", "anyOf", "minProperties") and path in unknown:
            continue
        node = _at(schema(schema_name), error.schema_path[:-1])
        errors += _explained(error, path, node, header)
    return errors


def _explained(
    error: Any, path: tuple[str, ...], node: Mapping[str, Any], header: Header
) -> Iterator[ModelError]:
    kind = error.kind
    where = dotted(path) if path else f"the {header.called}"
    if kind.name == "additionalProperties":
        for key in kind.unexpected:
            yield UnknownHeaderKey(
                suggest(f'"{key}" is not a key of {where}', key, node["properties"]),
                hint="The keys are: " + ", ".join(node["properties"]),
                file=header.file,
                line=header.line((*path, key)),
            )
        return
    line, hint = header.line(path), None
    if kind.name == "required" and "dependencies" in error.schema_path:
        message = f"{where} has options that go with a column, not with a constant"
    elif kind.name == "required":
        message = f"{where} lacks {kind.property}"
        hint = _MISSING_HINTS.get(kind.property)
    elif kind.name == "oneOf":
        message = f"{where} needs either column or value"
    elif kind.name == "anyOf":
        needs = " or ".join(option["required"][0] for option in node["anyOf"])
        message = f"{where} needs {needs}"
    elif kind.name == "propertyNames":
        # The schema path ends inside `propertyNames`, whose own comment says what a name is.
        name, line = _name_refused(error, path, header)
        message = f'"{name}" cannot be a name in {where}: it must be {node.get("$comment")}'
    else:
        found = _shown(_at(header.values, path))
        message = f"{where} must be {node.get('$comment', 'something else')}; it is {found}"
        if kind.name == "enum":
            options = [option for option in kind.options if isinstance(option, str)]
            message = suggest(message, str(_at(header.values, path)), options)
    yield HeaderInvalid(message, hint=hint, file=header.file, line=line)


def suggest(message: str, word: str, known: Iterable[str]) -> str:
    """The message, and what was perhaps meant when something known is close to the word."""
    meant = did_you_mean(word, known)
    return f"{message}.{meant}" if meant else message


def _name_refused(error: Any, path: tuple[str, ...], header: Header) -> tuple[str, int]:
    """The refused name is only in the message of the inner error, as JSON at its beginning."""
    name, _ = json.JSONDecoder().raw_decode(error.kind.error.message)
    return str(name), header.line((*path, str(name)))


def _at(tree: Any, path: Sequence[Any]) -> Any:
    for part in path:
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


def dotted(path: Sequence[str]) -> str:
    """A path as people write it: `track.properties.ltv`."""
    return ".".join(path)


def _shown(value: Any) -> str:
    text = "empty" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
