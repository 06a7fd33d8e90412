"""REST routes: parse, call a service, return a contract."""
