package seccomp

import (
	"fmt"
	"strings"
)

// Row is what a profile does with one syscall.
type Row struct {
	ABI     string // amd64, x32, 386, arm64, arm
	Nr      uint32 // as in seccomp_data: x32 numbers have their bit
	Name    string
	Verdict string // "allow", "errno EPERM", ... or conditions: "if ...: allow; else errno EPERM"
}

// Table lists every known syscall of every ABI that the container can use,
// by ABI and number. Numbers without a row are answered with ENOSYS, unless
// the profile lets through what it does not name.
func Table(p *Profile, o Options) ([]Row, error) {
	policies, err := resolve(p, o)
	if err != nil {
		return nil, err
	}
	var out []Row
	for i := range policies {
		pol := &policies[i]
		for _, d := range pol.calls {
			out = append(out, Row{ABI: pol.abi.name, Nr: d.nr, Name: pol.abi.nameOf(d.nr), Verdict: pol.describe(d)})
		}
	}
	return out, nil
}

// nameOf is the first name of a number.
func (a *abi) nameOf(nr uint32) string {
	for _, index := range byNumber[a.id] {
		if n, _ := a.number(int(index)); n == nr {
			return calls[index].name
		}
	}
	return ""
}

// describe spells out the clauses of one call.
func (pol *policy) describe(d decision) string {
	var parts []string
	for _, c := range d.clauses {
		if len(c.when) == 0 {
			return strings.Join(append(parts, otherwise(parts)+VerdictName(c.verdict)), "; ")
		}
		var conditions []string
		for _, a := range c.when {
			conditions = append(conditions, a.String())
		}
		parts = append(parts, "if "+strings.Join(conditions, " and ")+": "+VerdictName(c.verdict))
	}
	return strings.Join(append(parts, otherwise(parts)+VerdictName(pol.fallback)), "; ")
}

func otherwise(before []string) string {
	if len(before) == 0 {
		return ""
	}
	return "else "
}

// String writes the condition as an expression on arg0 to arg5.
func (a Arg) String() string {
	if a.Op == MaskedEqual || a.Op == maskedNotEqual {
		sign := "=="
		if a.Op == maskedNotEqual {
			sign = "!="
		}
		if a.Value == int32Mask {
			return fmt.Sprintf("int(arg%d)%s%#x", a.Index, sign, a.ValueTwo)
		}
		return fmt.Sprintf("arg%d&%#x%s%#x", a.Index, a.Value, sign, a.ValueTwo)
	}
	return fmt.Sprintf("arg%d%s%#x", a.Index, [...]string{"?", "==", "!=", "<", "<=", ">", ">="}[a.Op], a.Value)
}
