// Package api serves HTTP: the parts that every surface shares. What is said
// over it is the business of the dialects, one folder each.
//
//	server, err := api.New(api.Config{Tokens: tokens, Checks: checks, Log: log, Registerer: reg, Now: time.Now},
//		commercelayer.New(…).Dialect(), webhooks.New(…).Dialect())
//	http := api.HTTPServer("127.0.0.1:8080", server, log)
//
// A [Dialect] is a table of routes, each with the scope it needs, and the way
// it words a [Problem]. The router, the access log, the metrics and the test of
// who may do what all read that one table ([Server.Routes]).
//
// Where to look:
//
//   - route.go: routes, dialects, the table;
//   - server.go: the router and the http.Server with all its limits;
//   - token.go: what a request presents, configured tokens, who is calling;
//     authority.go: stored tokens, and how long one is believed; secret.go: their
//     form; guard.go: the same for handlers that are no dialect;
//   - oauth.go, grant.go: client credentials, and the tokens they are granted;
//   - idempotency.go: the same request again is answered as the first time;
//   - limit.go: how much each client may send;
//   - middleware.go: request id, access log, panics, headers, metrics;
//   - problem.go: from a Go error to what a client is told;
//   - body.go: reading a request's body;
//   - health.go: /healthz and /readyz.
//
// Nothing here decides about money. A client that gives up in the middle of a
// call loses nothing: what was committed stands, and the same call again is
// answered with it.
package api
