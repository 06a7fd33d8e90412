"""Pages, in three wings: `pages` uses `forms` and `charts`; all use `render` and `words`."""
