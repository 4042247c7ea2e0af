-- The transitions of all other users, and those of nobody.
SELECT t.*
FROM transitions AS t
WHERE NOT EXISTS (SELECT 1 FROM users AS u WHERE EVERY_COLUMN(identity, u._ = t._))
