-- Users who may be new to a destination; nobody to begin with.
CREATE TEMPORARY TABLE newcomers AS SELECT CAST('' AS TEXT) AS user_known_as WHERE FALSE
