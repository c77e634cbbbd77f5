"""One module per API: the request handlers. No sockets here; a handler takes a decoded request and gives a response."""
