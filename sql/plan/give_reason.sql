-- One reason for every transition of a kind.
UPDATE transitions SET reason = :reason WHERE op = :op
