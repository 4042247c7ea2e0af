"""The patterns of `--select` and `--exclude`.

A pattern is a name, a glob or `METHOD:VALUE`. `+` before it adds the models that it reads, and `+`
after it the models that read it. Patterns joined by commas match what each of them matches.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from tailrace.audience.yaml import suggest
from tailrace.dataclass import dataclass
from tailrace.errors import NothingSelected
from tailrace.models.file import Model

# Gives the names of the models that the value of a method stands for, such as `failed`.
Selector = Callable[[str], Collection[str]]

METHODS = ("tag", "object", "source", "path", "owner", "state", "result")
_PATTERN = re.compile(r"(?P<under>\+?)(?P<core>.*?)(?P<over>\+?)")
_CASE_BREAKS = (re.compile(r"([^_])([A-Z][a-z]+)"), re.compile(r"([a-z0-9])([A-Z])"))


@dataclass(frozen=True, kw_only=True)
class ModelSet:
    """What patterns are matched with.

    Attributes:
        models: All models by name; None for a file that cannot be read.
        objects: The landed tables that a model reads, directly or not.
        sources: The names of the declared sources that a model reads, directly or not.
        selectors: The methods whose values are known elsewhere, `state` and `result`.
    """

    models: Mapping[str, Model | None]
    objects: Callable[[str], Collection[str]]
    sources: Callable[[str], Collection[str]]
    selectors: Mapping[str, Selector] = field(default_factory=dict)

    def select(self, patterns: Sequence[str], exclude: Sequence[str]) -> set[str]:
        """The names that any of the patterns matches, without those that `exclude` matches.

        Raises:
            NothingSelected: A pattern matches nothing, or nothing is left. `state` and `result`
                may match nothing: there may be no changed model and no failed audience.
        """
        chosen = self._matching(patterns) if patterns else set(self.models)
        excluded = self._matching(exclude)
        if chosen and not chosen - excluded:
            raise NothingSelected("The selection leaves no model")
        return chosen - excluded

    def _matching(self, patterns: Sequence[str]) -> set[str]:
        matching: set[str] = set()
        for pattern in patterns:
            parts = [self._matching_one(part.strip()) for part in pattern.split(",")]
            matching |= set.intersection(*parts)
        return matching

    def _matching_one(self, pattern: str) -> set[str]:
        match = _PATTERN.fullmatch(pattern)
        assert match is not None
        method, colon, value = match["core"].partition(":")
        if colon and method in ("state", "result"):
            if method not in self.selectors:
                raise NothingSelected(f"{method}: cannot be used here", unknown=pattern)
            matching = set(self.selectors[method](value)) & set(self.models)
        else:
            matching = {name for name in self.models if self._matches(name, match["core"])}
            if not matching:
                raise self._nothing(match["core"])
        found = set(matching)
        if match["under"]:
            found |= self._reached(matching, self._reads())
        if match["over"]:
            found |= self._reached(matching, self._read_by())
        return found

    def _matches(self, name: str, core: str) -> bool:
        method, colon, value = core.partition(":")
        model = self.models[name]
        if not colon or method not in METHODS:
            return fnmatch.fnmatchcase(name, core.lower())
        if method == "object":
            wanted = landed_name(value)
            return any(fnmatch.fnmatchcase(table, wanted) for table in self.objects(name))
        if method == "source":
            return any(fnmatch.fnmatchcase(source, value) for source in self.sources(name))
        if model is None:
            return False
        if method == "tag":
            return any(fnmatch.fnmatchcase(tag, value) for tag in model.tags)
        if method == "owner":
            return fnmatch.fnmatchcase(_owner(model), value)
        folder = value.rstrip("/")
        return fnmatch.fnmatchcase(model.file, value) or model.file.startswith(f"{folder}/")

    def _reads(self) -> Mapping[str, Collection[str]]:
        return {name: model.depends_on for name, model in self.models.items() if model}

    def _read_by(self) -> Mapping[str, Collection[str]]:
        readers: dict[str, set[str]] = {}
        for name, reads in self._reads().items():
            for read in reads:
                readers.setdefault(read, set()).add(name)
        return readers

    def _reached(self, start: Iterable[str], edges: Mapping[str, Collection[str]]) -> set[str]:
        reached: set[str] = set()
        pending = list(start)
        while pending:
            for name in edges.get(pending.pop(), ()):
                if name not in reached and name in self.models:
                    reached.add(name)
                    pending.append(name)
        return reached

    def _nothing(self, core: str) -> NothingSelected:
        """The error for a pattern that matches nothing, perhaps the name of a file."""
        message = f'"{core}" matches no model'
        known = list(self._known())
        for model in self.models.values():
            if model and model.path.stem == core.lower() and model.audience is not None:
                return NothingSelected(
                    f"{message}: this file declares the audience {model.name}",
                    hint=f"Select it with: --select {model.name}",
                    file=model.file,
                    line=model.audience.line("audience"),
                    unknown=core,
                    known=[model.name],
                )
        return NothingSelected(suggest(message, core, known), unknown=core, known=known)

    def _known(self) -> Iterator[str]:
        """Names and other patterns that match something, for suggestions."""
        yield from sorted(self.models)
        for model in filter(None, self.models.values()):
            yield from (f"tag:{tag}" for tag in model.tags)
            yield from (f"object:{table}" for table in model.reads)
            yield from (f"source:{source}" for source in model.sources)
            if _owner(model):
                yield f"owner:{_owner(model)}"
            yield f"path:{model.file}"


def _owner(model: Model) -> str:
    owner = model.audience.owner if model.audience else model.owner
    return owner or ""


def landed_name(object_name: str) -> str:
    """The table that an object lands in, as dlt names it.

    >>> landed_name("CampaignMember"), landed_name("campaign_member"), landed_name("My_Thing__c")
    ('campaign_member', 'campaign_member', 'my_thing__c')
    """
    name = object_name
    for pattern in _CASE_BREAKS:
        name = pattern.sub(r"\1_\2", name)
    return name.lower()
