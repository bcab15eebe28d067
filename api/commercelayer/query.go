package commercelayer

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/store"
)

// The size of a page.
const (
	defaultPageSize = 10
	maxPageSize     = 25
	maxPageNumber   = 1_000_000
)

// maxIncludes and maxIncludeDepth bound what one request may include.
const (
	maxIncludes     = 10
	maxIncludeDepth = 3
)

// query is what a request asks for beside the path. Everything in it comes from
// an allow-list of the resource type.
type query struct {
	page     store.Page
	newest   bool
	filters  map[string]string
	includes [][]string
}

func badParameter(code, parameter, detail string) *api.Problem {
	return &api.Problem{Status: http.StatusBadRequest, Code: code, Title: strings.ToLower(strings.ReplaceAll(code, "_", " ")), Detail: detail, Parameter: cut(parameter)}
}

// readQuery reads the query of a list, or with list false of one resource,
// which can be told only what to include.
func readQuery(r *http.Request, t *resourceType, list bool) (query, error) {
	q := query{page: store.Page{Number: 1, Size: defaultPageSize}, newest: true, filters: map[string]string{}}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !utf8.ValidString(r.URL.RawQuery) {
		return q, api.BadRequest("the query of the URL cannot be read")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := values[name][0]
		if len(values[name]) > 1 {
			return q, badParameter("PARAM_NOT_ALLOWED", name, "the parameter is there twice")
		}
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) || len(value) > 1000 {
			return q, badParameter("PARAM_NOT_ALLOWED", name, "the value is not valid text of at most 1000 bytes")
		}
		if err := q.parameter(t, list, name, value); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q *query) parameter(t *resourceType, list bool, name, value string) error {
	switch {
	case name == "include":
		return q.include(t, value)
	case !list:
		return badParameter("PARAM_NOT_ALLOWED", name, "a single resource takes the parameter include only")
	case name == "page[number]":
		return pageNumber(name, value, maxPageNumber, &q.page.Number)
	case name == "page[size]":
		return pageNumber(name, value, maxPageSize, &q.page.Size)
	case name == "sort":
		return q.sort(value)
	case strings.HasPrefix(name, "filter"):
		return q.filter(t, name, value)
	}
	return badParameter("PARAM_NOT_ALLOWED", name, "there is no such parameter; a list takes page[number], page[size], sort, include and filter[q][…]")
}

func pageNumber(name, value string, most int, into *int) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return badParameter("INVALID_PAGE_VALUE", name, fmt.Sprintf("must be from 1 to %d", most))
	}
	*into = n
	return nil
}

// sort takes id and created_at, which are the same order: ids are made by time.
func (q *query) sort(value string) error {
	field, descending := strings.CutPrefix(value, "-")
	if field != "id" && field != "created_at" {
		return badParameter("INVALID_SORT_CRITERIA", "sort", "can be id or created_at, each with - in front for newest first")
	}
	q.newest = descending
	return nil
}

func (q *query) filter(t *resourceType, name, value string) error {
	inner, ok := strings.CutPrefix(name, "filter[q][")
	inner, closed := strings.CutSuffix(inner, "]")
	if !ok || !closed || !slices.Contains(t.filters, inner) {
		return badParameter("FILTER_NOT_ALLOWED", name, "there is no such filter for "+t.name+"; there are: "+strings.Join(t.filters, ", "))
	}
	if value == "" {
		return badParameter("FILTER_NOT_ALLOWED", name, "the filter has no value")
	}
	q.filters[inner] = value
	return nil
}

// truth reads the value of a filter that is true or false.
func (q *query) truth(name string) (value, there bool, err error) {
	text, there := q.filters[name]
	if !there {
		return false, false, nil
	}
	switch text {
	case "true", "1":
		return true, true, nil
	case "false", "0":
		return false, true, nil
	}
	return false, true, badParameter("FILTER_NOT_ALLOWED", "filter[q]["+name+"]", "must be true or false")
}

func (q *query) include(t *resourceType, value string) error {
	wrong := func(path string) error {
		return badParameter("INVALID_INCLUDE", "include", fmt.Sprintf("%s cannot be included with %s", cut(path), t.name))
	}
	for path := range strings.SplitSeq(value, ",") {
		names := strings.Split(path, ".")
		if len(names) > maxIncludeDepth || len(q.includes) >= maxIncludes {
			return wrong(path)
		}
		at := t
		for _, name := range names {
			if at == nil {
				return wrong(path)
			}
			rel := at.relation(name)
			if rel == nil || rel.alone {
				return wrong(path)
			}
			at = rel.target()
		}
		q.includes = append(q.includes, names)
	}
	return nil
}
