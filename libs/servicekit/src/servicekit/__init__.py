"""What every Farthing service is made with: server, auth, outbox, inbox, telemetry, paging. Knows no business word."""
