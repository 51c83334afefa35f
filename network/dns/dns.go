// Package dns answers a network's containers: names and addresses of other
// containers itself, everything else by asking the host's resolvers.
//
// Start with Server.Serve. Questions and answers that are not about containers
// pass as they are: this server decides whom to ask, and nothing else. It keeps
// no cache, so what the host's resolvers say now is what a container hears. It
// leaves out zones, DNSSEC and everything that is not a question.
package dns

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Names are the containers that one may know who asks from an address. Several
// goroutines call it, and it may take its time.
type Names interface {
	// Addresses of a name, in lower case and without the final dot; false: no
	// container is called that.
	Addresses(from netip.Addr, name string) ([]netip.Addr, bool)
	// Name of an address. own: the address is of the network, so nobody else can
	// name it; name is "" where no container has it.
	Name(from, address netip.Addr) (name string, own bool)
}

// lifetime of an answer in seconds: a container that starts again may have
// another address.
const lifetime = 5

// local answers a message about containers; nil: it is about something else.
func local(names Names, from netip.Addr, message []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil || header.Response || header.OpCode != 0 {
		return nil
	}
	q, err := p.Question()
	if err != nil || q.Class != dnsmessage.ClassINET {
		return nil
	}
	a := answer{header: header, question: q}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if q.Type == dnsmessage.TypePTR {
		address, ok := reversed(name)
		if !ok {
			return nil
		}
		host, own := names.Name(from, address)
		if !own {
			return nil
		}
		return a.pointer(host)
	}
	found, known := names.Addresses(from, name)
	if !known {
		return nil
	}
	return a.addresses(found)
}

// answer is one message in the making.
type answer struct {
	header   dnsmessage.Header
	question dnsmessage.Question
}

// addresses answers with those of the family that is asked for. A name without
// one, or asked for another type, exists all the same: no error, no records.
func (a answer) addresses(list []netip.Addr) []byte {
	b := a.begin(dnsmessage.RCodeSuccess)
	head := dnsmessage.ResourceHeader{Name: a.question.Name, Class: dnsmessage.ClassINET, TTL: lifetime}
	for _, address := range list {
		switch {
		case address.Is4() && a.question.Type == dnsmessage.TypeA:
			_ = b.AResource(head, dnsmessage.AResource{A: address.As4()})
		case address.Is6() && a.question.Type == dnsmessage.TypeAAAA:
			_ = b.AAAAResource(head, dnsmessage.AAAAResource{AAAA: address.As16()})
		}
	}
	return finish(b)
}

func (a answer) pointer(host string) []byte {
	name, err := dnsmessage.NewName(host + ".")
	if host == "" || err != nil {
		return finish(a.begin(dnsmessage.RCodeNameError))
	}
	b := a.begin(dnsmessage.RCodeSuccess)
	_ = b.PTRResource(dnsmessage.ResourceHeader{Name: a.question.Name, Class: dnsmessage.ClassINET, TTL: lifetime}, dnsmessage.PTRResource{PTR: name})
	return finish(b)
}

func (a answer) begin(code dnsmessage.RCode) *dnsmessage.Builder {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: a.header.ID, Response: true, RecursionDesired: a.header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	_ = b.StartQuestions()
	_ = b.Question(a.question)
	_ = b.StartAnswers()
	return &b
}

func finish(b *dnsmessage.Builder) []byte {
	m, err := b.Finish()
	if err != nil {
		return nil
	}
	return m
}

// reversed reads the name of a reverse question: 2.0.18.172.in-addr.arpa, or 32
// hexadecimal digits under ip6.arpa.
func reversed(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		labels := strings.Split(digits, ".")
		if len(labels) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return a, err == nil
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(digits) != 63 {
		return netip.Addr{}, false
	}
	var text strings.Builder
	for i := 31; i >= 0; i-- {
		if i < 31 && digits[2*i+1] != '.' {
			return netip.Addr{}, false
		}
		text.WriteByte(digits[2*i])
		if i%4 == 0 && i > 0 {
			text.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(text.String())
	return a, err == nil
}
