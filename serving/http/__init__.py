"""The HTTP transport: OpenAI's speech API, every operation as JSON, health and metrics."""
