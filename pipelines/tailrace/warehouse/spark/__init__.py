"""Spark SQL on Delta tables, spoken to through Arrow Flight SQL."""
