"""Rules for DuckDB constructs that sqlglot does not translate to another engine.

sqlglot translates most of a model. A construct that it leaves unchanged would fail on the other
engine or have another meaning there; here it is replaced by an equivalent, or refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, UnsupportedError
from sqlglot.optimizer.annotate_types import annotate_types

from tailrace.errors import ModelDoesNotBind

Rule = Callable[[exp.Expr], exp.Expr]


class _NoCounterpart(Exception):
    pass


def transpile(tree: exp.Query, dialect: str, *, file: str | None = None) -> exp.Query:
    """The same SELECT in words that the dialect has.

    Raises:
        ModelDoesNotBind: It has none for something.
    """
    try:
        return _transpiled(tree, RULES[dialect]) if dialect in RULES else tree
    except _NoCounterpart as error:
        raise ModelDoesNotBind(
            f"{error} has no counterpart in {dialect}",
            hint="Write it in other words, or with functions that both engines have.",
            file=file,
        ) from None


def refuse_silent_differences(
    tree: exp.Query, source: str, target: str, *, file: str | None = None
) -> None:
    """Refuse what sqlglot cannot write in another dialect, or writes with another meaning.

    Raises:
        ModelDoesNotBind: With the name of the construct and the file.
    """
    if source == target:
        return
    problem: str | None = None
    try:
        tree.sql(target, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        problem = str(error).splitlines()[0]
    typed = Dialect.get_or_raise(source).TYPED_DIVISION
    if problem is None and typed != Dialect.get_or_raise(target).TYPED_DIVISION:
        divisions = annotate_types(tree.copy(), dialect=source).find_all(exp.Div)
        if any(not (_is_typed(node.this) and _is_typed(node.expression)) for node in divisions):
            problem = f"A division of {source} may round in another way in {target}: cast a side"
    if problem is None:
        return
    raise ModelDoesNotBind(
        f"The model cannot be translated from {source} to {target}: {problem}",
        hint=f"Write the model in {target}, or with functions that both dialects have.",
        file=file,
    )


def _is_typed(node: exp.Expr) -> bool:
    return node.type is not None and not node.type.is_type(exp.DataType.Type.UNKNOWN)


def _transpiled(tree: exp.Query, rules: Mapping[type[exp.Expr], Rule]) -> exp.Query:
    # The innermost first, so that what a rule takes over is translated by then.
    for node in reversed(list(tree.find_all(*rules, exp.Select, exp.Anonymous))):
        if isinstance(node, exp.Select):
            _name_groups(node)
        elif isinstance(node, exp.Anonymous):
            if node.name.lower() in REFUSED:
                raise _NoCounterpart(f"{node.name.lower()}()")
        elif type(node) in rules and (made := rules[type(node)](node)) is not node:
            node.replace(made)
    return tree


def _name_groups(select: exp.Select) -> None:
    """GROUP BY ALL: by every column of the SELECT that aggregates nothing."""
    group = select.args.get("group")
    if group is None or not group.args.get("all"):
        return
    plain = [
        exp.Literal.number(place)
        for place, each in enumerate(select.expressions, 1)
        if not _aggregates(each)
    ]
    select.set("group", exp.Group(expressions=plain) if plain else None)


def _aggregates(node: exp.Expr) -> bool:
    # A window is no aggregate of the group, and a subquery aggregates for itself.
    inside = node.walk(prune=lambda each: isinstance(each, exp.Window | exp.Query))
    return any(isinstance(each, exp.AggFunc) for each in inside)


def _round(node: exp.Expr) -> exp.Expr:
    if node.args.get("decimals") is None:
        return node
    # PostgreSQL rounds decimals to a place, and doubles to whole numbers only.
    return exp.Round(this=exp.cast(node.this, "DECIMAL"), decimals=node.args["decimals"])


def _binary_json(node: exp.Expr) -> exp.Expr:
    # PostgreSQL's json equals nothing, not even itself.
    if node.args["to"].is_type("json"):
        return exp.cast(node.this, "JSONB", dialect="postgres")
    return node


def _json_path(node: exp.Expr) -> exp.Expr:
    # The functions that sqlglot takes for ->> and -> want json, and landed documents are jsonb.
    node.set("this", exp.cast(node.this, "JSON", dialect="postgres"))
    if isinstance(node, exp.JSONExtract):
        return exp.cast(node, "JSONB", dialect="postgres")
    return node


def _contains(node: exp.Expr) -> exp.Expr:
    if isinstance(node.this, exp.Array):
        return exp.ArrayContains(this=node.this, expression=node.expression)
    place = exp.StrPosition(this=node.this, substr=node.expression)
    return exp.paren(exp.GT(this=place, expression=exp.Literal.number(0)))


def _ends_with(node: exp.Expr) -> exp.Expr:
    end = exp.Right(this=node.this, expression=exp.Length(this=node.expression.copy()))
    return exp.paren(exp.EQ(this=end, expression=node.expression))


def _full_match(node: exp.Expr) -> exp.Expr:
    if node.args.get("options") is not None or not isinstance(node.expression, exp.Literal):
        raise _NoCounterpart("regexp_full_match() with options")
    whole = exp.Literal.string(f"^(?:{node.expression.name})$")
    return exp.RegexpLike(this=node.this, expression=whole)


def _sha256(node: exp.Expr) -> exp.Expr:
    text = exp.func("CONVERT_TO", exp.cast(node.this, "TEXT"), exp.Literal.string("UTF8"))
    digest = exp.Anonymous(this="SHA256", expressions=[text])
    return exp.Anonymous(this="ENCODE", expressions=[digest, exp.Literal.string("hex")])


def _date_from_parts(node: exp.Expr) -> exp.Expr:
    parts = [node.args[part] for part in ("year", "month", "day")]
    return exp.Anonymous(this="MAKE_DATE", expressions=parts)


def _day_name(node: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="TO_CHAR", expressions=[node.this, exp.Literal.string("FMDay")])


def _pick(name: str, *, largest: bool) -> Rule:
    """arg_max and arg_min: the first of a list in the order of what is compared."""

    def picked(node: exp.Expr) -> exp.Expr:
        if node.args.get("count") is not None or isinstance(node.parent, exp.Filter):
            raise _NoCounterpart(f"{name}() of several")
        value, by = node.this, node.expression
        order = exp.Order(
            this=value, expressions=[exp.Ordered(this=by, desc=largest, nulls_first=False)]
        )
        known = exp.and_(value.copy().is_(exp.null()).not_(), by.copy().is_(exp.null()).not_())
        listed = exp.Filter(this=exp.ArrayAgg(this=order), expression=exp.Where(this=known))
        return exp.Bracket(this=exp.paren(listed), expressions=[exp.Literal.number(1)], offset=1)

    return picked


def _format(node: exp.Expr) -> exp.Expr:
    # The other engine's format() takes %s, and leaves {} standing.
    if not isinstance(node.this, exp.Literal) or "{" in node.this.name:
        raise _NoCounterpart("format() with {}")
    return node


def _struct(node: exp.Expr) -> exp.Expr:
    # Both become the same object of a payload.
    parts: list[exp.Expr] = []
    for each in node.expressions:
        if not isinstance(each, exp.PropertyEQ):
            raise _NoCounterpart("A struct without names")
        parts += [exp.Literal.string(each.this.name), each.expression]
    return exp.Anonymous(this="JSONB_BUILD_OBJECT", expressions=parts)


def _refused(what: str) -> Rule:
    def refuse(node: exp.Expr) -> exp.Expr:
        raise _NoCounterpart(what)

    return refuse


POSTGRES: Mapping[type[exp.Expr], Rule] = {
    exp.ArgMax: _pick("arg_max", largest=True),
    exp.ArgMin: _pick("arg_min", largest=False),
    exp.Cast: _binary_json,
    exp.Contains: _contains,
    exp.DateFromParts: _date_from_parts,
    exp.Dayname: _day_name,
    exp.EndsWith: _ends_with,
    exp.Format: _format,
    exp.JSONExtract: _json_path,
    exp.JSONExtractScalar: _json_path,
    exp.RegexpFullMatch: _full_match,
    exp.Round: _round,
    exp.SHA2: _sha256,
    exp.Glob: _refused("GLOB"),
    exp.Struct: _struct,
    exp.TryCast: _refused("TRY_CAST"),
}
RULES: Mapping[str, Mapping[type[exp.Expr], Rule]] = {"postgres": POSTGRES}
REFUSED = frozenset({"hash", "printf", "row", "to_json"})
