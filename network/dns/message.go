package dns

import "bytes"

// header is the size of a message's fixed part (RFC 1035 section 4.1.1).
const header = 12

// IsQuestion: the message asks something, and is whole enough to be passed on.
func IsQuestion(m []byte) bool { return len(m) >= header && m[2]&0x80 == 0 }

// Answers: m is the answer to a question. The identifier is the question's, and so
// is the question, where the answer repeats it. Who it comes from is the socket's
// business.
func Answers(m, question []byte) bool {
	if len(m) < header || m[2]&0x80 == 0 || !bytes.Equal(m[:2], question[:2]) {
		return false
	}
	if m[4] == 0 && m[5] == 0 {
		return true
	}
	end, ok := questionsEnd(question)
	return !ok || len(m) >= end && bytes.EqualFold(m[header:end], question[header:end])
}

// Unwilling are the codes after which resolvers (glibc's among them) ask the
// next server: server failure, not implemented, refused. "No such name" and
// "no such record" are answers.
func Unwilling(answer []byte) bool {
	code := answer[3] & 15
	return code == 2 || code == 4 || code == 5
}

// Failure turns a question, in its place, into the answer SERVFAIL.
func Failure(m []byte) []byte {
	const serverFailure = 2
	m[2] = m[2]&0x79 | 0x80     // an answer; operation and "recursion desired" stay
	m[3] = 0x80 | serverFailure // "recursion available"
	end, ok := questionsEnd(m)
	if !ok {
		m[4], m[5], end = 0, 0, header
	}
	clear(m[6:header]) // no records; the question stays
	return m[:end]
}

// questionsEnd is where the question section of a message ends; false: it cannot
// be read.
func questionsEnd(m []byte) (int, bool) {
	at := header
	for n := int(m[4])<<8 | int(m[5]); n > 0; n-- {
		for at < len(m) && m[at] != 0 && m[at] < 64 {
			at += 1 + int(m[at])
		}
		if at += 5; at > len(m) {
			return 0, false
		}
	}
	return at, true
}
