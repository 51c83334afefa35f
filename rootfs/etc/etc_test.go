package etc

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var host = HostFiles{
	Hosts:      []byte("127.0.0.1 localhost\n192.0.2.7 printer"),
	ResolvConf: []byte("# from the host\ndomain old\nsearch corp.example lan\nnameserver 127.0.0.1\nnameserver 192.0.2.1 # main\nnameserver ::1\nnameserver ::ffff:127.0.0.2\nnameserver 0.0.0.0\nnameserver fe80::1%eth0\nnameserver bogus\noptions ndots:2\noptions edns0 trust-ad\n"),
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestMake(t *testing.T) {
	for _, c := range []struct {
		name          string
		o             Options
		hosts, resolv string
	}{
		{"none", Options{Network: None, Hostname: "box"},
			localNames + "127.0.0.1\tbox\n", ""},
		{"none with dns", Options{Network: None, Hostname: "box", DNS: []string{"192.0.2.9"}},
			localNames + "127.0.0.1\tbox\n", "nameserver 192.0.2.9\n"},
		{"host", Options{Network: Host, Hostname: "box", AddHosts: []string{"db:192.0.2.8"}},
			"127.0.0.1 localhost\n192.0.2.7 printer\n192.0.2.8\tdb\n", string(host.ResolvConf)},
		{"host with search", Options{Network: Host, Search: []string{"a.example"}},
			"127.0.0.1 localhost\n192.0.2.7 printer\n",
			"nameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1\nnameserver ::ffff:127.0.0.2\nnameserver 0.0.0.0\nnameserver fe80::1%eth0\nsearch a.example\noptions ndots:2 edns0 trust-ad\n"},
		{"private, the host's resolvers", Options{Network: Private, Hostname: "box", Addresses: []netip.Addr{addr("10.0.2.100")}},
			localNames + "10.0.2.100\tbox\n",
			"nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch corp.example lan\noptions ndots:2 edns0 trust-ad\n"},
		{"private, all of it", Options{Network: Private, Hostname: "box", Domainname: "lan.example",
			Addresses: []netip.Addr{addr("10.0.2.100"), addr("fd00::100")}, Aliases: []string{"web", "box"},
			AddHosts:    []string{"gw:host-gateway", "six=[2001:db8::1]", "six2:2001:db8::2"},
			HostGateway: addr("10.0.2.2"), Nameservers: []netip.Addr{addr("10.0.2.3")},
			Search: []string{"."}, Options: []string{"rotate"}},
			localNames + "10.0.2.2\tgw\n2001:db8::1\tsix\n2001:db8::2\tsix2\n" +
				"10.0.2.100\tbox.lan.example box web\nfd00::100\tbox.lan.example box web\n",
			"nameserver 10.0.2.3\noptions rotate\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Make(c.o, host)
			if err != nil {
				t.Fatal(err)
			}
			if string(f.Hosts) != c.hosts {
				t.Errorf("hosts:\n%s\nwant:\n%s", f.Hosts, c.hosts)
			}
			if string(f.ResolvConf) != c.resolv {
				t.Errorf("resolv.conf:\n%s\nwant:\n%s", f.ResolvConf, c.resolv)
			}
			if string(f.Hostname) != c.o.Hostname+"\n" {
				t.Errorf("hostname: %q", f.Hostname)
			}
		})
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		err  string
	}{
		{"add-host without address", Options{AddHosts: []string{"db"}}, `bad format for add-host: "db"`},
		{"add-host without name", Options{AddHosts: []string{":1.2.3.4"}}, `bad format for add-host: ":1.2.3.4"`},
		{"add-host with a bad address", Options{AddHosts: []string{"db:1.2.3.400"}}, `invalid IP address in add-host: "1.2.3.400"`},
		{"add-host with an empty address", Options{AddHosts: []string{"db:"}}, `invalid IP address in add-host: ""`},
		{"add-host with colons before =", Options{AddHosts: []string{"a:b=1.2.3.4"}}, "bad format for add-host"},
		{"add-host with a zone", Options{AddHosts: []string{"db:fe80::1%eth0"}}, "invalid IP address in add-host"},
		{"add-host that adds a line", Options{AddHosts: []string{"a\n6.6.6.6 bank:1.2.3.4"}}, "bad format for add-host"},
		{"add-host with a comment", Options{AddHosts: []string{"a#:1.2.3.4"}}, "bad format for add-host"},
		{"no gateway", Options{AddHosts: []string{"gw:host-gateway"}}, "unable to derive the IP value for host-gateway"},
		{"dns", Options{DNS: []string{"dns.example"}}, "IP address is not correctly formatted: dns.example"},
		{"dns that adds a line", Options{DNS: []string{"fe80::1%a\nnameserver 6.6.6.6"}}, "IP address is not correctly formatted"},
		{"search", Options{Search: []string{"a b"}}, "a b is not a valid domain"},
		{"search of digits", Options{Search: []string{"1.2.3"}}, "1.2.3 is not a valid domain"},
		{"search that adds a line", Options{Search: []string{"a\nnameserver 6.6.6.6"}}, "is not a valid domain"},
		{"option that adds a line", Options{Options: []string{"a\nnameserver 6.6.6.6"}}, "invalid dns option"},
		{"hostname", Options{Hostname: "a b"}, `invalid hostname format: "a b"`},
		{"hostname that adds a line", Options{Hostname: "a\n6.6.6.6 bank"}, "invalid hostname format"},
		{"hostname of 65", Options{Hostname: strings.Repeat("a", 65)}, "invalid hostname format"},
		{"hostname with empty label", Options{Hostname: "a..b"}, "invalid hostname format"},
		{"domainname", Options{Domainname: "-a"}, `invalid domainname format: "-a"`},
		{"alias", Options{Aliases: []string{"a b"}}, `invalid network alias: "a b"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Make(c.o, HostFiles{})
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	f := Files{Hosts: []byte("a\n"), Hostname: []byte("b\n"), ResolvConf: nil}
	if err := f.Write(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"hosts": "a\n", "hostname": "b\n", "resolv.conf": ""} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		info, _ := os.Stat(filepath.Join(dir, name))
		if err != nil || string(got) != want || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %q, %v, %v", name, got, info.Mode(), err)
		}
	}
	before, _ := os.Stat(filepath.Join(dir, "hosts"))
	was := f
	f.Hosts = []byte("longer\n")
	if err := f.Update(dir, was); err != nil {
		t.Fatal(err)
	}
	after, _ := os.Stat(filepath.Join(dir, "hosts"))
	got, _ := os.ReadFile(filepath.Join(dir, "hosts"))
	if !os.SameFile(before, after) || string(got) != "longer\n" {
		t.Errorf("update made a new file or other contents: %q", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("left behind: %v", entries)
	}
	if m := Mounts(dir, true); len(m) != 3 || m[0].Destination != "/etc/hosts" || m[0].Source != filepath.Join(dir, "hosts") {
		t.Errorf("%+v", m)
	}
}

// TestUpdate: what the container wrote itself stays.
func TestUpdate(t *testing.T) {
	for _, c := range []struct{ name, file, now, want string }{
		{"hosts, as given", "hosts", "a\nb\n", "a\nc\n"},
		{"hosts with a line of its own", "hosts", "a\nown line\nb\nlast", "a\nc\nown line\nlast\n"},
		{"hosts, emptied", "hosts", "", "a\nc\n"},
		{"resolv.conf, as given", "resolv.conf", "nameserver 1\n", "nameserver 2\n"},
		{"resolv.conf of its own", "resolv.conf", "nameserver 9\n", "nameserver 9\n"},
	} {
		dir := t.TempDir()
		was := Files{Hosts: []byte("a\nb\n"), ResolvConf: []byte("nameserver 1\n")}
		if err := was.Write(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.now), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := (Files{Hosts: []byte("a\nc\n"), ResolvConf: []byte("nameserver 2\n")}).Update(dir, was); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, c.file)); string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestStub(t *testing.T) {
	if !stubOnly([]byte("nameserver 127.0.0.53\noptions edns0\n")) || stubOnly(host.ResolvConf) {
		t.Error("systemd's stub is not told from other resolvers")
	}
}

// FuzzMake: no option adds a line that it was not meant to.
func FuzzMake(f *testing.F) {
	f.Add("box", "lan", "db:1.2.3.4", "192.0.2.1", "example.org", "ndots:1", "nameserver 1.1.1.1\n")
	f.Fuzz(func(t *testing.T, hostname, domain, add, dns, search, opt, resolv string) {
		files, err := Make(Options{Hostname: hostname, Domainname: domain, Network: None,
			AddHosts: []string{add}, HostGateway: addr("10.0.2.2"), DNS: []string{dns},
			Search: []string{search}, Options: []string{opt}}, HostFiles{ResolvConf: []byte(resolv)})
		if err != nil {
			return
		}
		if n := strings.Count(string(files.Hosts), "\n"); n > strings.Count(localNames, "\n")+2 {
			t.Errorf("%d lines in hosts: %q", n, files.Hosts)
		}
		if n := strings.Count(string(files.ResolvConf), "\n"); n > 3 {
			t.Errorf("%d lines in resolv.conf: %q", n, files.ResolvConf)
		}
		if strings.Count(string(files.Hostname), "\n") != 1 {
			t.Errorf("hostname %q", files.Hostname)
		}
	})
}
