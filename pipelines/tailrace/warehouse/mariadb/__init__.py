"""MariaDB as the warehouse."""
