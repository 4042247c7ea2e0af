-- The transitions of these users. Only the users are held to tell them apart, however wide the rows.
SELECT t.*
FROM transitions AS t
WHERE EXISTS (SELECT 1 FROM users AS u WHERE EVERY_COLUMN(identity, u._ = t._))
