package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"bryo/rootfs/image"
)

// Change applies an instruction of a Dockerfile to a configuration, as --change
// of import and commit takes it: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK,
// LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. Variables are not expanded.
func Change(config *image.Config, instruction string) error {
	verb, rest := cutSpace(strings.TrimSpace(instruction))
	verb = strings.ToUpper(verb)
	apply, known := map[string]func(*image.Config, string) error{
		"CMD": changeCmd, "ENTRYPOINT": changeEntrypoint, "ENV": changeEnv, "EXPOSE": changeExpose,
		"HEALTHCHECK": changeHealth, "LABEL": changeLabel, "ONBUILD": changeOnBuild, "STOPSIGNAL": changeStopSignal,
		"USER": changeUser, "VOLUME": changeVolume, "WORKDIR": changeWorkdir,
	}[verb]
	if !known {
		return fmt.Errorf("change %q: %q is not a valid change command", instruction, verb)
	}
	if strings.IndexByte(rest, 0) >= 0 {
		return fmt.Errorf("change %.40q: NUL byte", instruction)
	}
	if rest == "" && verb != "CMD" && verb != "ENTRYPOINT" {
		return fmt.Errorf("change %q: %s requires at least one argument", instruction, verb)
	}
	if err := apply(config, rest); err != nil {
		return fmt.Errorf("change %q: %w", instruction, err)
	}
	return nil
}

// Changes applies several instructions. A CMD among them outlives an ENTRYPOINT
// after it: only the one of the image was meant for another entrypoint.
func Changes(config *image.Config, instructions []string) error {
	cmdGiven := false
	for _, instruction := range instructions {
		verb, _ := cutSpace(strings.TrimSpace(instruction))
		verb = strings.ToUpper(verb)
		cmd := config.Cmd
		if err := Change(config, instruction); err != nil {
			return err
		}
		if verb == "ENTRYPOINT" && cmdGiven {
			config.Cmd = cmd
		}
		cmdGiven = cmdGiven || verb == "CMD"
	}
	return nil
}

func cutSpace(s string) (first, rest string) {
	at := strings.IndexAny(s, " \t\n")
	if at < 0 {
		return s, ""
	}
	return s[:at], strings.TrimSpace(s[at:])
}

// command reads the exec form ["a", "b"], else the shell form.
func command(text string) []string {
	if list, ok := jsonList(text); ok {
		return list
	}
	if text == "" {
		return nil
	}
	return []string{"/bin/sh", "-c", text}
}

func jsonList(text string) ([]string, bool) {
	var list []string
	if !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &list) != nil {
		return nil, false
	}
	return list, true
}

func changeCmd(config *image.Config, text string) error {
	config.Cmd = command(text)
	return nil
}

// changeEntrypoint drops a Cmd that the image had: it was meant for the old one.
func changeEntrypoint(config *image.Config, text string) error {
	config.Entrypoint = command(text)
	config.Cmd = nil
	return nil
}

func changeEnv(config *image.Config, text string) error {
	pairs, err := pairs(text, true)
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		entry := pair[0] + "=" + pair[1]
		if err := image.CheckEnv(entry); err != nil {
			return err
		}
		config.Env = setEnv(config.Env, pair[0], entry)
	}
	return nil
}

func setEnv(env []string, key, entry string) []string {
	for i := range env {
		if strings.HasPrefix(env[i], key+"=") {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}

func changeLabel(config *image.Config, text string) error {
	pairs, err := pairs(text, true)
	if err != nil {
		return err
	}
	if config.Labels == nil {
		config.Labels = map[string]string{}
	}
	for _, pair := range pairs {
		config.Labels[pair[0]] = pair[1]
	}
	return nil
}

// pairs reads KEY=VALUE words, or with old the form KEY VALUE of one pair.
func pairs(text string, old bool) ([][2]string, error) {
	words, err := words(text)
	if err != nil {
		return nil, err
	}
	if key, rest := cutSpace(text); old && !strings.Contains(words[0], "=") {
		if rest == "" {
			return nil, fmt.Errorf("%q has no value", key)
		}
		return [][2]string{{key, rest}}, nil
	}
	var list [][2]string
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("%q: want KEY=VALUE", word)
		}
		list = append(list, [2]string{key, value})
	}
	return list, nil
}

// words parts at white space outside of quotes, and takes quotes and backslashes away.
func words(text string) ([]string, error) {
	var list []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, c := range text {
		switch {
		case escaped:
			if quote == '"' && c != '"' && c != '\\' && c != '$' {
				word.WriteRune('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				list = append(list, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("quote %c is not closed", quote)
	}
	if escaped {
		word.WriteByte('\\')
	}
	if inWord {
		list = append(list, word.String())
	}
	if len(list) == 0 {
		return nil, errors.New("requires at least one argument")
	}
	return list, nil
}

func changeExpose(config *image.Config, text string) error {
	words, err := words(text)
	if err != nil {
		return err
	}
	for _, word := range words {
		ports, err := parsePorts(word)
		if err != nil {
			return err
		}
		if config.ExposedPorts == nil {
			config.ExposedPorts = map[string]struct{}{}
		}
		for _, port := range ports {
			config.ExposedPorts[port] = struct{}{}
		}
	}
	return nil
}

// parsePorts reads PORT[-PORT][/PROTOCOL].
func parsePorts(word string) ([]string, error) {
	numbers, protocol, found := strings.Cut(word, "/")
	if !found {
		protocol = "tcp"
	}
	protocol = strings.ToLower(protocol)
	if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return nil, fmt.Errorf("invalid proto: %s", protocol)
	}
	first, last, ranged := strings.Cut(numbers, "-")
	if !ranged {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || from == 0 || to < from {
		return nil, fmt.Errorf("invalid containerPort: %s", word)
	}
	var list []string
	for port := from; port <= to; port++ {
		list = append(list, strconv.FormatUint(port, 10)+"/"+protocol)
	}
	return list, nil
}

func changeOnBuild(config *image.Config, text string) error {
	verb, _ := cutSpace(text)
	switch strings.ToUpper(verb) {
	case "ONBUILD":
		return errors.New("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
	case "MAINTAINER", "FROM":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", strings.ToUpper(verb))
	}
	config.OnBuild = append(config.OnBuild, text)
	return nil
}

func changeStopSignal(config *image.Config, text string) error {
	if _, err := image.ParseSignal(text); err != nil {
		return err
	}
	config.StopSignal = text
	return nil
}

func changeUser(config *image.Config, text string) error {
	config.User = text
	return nil
}

func changeVolume(config *image.Config, text string) error {
	list, ok := jsonList(text)
	if !ok {
		var err error
		if list, err = words(text); err != nil {
			return err
		}
	}
	if config.Volumes == nil {
		config.Volumes = map[string]struct{}{}
	}
	for _, volume := range list {
		if volume = strings.TrimSpace(volume); volume == "" {
			return errors.New("VOLUME specified can not be an empty string")
		}
		config.Volumes[volume] = struct{}{}
	}
	return nil
}

func changeWorkdir(config *image.Config, text string) error {
	words, err := words(text)
	if err != nil {
		return err
	}
	dir := strings.Join(words, " ")
	if !path.IsAbs(dir) {
		dir = path.Join("/", config.WorkingDir, dir)
	}
	config.WorkingDir = path.Clean(dir)
	return nil
}

// changeHealth reads NONE, or [--interval= --timeout= --start-period=
// --start-interval= --retries=] CMD command.
func changeHealth(config *image.Config, text string) error {
	check := &image.Healthcheck{}
	rest := text
	for strings.HasPrefix(rest, "--") {
		var option string
		option, rest = cutSpace(rest)
		if err := healthOption(check, option); err != nil {
			return err
		}
	}
	verb, rest := cutSpace(rest)
	switch strings.ToUpper(verb) {
	case "NONE":
		if rest != "" {
			return errors.New("HEALTHCHECK NONE takes no arguments")
		}
		check = &image.Healthcheck{Test: []string{"NONE"}}
	case "CMD":
		if rest == "" {
			return errors.New("missing command after HEALTHCHECK CMD")
		}
		if list, ok := jsonList(rest); ok {
			check.Test = append([]string{"CMD"}, list...)
		} else {
			check.Test = []string{"CMD-SHELL", rest}
		}
	default:
		return fmt.Errorf("unknown type %q in HEALTHCHECK (try CMD)", verb)
	}
	config.Healthcheck = check
	return nil
}

func healthOption(check *image.Healthcheck, option string) error {
	name, value, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
	if name == "retries" {
		retries, err := strconv.Atoi(value)
		if err != nil || retries < 0 {
			return fmt.Errorf("--retries %q: want a number from 0", value)
		}
		check.Retries = retries
		return nil
	}
	field, known := map[string]*time.Duration{
		"interval": &check.Interval, "timeout": &check.Timeout, "start-period": &check.StartPeriod, "start-interval": &check.StartInterval,
	}[name]
	if !known {
		return fmt.Errorf("unknown flag: %s", name)
	}
	duration, err := time.ParseDuration(value)
	if err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	if duration < 0 || (duration > 0 && duration < time.Millisecond) {
		return fmt.Errorf("interval %q cannot be less than 1ms", name)
	}
	*field = duration
	return nil
}
