DELETE FROM deletions WHERE object = :object
