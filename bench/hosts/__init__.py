"""A lab on several hosts, each a network namespace of this machine, and what befalls them."""
