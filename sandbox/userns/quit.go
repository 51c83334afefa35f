package userns

/*
extern void bryo_plain_quit(void), bryo_runtime_quit(void);
*/
import "C"

// PlainQuit has SIGQUIT (Ctrl-\) end this process as any other program, and not with the
// state of its threads, until RuntimeQuit.
func PlainQuit() { C.bryo_plain_quit() }

// RuntimeQuit is called before SIGQUIT is asked for with signal.Notify.
func RuntimeQuit() { C.bryo_runtime_quit() }
