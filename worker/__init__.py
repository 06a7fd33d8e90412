"""What needs torch: the method, attacks, models, data, and the jobs that use them."""
