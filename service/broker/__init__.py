"""Everything that talks to Redis for the web side, in RQ's own keys."""
