"""Consumer groups (later: transactions) as pure cores plus the runtime that writes their records."""
