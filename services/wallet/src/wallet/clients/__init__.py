"""Payment providers: who collects the money of a top-up from outside."""
