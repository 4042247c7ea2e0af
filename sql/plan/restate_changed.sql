-- Whoever moved enters anew as well, under an id that no receiver has seen.
UPDATE transitions
SET op = 'entered', reason = 'initial', base_v = -:run, _blind = TRUE
WHERE op <> 'exited'
