"""Tables written as CSV and Excel files, rows as they come, in flat memory. Nothing here knows gRPC or a service."""
