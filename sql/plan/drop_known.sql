-- Whoever is, or was, a member of another audience is known there.
DELETE FROM newcomers AS n
WHERE EXISTS (SELECT 1 FROM snapshot AS s WHERE EVERY_COLUMN(who, CAST(s._ AS TEXT) = n.user_known_as))
