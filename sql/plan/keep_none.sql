-- Nothing was refused before, so there is nothing to try again.
DELETE FROM transitions
