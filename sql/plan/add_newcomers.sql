-- The users of those who enter an audience that never had them.
INSERT INTO newcomers (user_known_as)
SELECT DISTINCT EACH_COLUMN(who, CAST(t._ AS TEXT))
FROM transitions AS t
WHERE t.op = 'entered' AND t.base_v = :never AND EVERY_COLUMN(who, t._ IS NOT NULL)
