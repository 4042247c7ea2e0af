-- What this session may use of the machine from now on.
SET memory_limit = :memory_limit
