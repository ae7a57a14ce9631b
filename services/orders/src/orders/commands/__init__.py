"""What changes something: one function a change, each in one transaction, none around a remote call."""
