"""What the rules of a translation have in common: refusals, operands of known types, names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.errors import ModelDoesNotBind
from tailrace.models.types import (
    BOOLEANS,
    DATES,
    DECIMALS,
    INSTANTS,
    INTEGERS,
    NUMBERS,
    TEXTS,
    TIMESTAMPS,
    SqlType,
    kind_of,
)

HINT = (
    "Write it with other functions, or write the model in PostgreSQL's dialect and put "
    "dialect: postgres into its header."
)


_TYPE_HINT = "Cast it, such as: CAST({} AS {})"


class Refusal(Exception):
    """A construct that is not translated: what it is, the node, and what to write instead."""

    def __init__(self, what: str, node: exp.Expr, *, hint: str = HINT, known: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.node = node
        self.hint = hint
        # It has no counterpart at all, rather than another meaning.
        self.known = known

    def with_hint(self, hint: str) -> Refusal:
        """The same with a warehouse's own hint in the place of the general one."""
        if self.hint != HINT:
            return self
        return Refusal(self.what, self.node, hint=hint, known=self.known)

    def message(self, target: str) -> str:
        problem = "has no counterpart" if self.known else "may mean something else"
        return f"{self.what} {problem} in {target}"


class Operands:
    """What is known of the operands: strictly once the landed tables are known, else loosely."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict

    def require(self, node: exp.Expr, what: str, *kinds: frozenset[exp.DType], like: str) -> None:
        """Refuse an operand that is not of one of these types."""
        kind = kind_of(node)
        if kind is SqlType.NULL or any(kind in family for family in kinds):
            return
        if kind is None and not self.strict:
            return
        name = "an unknown type" if kind is None else f"type {kind.value}"
        shown = construct_text(node)
        operand = shown if len(shown) <= 40 else "x"
        raise Refusal(f"{what} of {name}", node, hint=_TYPE_HINT.format(operand, like))

    def is_text(self, node: exp.Expr, what: str) -> bool:
        """Whether a value that is ordered is text. PostgreSQL orders text by its collation."""
        kind = kind_of(node)
        if kind in (None, SqlType.NULL):
            if kind is None and self.strict:
                raise Refusal(
                    f"{what} of an unknown type",
                    node,
                    hint=_TYPE_HINT.format(construct_text(node)[:40], "VARCHAR"),
                )
            return False
        if kind in TEXTS:
            return True
        if kind in NUMBERS | DATES | TIMESTAMPS | INSTANTS | BOOLEANS or kind in _ORDERED_ALIKE:
            return False
        assert kind is not None
        raise Refusal(f"{what} of type {kind.value}", node)

    def refuse_list(self, node: exp.Expr, what: str) -> None:
        """Refuse a list of lists: PostgreSQL makes one array of them, or none."""
        kind = kind_of(node)
        if kind in (SqlType.LIST, SqlType.ARRAY):
            raise Refusal(f"{what} of lists", node)
        if kind is None and self.strict:
            shown = construct_text(node)
            hint = _TYPE_HINT.format(shown if len(shown) <= 40 else "x", "VARCHAR")
            raise Refusal(f"{what} of an unknown type", node, hint=hint)


_ORDERED_ALIKE = frozenset({SqlType.TIME, SqlType.UUID, SqlType.INTERVAL})


Rule = Callable[[exp.Expr, Operands], exp.Expr]

# Parts of other constructs, which say what they mean.
PARTS = (exp.Identifier, exp.DataType, exp.DataTypeParam, exp.Var)


def apply_rules(
    tree: exp.Query,
    rules: Mapping[type[exp.Expr], Callable[..., exp.Expr]],
    *arguments: object,
    same: Collection[type[exp.Expr]],
    functions_known: bool = False,
) -> exp.Query:
    """Rewrite each construct of a SELECT by its rule; the tree is changed.

    Args:
        tree: The SELECT in DuckDB's dialect, with its types.
        rules: By the type of a construct; called with the node and `arguments`.
        arguments: What every rule gets besides the node.
        same: Constructs that mean the same in both dialects.
        functions_known: A function without a rule has no counterpart at all.

    Raises:
        Refusal: A construct has no rule, or its rule refuses it.
    """
    # The innermost first, so that what a rule takes over is translated by then.
    for node in reversed(list(tree.walk())):
        if type(node) in same or isinstance(node, PARTS):
            continue
        rule = rules.get(type(node))
        if rule is None:
            known = functions_known and isinstance(node, exp.Func)
            raise Refusal(construct_name(node), node, known=known)
        replaced = rule(node, *arguments)
        if replaced is not node:
            replaced.type = replaced.type or node.type
            node.replace(replaced)
    return tree


# Types whose texts are the same in both engines.
SAME_TEXT = (TEXTS, INTEGERS, DECIMALS, DATES, TIMESTAMPS, INSTANTS, BOOLEANS)


def unportable(
    refusal: Refusal, target: str, *, file: str | None, line: int | None = None
) -> ModelDoesNotBind:
    """The error for a construct that is not translated. It remembers the construct's text."""
    error = ModelDoesNotBind(refusal.message(target), hint=refusal.hint, file=file, line=line)
    error.construct = construct_text(refusal.node)
    return error


def construct_text(node: exp.Expr) -> str:
    """The text by which a construct is found again in an author's tree."""
    try:
        return node.sql("duckdb").lower()
    except (SqlglotError, ValueError, TypeError, AttributeError, LookupError):
        # sqlglot parses some constructs that it cannot write.
        return repr(node).lower()


def construct_name(node: exp.Expr) -> str:
    """What a message calls a construct: a function with brackets, or a word in capitals."""
    if isinstance(node, exp.Anonymous):
        return f"{node.name.lower()}()"
    if isinstance(node, exp.Func):
        return f"{node.sql_name().lower()}()"
    return type(node).__name__.upper()


def by_bytes(node: exp.Expr) -> exp.Expr:
    """Text in the order of its bytes, which is DuckDB's order."""
    operand = node if isinstance(node, exp.Column | exp.Func | exp.Paren) else exp.paren(node)
    collated = exp.Collate(this=operand, expression=exp.to_identifier("C", quoted=True))
    collated.type = node.type
    return collated


INTERVAL_UNITS = frozenset({"YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"})


def no_counterpart(what: str) -> Rule:
    """A rule that refuses a construct which the other engine does not have."""

    def refuse(node: exp.Expr, types: Operands) -> exp.Expr:
        raise Refusal(what, node, known=True)

    return refuse
