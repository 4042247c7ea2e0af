-- Forgets what the log of deletions said of an object.
DELETE FROM deletions WHERE object = :object
