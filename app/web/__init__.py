"""HTML routes: one documented context for each template."""
