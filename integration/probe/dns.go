package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers on ADDRESS:PORT, UDP and TCP, for names given as NAME=ADDRESS[,ADDRESS].
// A name without an address of the type asked for has no records; one that is
// not given does not exist. Answers beyond 512 bytes are cut off over UDP.
func nameServer(a []string) error {
	zone := map[string][]netip.Addr{}
	for _, rule := range a[1:] {
		name, list, _ := strings.Cut(rule, "=")
		zone[name+"."] = nil
		for text := range strings.SplitSeq(list, ",") {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return err
			}
			zone[name+"."] = append(zone[name+"."], addr)
		}
	}
	udp, err := net.ListenPacket("udp", a[0])
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", a[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go answerStream(c, zone)
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, from, err := udp.ReadFrom(b)
		if err != nil {
			return err
		}
		if m, err := answerTo(b[:n], zone, 512); err == nil {
			_, _ = udp.WriteTo(m, from)
		}
	}
}

func answerStream(c net.Conn, zone map[string][]netip.Addr) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for {
		q, err := readFramed(c)
		if err != nil {
			return
		}
		m, err := answerTo(q, zone, 1<<16)
		if err != nil {
			return
		}
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
	}
}

func readFramed(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, m)
	return m, err
}

func answerTo(question []byte, zone map[string][]netip.Addr, limit int) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{q}}
	m.ID, m.Response, m.RecursionAvailable, m.RecursionDesired = h.ID, true, true, h.RecursionDesired
	addrs, known := zone[strings.ToLower(q.Name.String())]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err == nil && len(out) > limit {
		m.Answers, m.Truncated = nil, true
		out, err = m.Pack()
	}
	return out, err
}

// question sends one question over udp or tcp and prints the code, whether the answer
// was cut off, and how many records it has.
func question(a []string) error {
	kind := map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA}[a[3]]
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(a[2] + "."), Type: kind, Class: dnsmessage.ClassINET,
	}}}
	q.ID, q.RecursionDesired = 4711, true
	packed, err := q.Pack()
	if err != nil {
		return err
	}
	b, err := exchange(a[0], a[1], packed)
	if err != nil {
		fmt.Println(outcome(err))
		return nil
	}
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return err
	}
	fmt.Println(strings.TrimPrefix(m.RCode.String(), "RCode"), "truncated", m.Truncated, "answers", len(m.Answers))
	return nil
}

func exchange(network, server string, question []byte) ([]byte, error) {
	c, err := net.DialTimeout(network, server, patience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	if network == "tcp" {
		_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...))
		if err != nil {
			return nil, err
		}
		return readFramed(c)
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	return b[:n], err
}

// questions asks N times for a name, one after another over one socket.
func questions(server, name string, n int) error {
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}
	c, err := net.Dial("udp", server)
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 4096)
	for i := range n {
		q.ID = uint16(i)
		packed, err := q.Pack()
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(packed); err != nil {
			return err
		}
		if _, err := c.Read(b); err != nil {
			return fmt.Errorf("question %d: %w", i, err)
		}
	}
	fmt.Println("done", n)
	return nil
}
