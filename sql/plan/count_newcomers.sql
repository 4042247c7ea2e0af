-- How many users are new to a destination.
SELECT COUNT(DISTINCT n.user_known_as) FROM newcomers AS n
