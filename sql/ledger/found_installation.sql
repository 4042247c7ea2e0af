-- This installation's namespace and the version of its tables.
SELECT namespace, version FROM installation
