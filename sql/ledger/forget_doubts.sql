-- Attempts whose transitions are not in the outbox any more.
DELETE FROM doubtful WHERE audience = :audience
