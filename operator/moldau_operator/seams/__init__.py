"""The two narrow places where plans meet the world, as Protocols and the values they carry. No I/O here."""
