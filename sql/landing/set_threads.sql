SET threads = :threads
