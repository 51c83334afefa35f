package rtnl

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The queue for what arrives at a link, and where its filters hang.
const (
	ingressParent = 0xfffffff1 // TC_H_INGRESS
	ingressHandle = 0xffff0000
)

// traffic is struct tcmsg.
func traffic(index int, handle, parent, info uint32) []byte {
	b := make([]byte, 20)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], handle)
	binary.NativeEndian.PutUint32(b[12:], parent)
	binary.NativeEndian.PutUint32(b[16:], info)
	return b
}

// IngressQueue makes what arrives at a link pass by filters.
func IngressQueue(index int) *Request {
	r := newRequest("filter link", unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, traffic(index, ingressHandle, ingressParent, 0))
	return r.attr(unix.TCA_KIND, cstring("ingress"))
}

// IngressFilter lets a classic BPF program judge each frame that arrives at a link,
// from its Ethernet header on, by the verdicts of <linux/pkt_cls.h>.
func IngressFilter(index int, program []bpf.RawInstruction) *Request {
	const opsLength, ops, flags, direct = 4, 5, 8, 1 // TCA_BPF_…; TCA_BPF_FLAG_ACT_DIRECT
	const priority, everything = 1, unix.ETH_P_ALL
	var code []byte
	for _, i := range program {
		code = binary.NativeEndian.AppendUint16(code, i.Op)
		code = binary.NativeEndian.AppendUint32(append(code, i.Jt, i.Jf), i.K)
	}
	o := appendAttr(nil, opsLength, binary.NativeEndian.AppendUint16(nil, uint16(len(program))))
	o = appendAttr(o, ops, code)
	o = appendAttr(o, flags, uint32Bytes(direct))
	protocol := uint32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, everything)))
	r := newRequest("filter link", unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL, traffic(index, 0, ingressHandle, priority<<16|protocol))
	return r.attr(unix.TCA_KIND, cstring("bpf")).attr(unix.TCA_OPTIONS|unix.NLA_F_NESTED, o)
}
