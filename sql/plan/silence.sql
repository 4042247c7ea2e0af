-- These transitions are recorded as delivered without being sent.
UPDATE transitions SET _send = FALSE WHERE reason = :reason
