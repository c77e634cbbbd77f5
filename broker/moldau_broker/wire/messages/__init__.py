"""One module per API: the message dataclasses, which are the schema. No logic here."""
