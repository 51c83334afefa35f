package state

import (
	"encoding/json"
	"testing"
)

func TestResources(t *testing.T) {
	all := func(string) bool { return true }
	none := func(string) bool { return false }
	for _, c := range []struct {
		name   string
		limits Limits
		has    func(string) bool
		want   string
	}{
		{"nothing, no group", Limits{}, none, `{"blockIO":{}}`},
		{"nothing, a group", Limits{}, all, `{"pids":{"limit":2048},"blockIO":{}}`},
		{"no bound", Limits{Pids: -1}, all, `{"pids":{"limit":-1},"blockIO":{}}`},
		{"as much swap as memory", Limits{Memory: 64 << 20, Pids: 5}, all, `{"memory":{"limit":67108864,"swap":134217728},"pids":{"limit":5},"blockIO":{}}`},
		{"any swap", Limits{Memory: 64 << 20, MemorySwap: -1}, none, `{"memory":{"limit":67108864,"swap":-1},"blockIO":{}}`},
		{"cpus", Limits{NanoCPUs: 15e8}, none, `{"cpu":{"quota":150000,"period":100000},"blockIO":{}}`},
		{"shares and set", Limits{CPUShares: 512, CpusetCPUs: "0-1"}, none, `{"cpu":{"shares":512,"cpus":"0-1"},"blockIO":{}}`},
		{"io", Limits{BlkioWeight: 100, ReadBps: []DeviceRate{{Path: "/dev/x", Major: 8, Minor: 1, Rate: 5}}}, none,
			`{"blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":5}]}}`},
	} {
		got, err := json.Marshal(c.limits.Resources(c.has))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestLimitsThatContradict(t *testing.T) {
	for _, l := range []Limits{
		{Memory: 1 << 20}, {Memory: 64 << 20, MemorySwap: 1 << 20}, {MemorySwap: 1 << 30}, {Memory: 8 << 20, MemoryReservation: 9 << 20},
		{NanoCPUs: 1e9, CPUPeriod: 5000}, {NanoCPUs: 1e9, CPUQuota: 5000}, {NanoCPUs: 3e9}, {NanoCPUs: -1}, {CPUPeriod: 5}, {CPUQuota: 5}, {BlkioWeight: 5},
	} {
		if l.Check(2) == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
	if err := (&Limits{Memory: 64 << 20, MemorySwap: 64 << 20, NanoCPUs: 2e9}).Check(2); err != nil {
		t.Error(err)
	}
}

func TestNeedsNameTheFlag(t *testing.T) {
	needs := (&Limits{Memory: 1, NanoCPUs: 1, Pids: 7, CpusetCPUs: "0"}).Needs()
	if len(needs) != 4 || needs[0] != (Need{"memory", "memory"}) {
		t.Errorf("needs %v", needs)
	}
	if needs := (&Limits{Pids: -1}).Needs(); len(needs) != 0 {
		t.Errorf("no bound needs %v", needs)
	}
}
