-- How much of a result waits in the engine until it is asked for.
SET SESSION streaming_buffer_size = :buffer_size
