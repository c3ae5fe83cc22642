"""The HTTP API: `Client` and the runs' store as JSON, and the web page.

`app.create_app(client)` makes the ASGI application, `server.serve(client)` serves it. Each
operation is declared once (`operations.Operation`): routes, validation, responses and
`/openapi.json` are made from that declaration, so that the document is always true.
"""
