-- Nothing of this plan is sent; the snapshot takes it over as if it had been.
UPDATE transitions SET _send = FALSE WHERE _send
