"""What the product does for a user; the only callers of the store and the queue."""
