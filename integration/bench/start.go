package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// start compares the time from the command to its end for a program that does
// nothing: all of bryo's defaults against bare runtimes and podman's defaults.
func (b *bench) start() error {
	var compared []*peer
	var commands [][]string
	for _, p := range b.peers() {
		if problem := b.ready(p); problem != "" {
			b.table.note("%s: not compared: %s", p.name, problem)
			continue
		}
		compared, commands = append(compared, p), append(commands, p.run)
	}
	none := []string{"bryo", "run", "--rm", "--network", "none", image, "/bin/true"}
	times, err := b.inTurn(b.rounds, append(commands, none)...)
	if err != nil {
		return err
	}
	for i, p := range compared[1:] {
		b.table.times("run --rm true", p.name, times[0], times[i+1], p.target)
	}
	b.table.alone("run --rm true, --network none", ms(median(times[len(times)-1]))+" ms")
	return nil
}

// exec compares a command in a running container.
func (b *bench) exec() error {
	if err := b.Do("bryo", "run", "-d", "--name", "bench", image, "sleep", "1000"); err != nil {
		return err
	}
	commands := [][]string{{"bryo", "exec", "bench", "/bin/true"}}
	problem := b.podman()
	if problem == nil {
		problem = b.Do("podman", "run", "-d", "--name", "bench", image, "sleep", "1000")
	}
	if problem == nil {
		commands = append(commands, []string{"podman", "exec", "bench", "/bin/true"})
	} else {
		b.table.note("%v", problem)
	}
	times, err := b.inTurn(b.rounds, commands...)
	if err != nil {
		return err
	}
	if len(times) < 2 {
		b.table.alone("exec true", ms(median(times[0]))+" ms")
		return nil
	}
	b.table.times("exec true", "podman exec", times[0], times[1], 1.0/5)
	return nil
}

// port compares the time from `run -d -p` to the first byte of an answer.
func (b *bench) port() error {
	programs := []string{"bryo"}
	if err := b.podman(); err != nil {
		b.table.note("%v", err)
	} else {
		programs = append(programs, "podman")
	}
	times := map[string][]time.Duration{}
	for range max(5, b.rounds/3) {
		for _, program := range programs {
			took, err := b.firstByte(program)
			if err != nil {
				return fmt.Errorf("%s: %w", program, err)
			}
			times[program] = append(times[program], took)
		}
	}
	if len(programs) < 2 {
		b.table.alone("run -d -p to first byte", ms(median(times["bryo"]))+" ms")
		return nil
	}
	b.table.times("run -d -p to first byte", "podman", times["bryo"], times["podman"], 1.0/4)
	return nil
}

func (b *bench) firstByte(program string) (time.Duration, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	defer func() { _ = b.Command(program, "rm", "-f", "bench-port").Run() }()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	start := time.Now()
	if err := b.Do(program, "run", "-d", "--name", "bench-port", "-p", address+":80", image, "httpd", "-f", "-p", "80", "-h", "/bin"); err != nil {
		return 0, err
	}
	for time.Since(start) < 20*time.Second {
		if answered(address) {
			return time.Since(start), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("no answer from %s", address)
}

func answered(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "GET /none HTTP/1.0\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "HTTP/")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
