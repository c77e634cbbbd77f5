"""The admin API over HTTP: what operators ask brokers and Kafka has no call for. See `docs/admin-api.yaml`.

One module per resource, thin over pure functions. No aiohttp here: `server.http` brings requests and takes answers, and
`peers` asks other brokers through `client.admin_api`. Imported with the first request, as the HTTP server is.
"""
