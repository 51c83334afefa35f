package stack

var ownCalls []uint32
