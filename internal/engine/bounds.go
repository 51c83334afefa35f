package engine

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"bryo/internal/state"
	"bryo/sandbox"
)

// What the user's session bounds, and no root of a user namespace can raise.

// checkUlimits refuses what setrlimit(2) would refuse when the container starts.
func checkUlimits(list []state.Ulimit) error {
	for _, l := range list {
		bound, known := sandbox.HardLimit(l.Type)
		if !known || l.Hard <= bound {
			continue
		}
		name := strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_"))
		return fmt.Errorf("--ulimit %s=%s: the hard limit of this session is %d (root raises it in /etc/security/limits.conf, or by LimitXXX= of the systemd unit)",
			name, limitText(l.Hard), bound)
	}
	return nil
}

func limitText(n uint64) string {
	if n == ^uint64(0) {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// oomScore is what of an asked score can be had: users make their processes more
// likely victims of the out-of-memory killer, not less likely. It tries, as
// /proc does not tell the bound.
func oomScore(asked *int) *int {
	const file = "/proc/self/oom_score_adj"
	if asked == nil {
		return nil
	}
	text, err := os.ReadFile(file)
	have, errNumber := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || errNumber != nil || *asked >= have {
		return asked
	}
	if os.WriteFile(file, []byte(strconv.Itoa(*asked)), 0) == nil {
		_ = os.WriteFile(file, text, 0)
		return asked
	}
	fmt.Fprintf(os.Stderr, "bryo: --oom-score-adj %d: below the %d of this session needs CAP_SYS_RESOURCE on the host; the container gets %d\n", *asked, have, have)
	return &have
}
