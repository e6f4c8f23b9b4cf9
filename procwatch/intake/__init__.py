"""intake: files arrive."""
