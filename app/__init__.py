"""The service: pages, REST routes and the truth about jobs. Never imports torch or `worker`."""
