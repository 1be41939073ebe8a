"""Published models: what differs between them, as values and architecture families."""
