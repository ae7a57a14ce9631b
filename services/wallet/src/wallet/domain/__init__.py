"""What the service knows about money and organizations; pure, no I/O."""
