-- What this session may use of the machine.
SELECT CURRENT_SETTING('memory_limit'), CURRENT_SETTING('threads')
