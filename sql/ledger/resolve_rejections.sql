-- What earlier runs saw refused has been planned anew, delivered or refused again by this one.
UPDATE rejections SET resolved_at = :now
WHERE audience = :audience AND run_seq < :run AND resolved_at IS NULL
