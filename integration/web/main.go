// Command web is a small server of connections that last, and their client: apart
// from the probe, which every script pulls and which this would make thrice as big.
//
//	web serve ADDRESS:PORT     web talk ws://HOST:PORT/echo TIME
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// patience with one word.
const patience = 5 * time.Second

func main() {
	verbs := map[string]func([]string) error{"serve": serve, "talk": talk}
	if len(os.Args) < 3 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: web serve ADDRESS:PORT | web talk URL TIME")
		os.Exit(64)
	}
	if err := verbs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(65)
	}
}

// serve answers HTTP on ADDRESS:PORT: /echo is a WebSocket that repeats what it hears,
// /poll?TIME answers after that time, anything else tells the client's address.
func serve(a []string) error {
	http.Handle("/echo", websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }})
	http.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		wait, err := time.ParseDuration(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(wait):
			fmt.Fprintln(w, "waited", wait)
		case <-r.Context().Done():
			fmt.Println("poll: client is gone")
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')])
	})
	fmt.Println("ready")
	return http.ListenAndServe(a[0], nil)
}

// talk has a word with a WebSocket at URL, says nothing for a TIME, and
// has another, of 1 MB, over the same connection.
func talk(a []string) error {
	idle, err := time.ParseDuration(a[1])
	if err != nil {
		return err
	}
	c, err := websocket.Dial(a[0], "", "http://localhost/")
	if err != nil {
		return err
	}
	defer c.Close()
	for _, word := range []string{"first", strings.Repeat("m", 1<<20)} {
		_ = c.SetDeadline(time.Now().Add(patience))
		if err := echoed(c, word); err != nil {
			return err
		}
		if word == "first" {
			time.Sleep(idle)
		}
	}
	return nil
}

func echoed(c *websocket.Conn, word string) error {
	go func() { _, _ = io.WriteString(c, word) }()
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != word {
		return fmt.Errorf("heard %d bytes that are not what was said", len(got))
	}
	fmt.Println("heard", len(got))
	return nil
}
