package tree

import (
	"golang.org/x/sys/unix"
)

// copyBuffer is the block of a plain copy: large enough that the call costs
// nothing against the data, small enough for the cache.
const copyBuffer = 256 << 10

// data gives dst the contents of src: one shared extent map where the filesystem
// can (FICLONE), else the bytes, holes left out.
func (c *copier) data(dst, src int, st *unix.Stat_t) error {
	if st.Size == 0 {
		return nil
	}
	if !c.noClone {
		err := unix.IoctlFileClone(dst, src)
		if err == nil {
			return nil
		}
		// Refused for this file only, or for the filesystem as a whole?
		c.noClone = err == unix.EOPNOTSUPP || err == unix.EXDEV || err == unix.ENOTTY
	}
	if st.Blocks*512 < st.Size {
		return c.sparse(dst, src, st.Size)
	}
	return c.extent(dst, src, 0, st.Size)
}

// sparse copies the extents that hold data. A file of 8 EiB with one block costs
// one block.
func (c *copier) sparse(dst, src int, size int64) error {
	for at := int64(0); at < size; {
		start, err := unix.Seek(src, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break // nothing but a hole up to the end
		}
		if err != nil {
			return c.extent(dst, src, at, size) // no such seek here
		}
		end, err := unix.Seek(src, start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := c.extent(dst, src, start, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return unix.Ftruncate(dst, size)
}

// extent copies the bytes from start to end. A source that shrinks meanwhile
// ends the copy early; it is not an error, as with cp(1).
func (c *copier) extent(dst, src int, start, end int64) error {
	for start < end {
		from, to := start, start
		n, err := unix.CopyFileRange(src, &from, dst, &to, int(min(end-start, 1<<30)), 0)
		if err != nil || n == 0 {
			return c.plain(dst, src, start, end)
		}
		start += int64(n)
	}
	return nil
}

// plain is read and write, for filesystems that copy_file_range(2) does not join
// and for those that answer 0 where there is data.
func (c *copier) plain(dst, src int, start, end int64) error {
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	for start < end {
		n, err := unix.Pread(src, c.buf[:min(int64(len(c.buf)), end-start)], start)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for done := 0; done < n; {
			w, err := unix.Pwrite(dst, c.buf[done:n], start+int64(done))
			if err != nil && err != unix.EINTR {
				return err
			}
			done += max(w, 0)
		}
		start += int64(n)
	}
	return nil
}
