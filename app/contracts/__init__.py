"""The language that `app` and `worker` share: pydantic and the standard library only."""
