"""The loads and the report that `make bench` prints: ratios against a real peer, in the same run."""
