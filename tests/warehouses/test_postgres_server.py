"""The tests' own PostgreSQL server."""

from __future__ import annotations

import psycopg2
import pytest

pytestmark = pytest.mark.postgres


def test_each_test_gets_an_empty_database(postgres_database: str) -> None:
    connection = psycopg2.connect(postgres_database)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            assert (0,) == cursor.fetchone()
    finally:
        connection.close()
