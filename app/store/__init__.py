"""Tables and files: the only place that speaks SQL. No FastAPI, no torch."""
