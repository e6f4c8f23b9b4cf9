"""worker: what runs inside a worker process."""
