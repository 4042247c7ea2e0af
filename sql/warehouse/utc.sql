-- Every instant that this session shows or reads without a zone is in UTC.
SET TimeZone = 'UTC'
