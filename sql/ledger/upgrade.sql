-- Records that the tables are now of a newer version.
UPDATE installation SET version = :version
