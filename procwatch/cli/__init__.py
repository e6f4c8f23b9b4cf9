"""cli: what people type, one module a command."""
