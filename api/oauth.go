package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxGrantBody bounds the body of a request for a token.
const maxGrantBody = 8 << 10

// oauth grants tokens to programs that know a client's id and secret. Both paths
// are the same: one is where clients of Commerce Layer ask, the other where those
// of Elastic Path do.
func (s *Server) oauth() Dialect {
	return Dialect{Name: "oauth", Refuse: refuseGrant, Routes: []Route{
		{Method: http.MethodPost, Pattern: "/oauth/token", Handle: s.grantToken},
		{Method: http.MethodPost, Pattern: "/oauth/access_token", Handle: s.grantToken},
	}}
}

// granted is the answer: the members of both clients.
type granted struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Expires     int64  `json:"expires"`
	Scope       string `json:"scope"`
	CreatedAt   int64  `json:"created_at"`
	Identifier  string `json:"identifier"`
}

// The codes that RFC 6749 has for a refusal.
const (
	grantInvalidRequest = "invalid_request"
	grantInvalidClient  = "invalid_client"
	grantUnsupported    = "unsupported_grant_type"
	grantInvalidScope   = "invalid_scope"
	clientCredentials   = "client_credentials"
)

func grantProblem(status int, code, detail string) *Problem {
	return &Problem{Status: status, Code: code, Title: http.StatusText(status), Detail: detail}
}

func (s *Server) grantToken(w http.ResponseWriter, r *http.Request) error {
	if problem := s.grantLimit.take(address(r), grantRate).tell(w.Header()); problem != nil {
		return problem
	}
	in, err := readGrant(w, r)
	if err != nil {
		return err
	}
	if in.grantType != clientCredentials {
		return grantProblem(http.StatusBadRequest, grantUnsupported, "grant_type must be client_credentials")
	}
	caller, client, err := s.credentials(r, in)
	if err != nil {
		return err
	}
	scope, err := narrowed(caller.Scope, in.scope)
	if err != nil {
		return err
	}
	now := s.authority.now()
	token, err := s.authority.grants.sign(client, scope, caller.Mode, now)
	if err != nil {
		return fmt.Errorf("sign a token: %w", err)
	}
	if info, ok := r.Context().Value(requestKey).(*requestInfo); ok {
		info.caller = caller.Name
	}
	WriteJSON(w, http.StatusOK, "application/json", granted{
		AccessToken: token, TokenType: "Bearer", ExpiresIn: int64(grantLife.Seconds()), Expires: now.Add(grantLife).Unix(),
		Scope: scope.String(), CreatedAt: now.Unix(), Identifier: clientCredentials,
	})
	return nil
}

// credentials returns the client that an id and a secret are of, and the id that
// its tokens are granted to. The id of a stored token is in it; a configured
// token's is its name.
func (s *Server) credentials(r *http.Request, in grantRequest) (Caller, string, error) {
	invalid := grantProblem(http.StatusUnauthorized, grantInvalidClient, "client_id and client_secret are not those of a client")
	if in.id == "" || in.secret == "" || len(in.secret) > maxToken {
		return Caller{}, "", invalid
	}
	id, stored := tokenID(in.secret)
	caller, static := s.authority.static.find(in.secret)
	var err error
	switch {
	case static && in.id == caller.Name:
		return caller, caller.Client, nil
	case static || !stored || in.id != id:
		return Caller{}, "", invalid
	}
	if caller, err = s.authority.stored(r.Context(), id, in.secret); err != nil {
		if _, no := errors.AsType[*Problem](err); no {
			err = invalid
		}
		return Caller{}, "", err
	}
	return caller, id, nil
}

// narrowed is the scope that is granted: the client's, or less if it asks for
// less. Words of other systems, such as Commerce Layer's market:all, ask for
// nothing here.
func narrowed(own Scope, asked string) (Scope, error) {
	granted := ScopeNone
	for word := range strings.FieldsSeq(asked) {
		if scope, err := ParseScope(word); err == nil {
			granted = max(granted, scope)
		}
	}
	if granted == ScopeNone {
		return own, nil
	}
	if granted > own {
		return own, grantProblem(http.StatusBadRequest, grantInvalidScope, "this client has scope "+own.String())
	}
	return granted, nil
}

// grantRequest is what a client sends.
type grantRequest struct {
	grantType, id, secret, scope string
}

// readGrant reads a form or a JSON object, and the id and secret from an
// Authorization of scheme Basic where they are not in it.
func readGrant(w http.ResponseWriter, r *http.Request) (grantRequest, error) {
	body, err := ReadBody(w, r, maxGrantBody)
	if err != nil {
		return grantRequest{}, err
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var in grantRequest
	switch kind {
	case "application/json", MediaType:
		var members struct {
			GrantType string `json:"grant_type"`
			ID        string `json:"client_id"`
			Secret    string `json:"client_secret"`
			Scope     string `json:"scope"`
		}
		if json.Unmarshal(body, &members) != nil { // its error would repeat what was sent
			return in, grantProblem(http.StatusBadRequest, grantInvalidRequest, "the body is not a JSON object of strings")
		}
		in = grantRequest{members.GrantType, members.ID, members.Secret, members.Scope}
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return in, grantProblem(http.StatusBadRequest, grantInvalidRequest, "the body is not a form")
		}
		in = grantRequest{form.Get("grant_type"), form.Get("client_id"), form.Get("client_secret"), form.Get("scope")}
	default:
		return in, grantProblem(http.StatusUnsupportedMediaType, grantInvalidRequest, "send a form or a JSON object")
	}
	if id, secret, ok := r.BasicAuth(); ok && in.id == "" && in.secret == "" {
		in.id, in.secret = id, secret
	}
	return in, nil
}

// refuseGrant words problems as RFC 6749 does, with Elastic Path's list beside it.
func refuseGrant(w http.ResponseWriter, r *http.Request, problems []*Problem) {
	type item struct {
		Status string `json:"status"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	p := problems[0]
	code := p.Code
	switch {
	case p.Status == http.StatusServiceUnavailable:
		code = "temporarily_unavailable"
	case p.Status >= http.StatusInternalServerError:
		code = "server_error"
	}
	WriteJSON(w, p.Status, "application/json", struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Errors      []item `json:"errors"`
		RequestID   string `json:"request_id"`
	}{strings.ToLower(code), p.Detail, []item{{strconv.Itoa(p.Status), p.Title, p.Detail}}, RequestID(r.Context())})
}
