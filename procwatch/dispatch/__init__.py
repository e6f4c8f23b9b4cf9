"""dispatch: work is handed out; one thread owns all state."""
