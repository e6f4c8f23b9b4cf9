"""control: what people ask of a running daemon, or of the folders and the ledger that it left."""
