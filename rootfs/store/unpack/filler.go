package unpack

import (
	"archive/tar"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// filler writes the contents and attributes of files in a goroutine of its own,
// while Unpack reads on. It knows no names: Unpack makes every name itself, in the
// order of the archive, and hands over open descriptors. So what a later entry
// links, replaces or removes is the same as without a filler, and two jobs for one
// file (a hard link sets attributes again) are done in the order they came.
//
// Jobs travel in batches: a hand-over for each of many small files would cost as
// much as writing them.
type filler struct {
	options *Options
	now     *batch // being filled by Unpack
	full    chan *batch
	empty   chan *batch
	done    chan struct{} // closed when the goroutine has ended
	failure atomic.Pointer[error]
}

// The bounds of what is on its way: bytes, and descriptors, of which a process
// may have 1024, with several layers at once.
const (
	fillerBatches = 4
	batchBytes    = 256 << 10
	batchJobs     = 32
	// batchRecords bounds the extended attributes: an entry may have a megabyte.
	batchRecords = 64 << 10
)

type batch struct {
	data    []byte // the jobs' contents, one after another
	jobs    []job
	records int
}

// job is contents for an open file, or the end of one, or both.
type job struct {
	fd       int
	from, to int // in the batch's data
	then     then
	header   *tar.Header // for all but more
	uid, gid int
}

// then is what follows the contents of a job.
type then int

const (
	more    then = iota // the next job goes on with the file
	made                // a new file is complete: attributes, times, close
	changed             // attributes of a file that was there: likewise
	dropped             // the file is of no use: close
)

func newFiller(options *Options) *filler {
	f := &filler{
		options: options, now: &batch{data: make([]byte, 0, batchBytes)}, done: make(chan struct{}),
		full: make(chan *batch, fillerBatches), empty: make(chan *batch, fillerBatches),
	}
	for range fillerBatches - 1 {
		f.empty <- new(batch) // its space comes when it is first used: a small layer needs one
	}
	go f.run()
	return f
}

// begin makes room for a file of the size: one that would not fit whole starts a
// new batch, so that its writes are in whole pages.
func (f *filler) begin(size int64) error {
	if len(f.now.data) > 0 && size > int64(batchBytes-len(f.now.data)) {
		return f.handOver()
	}
	return nil
}

// space is where the next bytes are put, for add.
func (f *filler) space() []byte { return f.now.data[len(f.now.data):batchBytes] }

// add appends a job whose n bytes are in what space returned. On an error the job
// is taken all the same.
func (f *filler) add(j job, n int) error {
	b := f.now
	j.from, j.to = len(b.data), len(b.data)+n
	b.data = b.data[:j.to]
	if last := len(b.jobs) - 1; last >= 0 && b.jobs[last].then == more { // it is the same file
		j.from = b.jobs[last].from
		b.jobs[last] = j
	} else {
		b.jobs = append(b.jobs, j)
	}
	if j.then != more {
		b.records += recordBytes(j.header)
	}
	if len(b.jobs) == batchJobs && j.then != more || b.records >= batchRecords || len(b.data) == batchBytes {
		return f.handOver()
	}
	return nil
}

func recordBytes(header *tar.Header) (n int) {
	for key, value := range header.PAXRecords {
		n += len(key) + len(value)
	}
	return n
}

// handOver returns what went wrong with earlier batches.
func (f *filler) handOver() error {
	f.full <- f.now // has room for all there are
	f.now = <-f.empty
	if f.now.data == nil {
		f.now.data = make([]byte, 0, batchBytes)
	}
	return f.failed()
}

func (f *filler) failed() error {
	if err := f.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// close waits until everything is written and every descriptor closed.
func (f *filler) close() error {
	f.full <- f.now
	close(f.full)
	<-f.done
	return f.failed()
}

func (f *filler) run() {
	defer close(f.done)
	for b := range f.full {
		for i := range b.jobs {
			j := &b.jobs[i]
			if err := f.do(j, b.data[j.from:j.to]); err != nil && f.failure.Load() == nil {
				f.failure.Store(&err)
			}
		}
		clear(b.jobs) // lets go of the headers
		b.data, b.jobs, b.records = b.data[:0], b.jobs[:0], 0
		f.empty <- b // has room for all there are
	}
}

// do does a job; after a failure it only closes.
func (f *filler) do(j *job, data []byte) (err error) {
	if j.then != more {
		defer unix.Close(j.fd)
	}
	if f.failure.Load() != nil || j.then == dropped {
		return nil
	}
	if err = write(j.fd, data); err == nil && j.then != more {
		err = f.finish(j)
	}
	if err != nil {
		return fmt.Errorf("entry %.200q: %w", j.header.Name, err)
	}
	return nil
}

// write is write(2) until all is written.
func write(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		data = data[n:]
	}
	return nil
}

// finish makes a file with all its contents what its entry says.
func (f *filler) finish(j *job) error {
	if j.then == changed {
		if err := f.options.attributes(j.fd, j.header, j.uid, j.gid); err != nil {
			return err
		}
		return setTimes(j.fd, j.header)
	}
	if err := f.options.attributesOfNew(j.fd, j.header, j.uid, j.gid); err != nil {
		return err
	}
	writeSoon(j.fd, j.header.Size)
	return setTimes(j.fd, j.header)
}

// writeSoon lets the disk begin with a large file while the next ones come: the
// sync at the end of an import then finds little left to do. Only a hint, so
// errors (file systems without it) count for nothing.
func writeSoon(fd int, size int64) {
	if size >= writeSoonFrom {
		_ = unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
}

// writeSoonFrom: smaller files are many calls for few bytes.
const writeSoonFrom = 64 << 10
