-- What an audience was delivered belongs to the past: one of the same name starts anew.
UPDATE audience_runs SET phase = 'retired' WHERE audience = :audience AND phase <> 'delivering'
