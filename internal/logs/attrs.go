package logs

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"bryo/internal/format"
)

// For fills in what the options labels, env and tag take from a container.
func (c Config) For(container Container) (Config, error) {
	c.Container = container
	attrs := map[string]string{}
	if err := pick(attrs, container.Labels, c.Options["labels"], c.Options["labels-regex"]); err != nil {
		return c, fmt.Errorf("log opt labels-regex: %w", err)
	}
	if err := pick(attrs, variables(container.Env), c.Options["env"], c.Options["env-regex"]); err != nil {
		return c, fmt.Errorf("log opt env-regex: %w", err)
	}
	tag := c.Options["tag"]
	if tag == "" && c.Driver == Journald {
		tag = "{{.ID}}"
	}
	expanded, err := expandTag(tag, container)
	if err != nil {
		return c, fmt.Errorf("log opt tag: %w", err)
	}
	c.Tag = expanded
	// The journal has a field of its own for the tag.
	if expanded != "" && c.Driver != Journald {
		attrs["tag"] = expanded
	}
	if len(attrs) > 0 {
		c.Attrs = attrs
	}
	return c, nil
}

// pick copies the values whose keys are in a list or match a pattern.
func pick(to, from map[string]string, list, pattern string) error {
	for key := range strings.SplitSeq(list, ",") {
		if value, ok := from[key]; ok && key != "" {
			to[key] = value
		}
	}
	if pattern == "" {
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	for key, value := range from {
		if re.MatchString(key) {
			to[key] = value
		}
	}
	return nil
}

func variables(env []string) map[string]string {
	all := make(map[string]string, len(env))
	for _, e := range env {
		if key, value, ok := strings.Cut(e, "="); ok {
			all[key] = value
		}
	}
	return all
}

// expandTag executes a tag template; its fields are docker's.
func expandTag(tag string, c Container) (string, error) {
	if !strings.Contains(tag, "{{") {
		return tag, nil
	}
	fields := struct{ ID, FullID, Name, ImageID, ImageFullID, ImageName, DaemonName string }{
		format.ShortID(c.ID), c.ID, strings.TrimPrefix(c.Name, "/"),
		format.ShortID(c.ImageID), c.ImageID, c.Image, "bryo",
	}
	var out bytes.Buffer
	if err := format.Inspect(&out, tag, []any{fields}); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
