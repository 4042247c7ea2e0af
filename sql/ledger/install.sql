-- Records the random namespace that makes this installation's message ids its own.
INSERT INTO installation (namespace, version, created_at) VALUES (:namespace, :version, :now)
