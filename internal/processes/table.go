package processes

import (
	"fmt"
	"strings"
	"time"
)

// Options of Table.
type Options struct {
	PS []string // the words of a ps command line; none: -ef
	// User and Group name an id of the host; nil: the number.
	User, Group func(uint32) string
}

// Table is the titles and the cells of a container's processes, as ps with these
// words would print them. There is no other ps: a word that is not known is an
// error, and selections are left out, as all processes of a container are meant.
func Table(list []Process, o Options) (titles []string, rows [][]string, err error) {
	layout, err := parse(o.PS)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	v := &view{now: now, boot: bootTime(now), memory: HostMemory(), user: o.User, group: o.Group}
	if v.user == nil {
		v.user = numeric
	}
	if v.group == nil {
		v.group = numeric
	}
	for _, c := range layout {
		titles = append(titles, c.title)
	}
	for i := range list {
		var row []string
		for _, c := range layout {
			row = append(row, c.cell(v, &list[i]))
		}
		rows = append(rows, row)
	}
	return titles, rows, nil
}

// layoutOf is one of ps(1) that has a letter; "" is the one without.
func layoutOf(name string) (layout []column) {
	for word := range strings.FieldsSeq(layoutText(name)) {
		title, name, _ := strings.Cut(word, "=")
		layout = append(layout, titled(title, name))
	}
	return layout
}

// layoutText has each column as TITLE=name.
func layoutText(name string) string {
	switch name {
	case "f":
		return "UID=user PID=pid PPID=ppid C=c STIME=stime TTY=tty TIME=time CMD=args"
	case "F":
		return "UID=user PID=pid PPID=ppid C=c SZ=sz RSS=rss PSR=psr STIME=stime TTY=tty TIME=time CMD=args"
	case "l":
		return "F=f S=s UID=uid PID=pid PPID=ppid C=c PRI=opri NI=ni SZ=sz WCHAN=wchan TTY=tty TIME=time CMD=comm"
	case "j":
		return "PID=pid PGID=pgid SID=sid TTY=tty TIME=time CMD=comm"
	case "bsd":
		return "PID=pid TTY=tty STAT=stat TIME=bsdtime COMMAND=args"
	case "user":
		return "USER=user PID=pid %CPU=pcpu %MEM=pmem VSZ=vsz RSS=rss TTY=tty STAT=stat START=stime TIME=bsdtime COMMAND=args"
	}
	return "PID=pid TTY=tty TIME=time CMD=comm"
}

// parse reads the words of a ps command line in the spellings of Unix (-ef, -o
// LIST, -oLIST), BSD (aux, o LIST) and GNU (--format LIST).
func parse(words []string) ([]column, error) {
	if len(words) == 0 {
		return layoutOf("f"), nil
	}
	layout := ""
	var own []column
	for i := 0; i < len(words); i++ {
		word := words[i]
		next := func(rest string) (string, error) {
			if rest != "" {
				return rest, nil
			}
			if i++; i >= len(words) {
				return "", fmt.Errorf("ps option %s needs a list of columns", word)
			}
			return words[i], nil
		}
		var list string
		var err error
		if name, value, _ := strings.Cut(word, "="); name == "--format" {
			list, err = next(value)
		} else {
			layout, list, err = letters(word, layout, next)
		}
		if err != nil {
			return nil, err
		}
		if list == "" {
			continue
		}
		more, err := listed(list)
		if err != nil {
			return nil, err
		}
		own = append(own, more...)
	}
	if own != nil {
		return own, nil
	}
	return layoutOf(layout), nil
}

// letters reads a cluster of one-letter options; o takes the rest of it.
func letters(word, layout string, next func(string) (string, error)) (string, string, error) {
	cluster, unix := strings.CutPrefix(word, "-")
	if !unix && layout == "" {
		layout = "bsd" // a word without a dash is BSD's
	}
	for at := range len(cluster) {
		letter := cluster[at]
		switch {
		case letter == 'o' || letter == 'O' && unix:
			list, err := next(cluster[at+1:])
			return layout, list, err
		case strings.IndexByte("aAedxrwN", letter) >= 0, !unix && letter == 'e':
			// Which processes, or how wide: all of them, whole.
		case strings.IndexByte("flj", letter) >= 0, letter == 'F' && unix:
			layout = string(letter)
		case letter == 'u' && !unix, letter == 'u' && at > 0:
			layout = "user"
		default:
			return "", "", fmt.Errorf("ps option %q is not known here: use -e, -f, -F, -l, -j, -o LIST, aux or o LIST", word)
		}
	}
	return layout, "", nil
}

// listed reads pid,comm or "pid comm=NAME"; everything after a title's = belongs
// to it, as in ps.
func listed(text string) (layout []column, err error) {
	for text != "" {
		at := strings.IndexAny(text, ", =")
		name, rest, titled := text, "", false
		if at >= 0 {
			name, rest, titled = text[:at], text[at+1:], text[at] == '='
		}
		if name != "" {
			c, known := columnNamed(strings.ToLower(name))
			if !known {
				return nil, fmt.Errorf("ps column %q is not known", name)
			}
			if titled {
				c.title = rest
			}
			layout = append(layout, c)
		}
		if titled {
			break
		}
		text = rest
	}
	if len(layout) == 0 {
		return nil, fmt.Errorf("ps: an empty list of columns")
	}
	return layout, nil
}
