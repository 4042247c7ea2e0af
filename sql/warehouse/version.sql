-- The engine's own version.
SELECT VERSION()
