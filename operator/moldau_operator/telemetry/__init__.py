"""The operator's own metrics: one table, plain counters, a page. Decides nothing, and knows no handler."""
