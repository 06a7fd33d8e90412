"""Who asks, and what each route asks of them."""
