package main

import (
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/hibiken/asynqmon"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/capstan-pay/capstan/api"
)

// asynqmonPath is where the dashboard is mounted.
const asynqmonPath = "/asynqmon"

// admin answers the admin listener: the dashboard for retries, the metrics and,
// when asked for, profiles. All of it is behind the token; health is not.
func (s *system) admin(server *api.Server) http.Handler {
	dashboard := asynqmon.New(asynqmon.Options{
		RootPath: asynqmonPath, RedisConnOpt: s.redisOpt, PayloadFormatter: asynqmon.PayloadFormatterFunc(readable),
	})
	inside := http.NewServeMux()
	inside.Handle(asynqmonPath+"/", dashboard)
	inside.Handle("/metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry}))
	inside.Handle("/{$}", http.RedirectHandler(asynqmonPath+"/", http.StatusFound))
	if s.settings.Debug {
		inside.HandleFunc("/debug/pprof/", pprof.Index)
		inside.HandleFunc("/debug/pprof/profile", pprof.Profile)
		inside.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		inside.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	outside := http.NewServeMux()
	outside.Handle("GET /healthz", server)
	outside.Handle("GET /readyz", server)
	outside.Handle("/", server.Guard(api.ScopeAdmin, inside))
	return outside
}

// readable prints a task's payload for people. It names an operation and holds
// nothing else, so nothing has to be hidden.
func readable(taskType string, payload []byte) string {
	if len(payload) == 0 {
		return "(" + taskType + " carries nothing)"
	}
	const most = 512
	if len(payload) > most {
		payload = payload[:most]
	}
	return strings.ToValidUTF8(string(payload), "�")
}
