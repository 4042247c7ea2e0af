-- What people call an audience from now on.
UPDATE audience_runs SET name = :name WHERE audience = :audience
