"""The columns of a SELECT that reads landed tables alone, with and without following them."""

from __future__ import annotations

import pytest

from tailrace.models.columns import Columns, columns_of, unknown_columns
from tailrace.models.determinism import double_sums, may_sum
from tailrace.models.nodes import Nodes
from tailrace.models.parse import read_select

MODEL = {"people": Columns(names=("id",), types={"id": "TEXT"}, tree=None)}
ALONE = (
    "SELECT id, Email, \"City\" FROM salesforce.contact WHERE x IN ('a')",
    "SELECT c.id, a.name AS account, upper(c.city), 1 FROM salesforce.contact AS c "
    "JOIN salesforce.account AS a ON a.id = c.account_id",
    "SELECT id, count(*) AS n, max(x) FROM salesforce.contact GROUP BY ALL HAVING n > 1",
    "SELECT * FROM salesforce.contact",
    "SELECT c.*, 1 AS one FROM salesforce.contact AS c",
    "SELECT id AS a, id AS a FROM salesforce.contact",
    "SELECT DISTINCT ON (id) id, row_number() OVER (ORDER BY id) AS place FROM salesforce.contact",
    "SELECT salesforce.contact.id, city.part FROM salesforce.contact",
)
FOLLOWED = (
    "SELECT p.nothing FROM people AS p",
    "WITH p AS (SELECT id FROM salesforce.contact) SELECT p.nothing FROM p",
    "SELECT p.nothing FROM (SELECT id FROM salesforce.contact) AS p",
)


@pytest.mark.parametrize("sql", ALONE)
def test_the_names_are_the_same_and_no_error_is_lost(sql: str) -> None:
    nodes = Nodes(read_select(sql))
    columns, followed = columns_of(nodes, MODEL, typed=False), columns_of(nodes, MODEL)
    assert columns.tree is None
    assert followed.names == columns.names
    assert followed.tree is not None
    assert [] == [*unknown_columns(followed.tree, MODEL)]
    assert not may_sum(nodes) and not double_sums(followed.tree)


@pytest.mark.parametrize("sql", FOLLOWED)
def test_a_select_with_parts_or_models_is_always_followed(sql: str) -> None:
    tree = columns_of(Nodes(read_select(sql)), MODEL, typed=False).tree
    assert tree is not None
    assert 1 == len([*unknown_columns(tree, MODEL)])


@pytest.mark.parametrize("call", ["sum(x)", "stddev(x)", "product(x)", "avg(x)"])
def test_a_sum_is_followed_for_its_type(call: str) -> None:
    assert may_sum(Nodes(read_select(f"SELECT {call} AS total FROM salesforce.contact")))
