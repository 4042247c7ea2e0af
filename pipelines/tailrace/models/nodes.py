"""The nodes of a syntax tree by their types, from one walk.

The checks of a model's file look for some types of nodes each. A walk of the tree takes longer than
what they do with the nodes.
"""

from __future__ import annotations

from typing import TypeVar, cast

from sqlglot import exp

T = TypeVar("T", bound=exp.Expr)


class Nodes:
    """The nodes of a tree that is not changed afterwards.

    Attributes:
        query: The tree.
    """

    def __init__(self, query: exp.Query) -> None:
        self.query = query
        self._nodes = tuple(query.walk())
        self._places: dict[type[exp.Expr], list[int]] = {}
        for place, node in enumerate(self._nodes):
            self._places.setdefault(type(node), []).append(place)

    def of(self, *types: type[T]) -> list[T]:
        """The nodes of some types and of their subclasses, in the order of the walk.

        >>> from sqlglot import parse_one
        >>> [node.name for node in Nodes(parse_one("SELECT a, 'x' FROM t")).of(exp.Column)]
        ['a']
        """
        found = [places for type_, places in self._places.items() if issubclass(type_, types)]
        places = found[0] if len(found) == 1 else sorted(place for some in found for place in some)
        return cast(list[T], [self._nodes[place] for place in places])

    def has(self, *types: type[exp.Expr]) -> bool:
        """Whether there is a node of one of the types or of their subclasses."""
        return any(issubclass(type_, types) for type_ in self._places)
