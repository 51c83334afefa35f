package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
)

const (
	tagsPerPage = 1000
	maxTagPages = 200 // 200,000 tags: more than any repository has in good faith
	maxTagsBody = 4 << 20
	maxSearch   = 4 << 20
)

// ListTags lists the tags of ref's repository, in the registry's order. Text
// that is no tag is left out.
func ListTags(ctx context.Context, ref reference.Reference, o Options) (tags []string, err error) {
	o = o.withDefaults()
	err = o.onAny(ctx, ref, func(s *session) error {
		tags, err = s.tags(ctx)
		return err
	})
	return tags, err
}

func (s *session) tags(ctx context.Context) ([]string, error) {
	var out []string
	next := s.url("tags/list") + "?n=" + strconv.Itoa(tagsPerPage)
	for page := 0; next != ""; page++ {
		q := request{op: "list tags of", what: s.ep.Ref.Name(), method: http.MethodGet, url: next, ok: []int{http.StatusOK}}
		if page == maxTagPages {
			return nil, s.fail(q.op, q.what, fmt.Errorf("more than %d pages: %w", maxTagPages, ErrVerify))
		}
		data, header, err := s.fetch(ctx, q, maxTagsBody)
		if err != nil {
			return nil, err
		}
		var list struct{ Tags []string }
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, s.fail(q.op, q.what, fmt.Errorf("%w: %w", err, ErrVerify))
		}
		for _, tag := range list.Tags {
			if _, err := s.ep.Ref.WithTag(tag); err == nil {
				out = append(out, tag)
			}
		}
		if next, err = s.nextPage(next, header); err != nil {
			return nil, s.fail(q.op, q.what, err)
		}
	}
	return out, nil
}

// nextPage follows `Link: </v2/...>; rel="next"`, on the registry's own host
// only.
func (s *session) nextPage(current string, h http.Header) (string, error) {
	link := h.Get("Link")
	open, end := strings.IndexByte(link, '<'), strings.IndexByte(link, '>')
	if open < 0 || end < open || !strings.Contains(link[end:], "next") {
		return "", nil
	}
	base, err := url.Parse(current)
	if err != nil {
		return "", hideURL(err)
	}
	next, err := base.Parse(link[open+1 : end])
	if err != nil {
		return "", fmt.Errorf("next page: not a URL: %w", ErrVerify)
	}
	if s.dialer.isOwn(next) {
		next.Scheme = s.scheme
	}
	if !s.trusted(next) || next.String() == current {
		return "", fmt.Errorf("next page on %s: %w", clean(next.Host, 100), ErrRefused)
	}
	return next.String(), nil
}

// SearchResult is one row of docker search.
type SearchResult struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
	Automated   bool   `json:"is_automated"`
}

// Search asks the v1 search API, which docker.io has and few others; of another
// registry it looks through the catalog of repositories. A term may start with a
// host: "registry.example.com/term". limit is 1 to 100; 0 means 25.
func Search(ctx context.Context, term string, limit int, o Options) ([]SearchResult, error) {
	o = o.withDefaults()
	if limit == 0 {
		limit = 25
	}
	if limit < 1 || limit > 100 {
		return nil, fmt.Errorf("search limit %d is outside the range of [1, 100]", limit)
	}
	host, term, err := searchHost(term)
	if err != nil {
		return nil, err
	}
	registries, err := conf.LoadRegistries(*o.Dirs)
	if err != nil {
		return nil, err
	}
	if registries.Blocked(host) {
		return nil, fmt.Errorf("search %s: %w", host, conf.ErrBlocked)
	}
	s, err := newSession(ctx, conf.Endpoint{Ref: reference.Reference{Domain: host}, Insecure: o.Insecure || registries.Insecure(host)}, "pull", o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	query := url.Values{"q": {term}, "n": {strconv.Itoa(limit)}}
	q := request{op: "search", what: host, method: http.MethodGet, url: s.base("/v1/search?" + query.Encode()), ok: []int{http.StatusOK}}
	data, _, err := s.fetch(ctx, q, maxSearch)
	var found []SearchResult
	if err == nil {
		found, err = parseSearch(data, limit)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnsupported) {
		return s.searchCatalog(ctx, host, term, limit)
	}
	return found, err
}

// searchCatalog looks for term in the names of all repositories.
func (s *session) searchCatalog(ctx context.Context, host, term string, limit int) ([]SearchResult, error) {
	var found []SearchResult
	next := s.base("/v2/_catalog") + "?n=" + strconv.Itoa(tagsPerPage)
	for page := 0; next != "" && page < maxTagPages && len(found) < limit; page++ {
		q := request{op: "search", what: host, method: http.MethodGet, url: next, ok: []int{http.StatusOK}}
		data, header, err := s.fetch(ctx, q, maxTagsBody)
		var list struct{ Repositories []string }
		if err == nil && json.Unmarshal(data, &list) != nil {
			err = ErrNotFound
		}
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrUnsupported), errors.Is(err, ErrUnauthorized), errors.Is(err, ErrDenied):
			return nil, fmt.Errorf("search %s: the registry has neither docker's search nor a catalog that may be read: %w", clean(host, 100), ErrUnsupported)
		case err != nil:
			return nil, err
		}
		for _, name := range list.Repositories {
			if strings.Contains(name, term) && len(found) < limit {
				found = append(found, SearchResult{Name: host + "/" + clean(name, 255)})
			}
		}
		if next, err = s.nextPage(next, header); err != nil {
			return nil, s.fail(q.op, q.what, err)
		}
	}
	return found, nil
}

// searchHost parts "host/term" as docker does; the default is docker.io's
// index.
func searchHost(term string) (host, rest string, err error) {
	if strings.Contains(term, "://") {
		return "", "", fmt.Errorf("search %q: write the term without a scheme", clean(term, 100))
	}
	host, rest, ok := strings.Cut(term, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "index.docker.io", term, nil
	}
	if host == reference.DefaultDomain {
		host = "index.docker.io"
	}
	_, err = serverDomain(host)
	return host, rest, err
}

// parseSearch cleans what ends up on a terminal.
func parseSearch(data []byte, limit int) ([]SearchResult, error) {
	var answer struct{ Results []SearchResult }
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("search: the registry has no v1 search (%w): %w", err, ErrUnsupported)
	}
	out := answer.Results
	if len(out) > limit {
		out = out[:limit]
	}
	for i := range out {
		out[i].Name, out[i].Description = clean(out[i].Name, 255), clean(out[i].Description, 1000)
	}
	return out, nil
}
