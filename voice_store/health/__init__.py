"""Is a store as it should be, and what can be done about it."""
