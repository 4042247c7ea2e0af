"""Finds what makes a model return different rows from the same tables.

Clocks are frozen at the run's time. Other non-deterministic functions are refused by name; what
may differ, such as the order inside a list, is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlglot import exp

from tailrace.dataclass import dataclass
from tailrace.errors import ModelError, NonDeterministicModel, NotAllowedInModel
from tailrace.models.nodes import Nodes
from tailrace.models.parse import line_of
from tailrace.models.ties import IN_ORDER, tie, window_order, windowed
from tailrace.warehouse.refusals import STEADY_SAMPLE, reason_of

# The names in DuckDB, and those of the same functions in other dialects.
VOLATILE = frozenset(
    {
        *("random", "rand", "randn", "random_normal", "setseed", "nextval", "currval", "setval"),
        *("uuid", "uuidv4", "uuidv7", "gen_random_uuid", "generate_uuid", "uuid_string", "newid"),
        *("current_query", "current_query_id", "current_transaction_id", "txid_current"),
        *("current_connection_id", "getenv", "stats", "sleep_ms", "write_log"),
    }
)
_WITH_ZONE = (
    *("now", "get_current_timestamp", "transaction_timestamp"),
    *("statement_timestamp", "clock_timestamp"),
)
CLOCKS: Mapping[str, str] = {
    **dict.fromkeys(_WITH_ZONE, "TIMESTAMPTZ"),
    **dict.fromkeys(("current_localtimestamp", "getdate", "sysdate"), "TIMESTAMP"),
    **dict.fromkeys(("current_localtime",), "TIME"),
    "today": "DATE",
}
CLOCK_NODES: Mapping[type[exp.Expr], str] = {
    exp.CurrentTimestamp: "TIMESTAMPTZ",
    exp.CurrentDate: "DATE",
    exp.CurrentTime: "TIMETZ",
    exp.CurrentDatetime: "TIMESTAMP",
    exp.Localtimestamp: "TIMESTAMP",
    exp.Localtime: "TIME",
    exp.UtcTimestamp: "TIMESTAMP",
    exp.UtcDate: "DATE",
    exp.UtcTime: "TIME",
}
CLOCK_FORMATS = {
    "TIMESTAMPTZ": "%Y-%m-%d %H:%M:%S.%f+00:00",
    "TIMESTAMP": "%Y-%m-%d %H:%M:%S.%f",
    "DATE": "%Y-%m-%d",
    "TIMETZ": "%H:%M:%S.%f+00:00",
    "TIME": "%H:%M:%S.%f",
}
# PostgreSQL reads these words in a text as times where the text becomes one, and the days they are
# away from today; None is the time itself. `epoch`, `infinity` and `allballs` are constants.
CLOCK_WORDS: Mapping[str, int | None] = {"now": None, "today": 0, "tomorrow": 1, "yesterday": -1}
CLOCK_WORD = re.compile(rf"(?<![^\W\d_])({'|'.join(CLOCK_WORDS)})(?![^\W\d_])", re.IGNORECASE)
# A time has a word for its day, half of the day and time zone: `today 04:00 PM America/New_York`.
_CLOCK_TEXT_WORDS_MAX = 4
_TIMES = frozenset({"DATE", "TIME", "TIMETZ", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ"})
_LISTS = (exp.ArrayAgg, exp.GroupConcat, exp.JSONArrayAgg, exp.JSONObjectAgg, exp.ArrayConcatAgg)
_PICKS = (exp.AnyValue, exp.First, exp.Last, exp.Mode)
_SUMS = (exp.Sum, exp.Avg)
# Computed in doubles for arguments of any type.
_MOMENTS = (
    *(exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop),
    *(exp.Corr, exp.CovarPop, exp.CovarSamp, exp.Skewness, exp.Kurtosis),
    *(exp.RegrSlope, exp.RegrIntercept, exp.RegrR2),
)
_MOMENT_NAMES = frozenset({"product", "geomean", "geometric_mean", "sem", "weighted_avg"})
_USUAL_NAMES = {"array_agg": "list", "group_concat": "string_agg"}
_LIST_NAMES = frozenset({"json_group_array", "json_group_object", "json_group_structure"})
_PICK_NAMES = frozenset({"arbitrary"})
_GUESS_NAMES = frozenset({"approx_quantile", "reservoir_quantile"})


Clock = Literal["none", "date", "time"]


@dataclass(frozen=True, kw_only=True)
class ModelWarning:
    """A part of a model that runs, and whose result may differ from run to run."""

    message: str
    hint: str
    file: str | None = None
    line: int | None = None

    def as_dict(self) -> dict[str, object]:
        """One entry of `warnings` in a `--json` result."""
        return {
            "message": self.message,
            "hint": self.hint,
            "file": self.file,
            "line": self.line,
        }


def find_nondeterminism(
    nodes: Nodes, *, sql: str = "", file: str | None = None
) -> Iterator[ModelError]:
    """An error for each part of a SELECT that is not deterministic and is not a clock."""
    for node in nodes.of(exp.Func, exp.TableSample):
        if isinstance(node, exp.TableSample):
            message = "TABLESAMPLE is not deterministic"
            hint = STEADY_SAMPLE
        elif isinstance(node, exp.Rand | exp.Randn | exp.Uuid) or _name(node) in VOLATILE:
            name = "uuid" if isinstance(node, exp.Uuid) else _name(node)
            reason = reason_of(name)
            if not reason.is_random:
                message = f"{_written(node, sql)}() is not allowed in a model: {reason.because}"
                yield NotAllowedInModel(message, hint=reason.hint, file=file, line=line_of(node))
                continue
            message = f"{_written(node, sql)}() is not deterministic"
            hint = reason.hint
        else:
            continue
        yield NonDeterministicModel(message, hint=hint, file=file, line=line_of(node))


def freeze_clock(query: exp.Query, now: datetime) -> exp.Query:
    """The same SELECT with every clock in it replaced by this moment, in UTC."""
    moment = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)

    def replaced(node: exp.Expr) -> exp.Expr:
        kind = _clock(node)
        if kind is not None:
            return exp.cast(exp.Literal.string(moment.strftime(CLOCK_FORMATS[kind])), kind)
        if isinstance(node, exp.Anonymous) and _name(node) == "age" and len(node.expressions) == 1:
            # age(x) counts from the beginning of today.
            today = exp.cast(
                exp.Literal.string(moment.strftime(CLOCK_FORMATS["DATE"])), "TIMESTAMP"
            )
            node.set("expressions", [today, node.expressions[0]])
        if isinstance(node, exp.Cast) and _clock_words(node):
            node.set("this", exp.Literal.string(frozen_text(node.this.name, moment)))
        return node

    pinned = query.transform(replaced)
    assert isinstance(pinned, exp.Query)
    return pinned


def clock_read(nodes: Nodes) -> Clock:
    """What the rows of a SELECT depend on of the time at which it runs: nothing, its date or all.

    The date is that in UTC, as `freeze_clock` writes it. A text such as 'today' counts wherever
    PostgreSQL may read it as a time, whatever the types beside it are.
    """
    if nodes.query.meta.get("opaque"):
        return "time"
    reads: Clock = "none"
    for node in nodes.of(*CLOCK_NODES, exp.Anonymous, exp.Cast, exp.Literal):
        kind, words = _clock(node), _clock_words(node)
        if "now" in words or (kind is not None and kind != "DATE"):
            return "time"
        # age(x) counts from the beginning of today.
        is_age = isinstance(node, exp.Anonymous) and _name(node) == "age"
        if kind == "DATE" or words or (is_age and len(node.expressions) == 1):
            reads = "date"
    return reads


def date_of(now: datetime) -> str:
    """The date that `freeze_clock` writes for a datetime."""
    return now.astimezone(UTC).strftime(CLOCK_FORMATS["DATE"])


def _clock(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Anonymous):
        return CLOCKS.get(_name(node)) if not node.expressions else None
    return CLOCK_NODES.get(type(node))


def frozen_text(text: str, now: datetime) -> str:
    """A text that PostgreSQL reads at any time as it reads this one at a moment in UTC."""
    moment = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)

    def frozen(word: re.Match[str]) -> str:
        days = CLOCK_WORDS[word[1].lower()]
        if days is None:
            return f" {moment.strftime(CLOCK_FORMATS['TIMESTAMPTZ'])} "
        # After a time of day, PostgreSQL takes a date with hyphens for a time zone.
        is_first = not any(character.isdigit() for character in text[: word.start()])
        format_ = CLOCK_FORMATS["DATE"] if is_first else "%Y%m%d"
        return f" {(moment + timedelta(days=days)).strftime(format_)} "

    return CLOCK_WORD.sub(frozen, text).strip()


def may_be_clock(text: str) -> bool:
    """Whether a text has a word of `CLOCK_WORDS` and is as short as a time."""
    words = re.findall(r"[\w/]*[^\W\d][\w/]*", text)
    return len(words) <= _CLOCK_TEXT_WORDS_MAX and CLOCK_WORD.search(text) is not None


def _clock_words(node: exp.Expr) -> frozenset[str]:
    """The words of `CLOCK_WORDS` in a text that may become a time."""
    if isinstance(node, exp.Cast) and node.to.this.name in _TIMES:
        texts = [node.this] if node.this.is_string else []
    elif isinstance(node, exp.Literal) and node.is_string and may_be_clock(node.name):
        # The text of a cast counts only as far as its type does.
        texts = [] if isinstance(node.parent, exp.Cast) and not _is_cast_again(node) else [node]
    else:
        texts = []
    return frozenset(word.lower() for text in texts for word in CLOCK_WORD.findall(str(text.this)))


def _is_cast_again(literal: exp.Expr) -> bool:
    """Whether a text that is cast is part of an expression that is cast too."""
    cast = literal.parent
    return cast is not None and cast.find_ancestor(exp.Cast) is not None


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    if isinstance(node, exp.Rand):
        return "random"
    return node.sql_name().lower() if isinstance(node, exp.Func) else ""


def warnings(
    nodes: Nodes,
    *,
    sql: str = "",
    file: str | None = None,
    unique: Collection[str] = ("id",),
    grouped: Collection[str] = (),
    key: Sequence[str] = (),
) -> tuple[ModelWarning, ...]:
    """What may differ from run to run: the order inside lists, picks, limits, rows that tie.

    Args:
        nodes: Those of the SELECT.
        sql: Its text, for the names of functions as the author wrote them.
        file: Its file.
        unique: The names of columns that differ in each row of their table.
        grouped: The names of columns by which a part of it, or a model under it, is grouped.
        key: The audience's key.
    """
    found: dict[tuple[str, int], ModelWarning] = {}
    for node in nodes.of(exp.Func, exp.Window, exp.Limit, exp.Fetch, exp.Select, exp.Distinct):
        uncertainties = [*_uncertainties(node, _written(node, sql))]
        if isinstance(node, exp.AnyValue) and _is_one_value(node, unique):
            uncertainties = []
        tied = tie(node, {*unique, *grouped}, key)
        if tied:
            last = ", ".join(key) or "id"
            message = f"{tied} may take rows that tie in another order each time"
            uncertainties.append((message, f"Add a unique column to ORDER BY, such as: {last}"))
        for message, hint in uncertainties:
            line = line_of(node)
            warning = ModelWarning(message=message, hint=hint, file=file, line=line)
            found.setdefault((message, line), warning)
    return tuple(sorted(found.values(), key=lambda error: error.line or 0))


def with_aliases(nodes: Nodes, names: Collection[str]) -> frozenset[str]:
    """The names of columns, and those under which a SELECT and its parts give the same columns.

    Names are compared without their tables: a warning that may be wrong is left out.
    """
    known = set(names)
    for node in nodes.of(exp.Alias):
        if isinstance(node.this, exp.Column) and node.this.name.lower() in known:
            known.add(node.alias.lower())
    return frozenset(known)


def group_columns(nodes: Nodes) -> frozenset[str]:
    """The columns that alone are a GROUP BY of a SELECT or a part of it."""
    return frozenset(
        group.expressions[0].name.lower()
        for group in nodes.of(exp.Group)
        if len(group.expressions) == 1 and isinstance(group.expressions[0], exp.Column)
    )


def _is_one_value(node: exp.AnyValue, unique: Collection[str]) -> bool:
    """Whether the rows of a group are one row of the column's table, grouped by a unique column."""
    select = node.find_ancestor(exp.Select)
    group = select.args.get("group") if select else None
    column = node.this.this if isinstance(node.this, exp.HavingMax) else node.this
    if group is None or not isinstance(column, exp.Column):
        return False
    return any(
        isinstance(item, exp.Column)
        and item.table == column.table
        and (item.name.lower() in unique or item == column)
        for item in group.expressions
    )


def double_sums(tree: exp.Query, *, file: str | None = None) -> tuple[ModelWarning, ...]:
    """Sums of doubles, and of what may be doubles, in a SELECT with its types.

    Doubles are added in another order each time, which moves the last digits of the sum.
    """
    found: dict[tuple[str, int], ModelWarning] = {}
    for node in tree.find_all(*_SUMS, *_MOMENTS, exp.Anonymous):
        exact = isinstance(node, _SUMS) and _is_exact(node.this)
        of_doubles = not isinstance(node, exp.Anonymous) or _name(node) in _MOMENT_NAMES
        if exact or not of_doubles or _is_rounded(node):
            continue
        given, *more = _arguments(node)
        added = "…"
        if isinstance(given, exp.Column) and not more:
            added = ".".join(part.name for part in given.parts)
        message = f"{_name(node)}({added}) may differ in its last digits each time: doubles do"
        hint = f"Round it, such as: round({_name(node)}({added}), 6)"
        if isinstance(node, _SUMS):
            message += "" if _kind(given) else ", and its type is not known here"
            hint = f"Add decimals, such as: {_name(node)}(CAST({added} AS DECIMAL(18, 2)))"
        line = line_of(node)
        warning = ModelWarning(message=message, hint=hint, file=file, line=line)
        found.setdefault((message, line), warning)
    return tuple(found.values())


def may_sum(nodes: Nodes) -> bool:
    """Whether `double_sums` may find anything in a SELECT."""
    return nodes.has(*_SUMS, *_MOMENTS, exp.Anonymous)


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Anonymous):
        return node.expressions
    return [node.this, *filter(None, [node.args.get("expression")])]


def _uncertainties(node: exp.Expr, written: str) -> Iterator[tuple[str, str]]:
    name = _name(node)
    if isinstance(node, _LISTS) or name in _LIST_NAMES:
        if not _ordered(node):
            yield (
                f"{written}(…) without ORDER BY may list the same values in another order",
                f"Order inside the brackets, such as: {written}(x ORDER BY x)",
            )
    elif (isinstance(node, _PICKS) or name in _PICK_NAMES) and not _ordered(node):
        yield (
            f"{written}(…) may pick another of the values each time",
            "Use min or max; or arg_max by a unique column, such as an id.",
        )
    elif isinstance(node, exp.Array) and any(_unordered_query(e) for e in node.expressions):
        yield (
            "array(SELECT …) without ORDER BY may list the same values in another order",
            "Add ORDER BY inside the brackets.",
        )
    elif name in _GUESS_NAMES:
        yield (
            f"{written}(…) may guess another value each time",
            "Use quantile_cont, which is exact.",
        )
    elif isinstance(node, exp.Limit | exp.Fetch) and _unordered_limit(node):
        yield (
            "LIMIT without ORDER BY may keep other rows each time",
            "Add ORDER BY, with the key as its last column.",
        )
    elif isinstance(node, exp.Window) and _unordered_window(node):
        yield (
            f"{_name(windowed(node))}() without ORDER BY may take the rows otherwise each time",
            "Add ORDER BY inside OVER, with the key as its last column.",
        )
    elif isinstance(node, exp.Select) and _unordered_distinct(node):
        yield (
            "DISTINCT ON without ORDER BY may keep another row each time",
            "Add ORDER BY, with the key as its last column.",
        )
    elif isinstance(node, exp.Anonymous) and name == "hash":
        yield (
            "hash() may give other values in another version of DuckDB",
            "Use md5, which is the same everywhere.",
        )


def _written(node: exp.Expr, sql: str) -> str:
    """A function's name as it stands in the file; the tree knows many names as one."""
    at = node.meta
    text = sql[at["start"] : at["end"] + 1] if "start" in at and "end" in at else ""
    return text.lower() or _USUAL_NAMES.get(_name(node), _name(node))


def _ordered(node: exp.Expr) -> bool:
    around = node.parent
    within = isinstance(around, exp.WithinGroup | exp.HavingMax | exp.SortArray)
    if isinstance(around, exp.Window) and around.args.get("order"):
        return True
    first = node.this if isinstance(node.this, exp.Expr) else None
    return within or isinstance(first, exp.Order)


def _unordered_limit(node: exp.Expr) -> bool:
    query = node.parent
    return isinstance(query, exp.Query) and not query.args.get("order")


def _unordered_query(node: exp.Expr) -> bool:
    return isinstance(node, exp.Query) and not node.args.get("order")


def _unordered_window(node: exp.Window) -> bool:
    return isinstance(windowed(node), IN_ORDER) and window_order(node) is None


def _unordered_distinct(node: exp.Select) -> bool:
    distinct = node.args.get("distinct")
    return bool(distinct and distinct.args.get("on")) and not node.args.get("order")


def _kind(node: exp.Expr) -> exp.DataType | None:
    known = node.type is not None and not node.type.is_type(exp.DataType.Type.UNKNOWN)
    return node.type if known else None


def _is_exact(node: exp.Expr) -> bool:
    kind = _kind(node)
    return kind is not None and not kind.is_type(*exp.DataType.FLOAT_TYPES)


def _is_rounded(node: exp.Expr) -> bool:
    """Whether the sum is rounded or cast to an exact type in its expression."""
    at = node.parent
    while at is not None and not isinstance(at, exp.Query):
        if isinstance(at, exp.Round) or (isinstance(at, exp.Cast) and _is_exact(at)):
            return True
        at = at.parent
    return False
