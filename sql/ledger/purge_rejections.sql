-- Forgets refusals that were settled long ago.
DELETE FROM rejections WHERE resolved_at < :before
